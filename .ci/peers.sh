#!/usr/bin/env bash
# Installs what tests and checks need, where it is missing: openssl, valgrind, strace, systemd-analyze, and the real
# iperf3 programs that the interoperability tests talk to:
#   iperf3     the distribution's package, an iperf3 of before 3.16 on Debian 12
#   iperf3-rs  a crate that wraps a recent libiperf, here with OpenSSL for authentication, into a cache outside
#              the tree
# and, with the argument `bench`, what only the benchmarks compare with, into the same cache:
#   riperf3    a crate that speaks iperf3's protocol
# Prints nothing when all are there. tests/harness/run/programs.rs looks in the same places.
set -euo pipefail

# The package version that the tests were made with. Mirrors drop old ones, then the current one has to do.
iperf3_version='3.12-1+deb12u2'
iperf3_rs_version='1.0.4'
riperf3_version='0.8.0'

cache="${XDG_CACHE_HOME:-$HOME/.cache}/ringperf/peers"
mkdir -p "$cache"
# Two runs at once must not install over each other; the second one waits and finds everything done.
exec 9>"$cache/lock"
flock 9

say() { printf 'peers: %s\n' "$*" >&2; }

# Installs Debian packages, the first of the given choices that can be had.
install_package() {
    if ! command -v apt-get >/dev/null; then
        say "$1 is missing and there is no apt-get here: install it by hand and run this again"
        exit 1
    fi
    if [ "$(id -u)" -ne 0 ]; then
        say "$1 is missing: run 'apt-get install $1' as root and then this again"
        exit 1
    fi
    apt-get update -qq
    for choice in "$@"; do
        say "installing $choice"
        if DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$choice" >&2; then
            return
        fi
    done
    say "none of these packages can be installed: $*"
    exit 1
}

# The tests make keys with it.
command -v openssl >/dev/null || install_package openssl
# Instructions are counted with it.
command -v valgrind >/dev/null || install_package valgrind
# Calls are made to fail with it.
command -v strace >/dev/null || install_package strace
# The unit for servers is judged with it. The package starts nothing where systemd does not run, as in a container.
command -v systemd-analyze >/dev/null || install_package systemd
command -v iperf3 >/dev/null || install_package "iperf3=$iperf3_version" iperf3

# Whether the program is there, of the right version and with authentication, whose options the help lacks
# otherwise.
has_iperf3_rs() {
    local program="$cache/bin/iperf3-rs"
    "$program" --version 2>/dev/null 9>&- | grep -qF "iperf3-rs $iperf3_rs_version " &&
        [[ "$("$program" --help 2>/dev/null 9>&-)" == *--rsa-private-key-path* ]]
}

if ! has_iperf3_rs; then
    # libiperf is compiled from source on the way, which takes a C compiler, make and OpenSSL's headers.
    { command -v cc && command -v make; } >/dev/null || install_package build-essential
    echo '#include <openssl/evp.h>' | cc -E - >/dev/null 2>&1 || install_package libssl-dev
    say "building iperf3-rs $iperf3_rs_version, a few minutes"
    # The build happens outside the tree, so that its toolchain and settings do not apply.
    (cd "$cache" && CARGO_TARGET_DIR="$cache/target" \
        cargo install --quiet --locked --force --features openssl --root "$cache" \
        --version "=$iperf3_rs_version" iperf3-rs) 9>&-
    rm -rf "$cache/target"
fi

if [ "${1:-}" = bench ] && ! "$cache/bin/riperf3" --version 2>/dev/null 9>&- | grep -qF "$riperf3_version"; then
    say "building riperf3 $riperf3_version, a few minutes"
    (cd "$cache" && CARGO_TARGET_DIR="$cache/target" \
        cargo install --quiet --locked --force --root "$cache" --version "=$riperf3_version" riperf3-cli) 9>&-
    rm -rf "$cache/target"
fi
