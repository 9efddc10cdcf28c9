#!/usr/bin/env bash
# Installs programs of cargo that checks need, each where it is missing, into a cache outside the tree, and
# prints the folder of their programs:
#   deny    cargo-deny, some three minutes on two processors
#   fuzz    cargo-fuzz, half a minute
set -euo pipefail

# The versions that deny.toml and fuzz/ were made with.
declare -A versions=([deny]='0.20.2' [fuzz]='0.13.2')

cache="${XDG_CACHE_HOME:-$HOME/.cache}/ringperf/tools"
mkdir -p "$cache"
# Two runs at once must not install over each other; the second one waits and finds everything done.
exec 9>"$cache/lock"
flock 9

for tool in "$@"; do
    version="${versions[$tool]}"
    if ! "$cache/bin/cargo-$tool" --version 2>/dev/null 9>&- | grep -qF " $version"; then
        printf 'tools: building cargo-%s %s\n' "$tool" "$version" >&2
        # The build happens outside the tree, so that its toolchain and settings do not apply.
        (cd "$cache" && CARGO_TARGET_DIR="$cache/target" \
            cargo install --quiet --locked --force --root "$cache" --version "=$version" "cargo-$tool") >&2 9>&-
        rm -rf "$cache/target"
    fi
done
printf '%s\n' "$cache/bin"
