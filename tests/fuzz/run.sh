#!/usr/bin/env bash
# Searches for inputs that break a target of tests/fuzz, with coverage as the guide (libFuzzer): run.sh [TARGET [SECONDS]].
# What it keeps goes to tests/fuzz/__fuzz__/TARGET/corpus, what breaks the target to .../crashes; `cargo test --test fuzz` tries
# both again. Stock toolchain; builds of its own in target/fuzz.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=${1:-requests} seconds=${2:-600}
host=$(rustc -vV | sed -n 's/^host: //p')
build=${CARGO_TARGET_DIR:-target}/fuzz
# Other binaries of the package are built along with the test and have no fuzzer to link with.
export RUSTFLAGS="--cfg fuzzing --cfg fuzzing_libfuzzer -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Clink-arg=-Wl,--warn-unresolved-symbols"
export BOLERO_FUZZER=libfuzzer
binary=$(cargo test --test fuzz --profile fuzz --target "$host" --target-dir "$build" --no-run --message-format json \
    | sed -n 's/.*"executable":"\([^"]*\/deps\/fuzz-[^"\/]*\)".*/\1/p' | tail -1)
[ -n "$binary" ] || { echo "no test binary was built" >&2; exit 1; }
kept=tests/fuzz/__fuzz__/$target
mkdir -p "$kept/corpus" "$kept/crashes"
export BOLERO_TEST_NAME=$target BOLERO_LIBTEST_HARNESS=1
export BOLERO_LIBFUZZER_ARGS="$kept/corpus $kept/crashes -artifact_prefix=$kept/crashes/ -timeout=60 -max_len=1500 -len_control=0 -max_total_time=$seconds"
exec "$binary" "$target" --exact --nocapture --quiet --test-threads 1
