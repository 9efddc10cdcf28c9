# Everything a developer or a continuous integration runs. `make` alone lists the targets.

CARGO ?= cargo
# Where `make install` puts bin/ringperf, its manual page and what shells need to complete its options.
PREFIX ?= $(HOME)/.cargo
# `make install IPERF3_LINK=1` makes PREFIX/bin/iperf3 a link to it, unless that name is taken.
IPERF3_LINK ?=
# `make instructions RECORD=1` records the counts instead of comparing them.
RECORD ?=
# Options of `make bench`: --quick, --oracle, --row TEXT, --renew, --peer NAME, --rounds N, --seconds S, --write FILE, --render.
BENCH ?=
# Seconds for each fuzzer of `make fuzz`, and which of them.
FUZZ_SECONDS ?= 30
FUZZ_TARGETS ?= $(patsubst fuzz/fuzz_targets/%.rs,%,$(wildcard fuzz/fuzz_targets/*.rs))
# What `make check` runs besides linters and counts; empty it (`make check CHECK_TEST=`) where the tests ran already.
CHECK_TEST ?= test

.DEFAULT_GOAL := help
.PHONY: help run test soak fuzz check lint deny audit instructions bench microbench doc install peers clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

run: ## compare the engines over loopback
	$(CARGO) run --release -- loopback

test: peers ## unit and integration tests; installs the peers first
	$(CARGO) test

soak: peers ## the long tests against hostile peers and a failing kernel; SOAK_TESTS=N and others make them shorter
	$(CARGO) test --release --test integration -- --ignored --test-threads 1 --nocapture soak

check: lint deny instructions $(CHECK_TEST) ## all that must pass before a commit

lint: ## format, clippy, documentation; benches must compile
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --no-deps
	$(CARGO) bench --no-run

deny: ## licences, sources, banned and doubled crates; installs cargo-deny first
	PATH="$$(.ci/tools.sh deny):$$PATH" && $(CARGO) deny --all-features check licenses bans sources
	@echo 'deny: advisories were not looked for, that takes the network: make audit'

audit: ## advisories against all crates; fetches their database from github.com
	PATH="$$(.ci/tools.sh deny):$$PATH" && $(CARGO) deny --all-features check advisories

fuzz: ## all fuzzers for FUZZ_SECONDS=30 each; FUZZ_TARGETS='params client' some of them
	PATH="$$(.ci/tools.sh fuzz):$$PATH" CARGO='$(CARGO)' .ci/fuzz.sh $(FUZZ_SECONDS) $(FUZZ_TARGETS)

instructions: peers ## count instructions, compare with benches/instructions.txt; RECORD=1 writes it anew
	$(CARGO) bench --bench instructions -- $(if $(filter-out 0,$(RECORD)),--record)

bench: ## beside all peers, written to docs/BENCHMARKS.md; wants root and an idle machine; BENCH=--quick: 5 minutes
	.ci/peers.sh bench
	$(CARGO) bench --bench against_peers -- $(BENCH)

microbench: ## criterion benchmarks of codec, counters and engines
	$(CARGO) bench --bench codec --bench counters --bench engines

doc: ## documentation in target/doc
	$(CARGO) doc --no-deps

install: ## program, manual page and completions into PREFIX; IPERF3_LINK=1 links iperf3 to it
	$(CARGO) install --path . --locked --root '$(PREFIX)'
	.ci/install-pages '$(PREFIX)'
	$(if $(filter-out 0,$(IPERF3_LINK)),.ci/install-link '$(PREFIX)')

peers: ## the iperf3 programs that the tests talk to, openssl, valgrind and strace
	.ci/peers.sh

clean: ## remove all build products
	$(CARGO) clean
