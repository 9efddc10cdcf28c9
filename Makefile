# Everything a developer or a continuous integration runs. `make` alone lists the targets.

CARGO ?= cargo
# Where `make install` puts bin/ringperf, its manual page and what shells need to complete its options.
PREFIX ?= $(HOME)/.cargo
# `make install IPERF3_LINK=1` makes PREFIX/bin/iperf3 a link to it, unless that name is taken.
IPERF3_LINK ?=
# What `make check` runs besides the linters; empty it (`make check CHECK_TEST=`) where the tests ran already.
CHECK_TEST ?= test

.DEFAULT_GOAL := help
.PHONY: help run test check lint bench doc install peers clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: ## compare the engines over loopback
	$(CARGO) run --release -- loopback

test: peers ## unit and integration tests; installs the peers first
	$(CARGO) test

check: lint $(CHECK_TEST) ## all that must pass before a commit

lint: ## format, clippy, documentation; benches must compile
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --no-deps
	$(CARGO) bench --no-run

bench: ## criterion benchmarks
	$(CARGO) bench

doc: ## documentation in target/doc
	$(CARGO) doc --no-deps

install: ## program, manual page and completions into PREFIX; IPERF3_LINK=1 links iperf3 to it
	$(CARGO) install --path . --locked --root '$(PREFIX)'
	.ci/install-pages '$(PREFIX)'
	$(if $(filter-out 0,$(IPERF3_LINK)),.ci/install-link '$(PREFIX)')

peers: ## the iperf3 programs that the tests talk to
	.ci/peers.sh

clean: ## remove all build products
	$(CARGO) clean
