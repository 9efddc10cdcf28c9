#!/usr/bin/env bash
# Runs fuzzers one after the other: fuzz.sh SECONDS TARGET... Ends with the first that finds something.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds="$1"
shift
# A stable compiler has all that fuzzers need, but says so only when it is asked like this.
export RUSTC_BOOTSTRAP=1
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}/fuzz"

"${CARGO:-cargo}" fuzz build
for target in "$@"; do
    found="$CARGO_TARGET_DIR/found/$target" artifacts="$CARGO_TARGET_DIR/artifacts/$target"
    mkdir -p "$found" "$artifacts"
    printf 'fuzz: %s for %s seconds\n' "$target" "$seconds" >&2
    # New inputs go into the first folder; those of the second are only read.
    "${CARGO:-cargo}" fuzz run "$target" "$found" "fuzz/corpus/$target" -- "-artifact_prefix=$artifacts/" \
        "-max_total_time=$seconds" -timeout=20 -rss_limit_mb=4096 -print_final_stats=1 2>&1 |
        grep -E 'SUMMARY|panicked|^stat::|Test unit written|ERROR' >&2
done
