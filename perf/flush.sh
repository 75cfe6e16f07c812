#!/usr/bin/env bash
# What sync flush costs against async on this disk: `ringmq bench flush`, with the machine's floor measured in the same run.
#   perf/flush.sh [OUT]          report (index.html, results.json, .hgrm) into OUT, by default target/perf-flush
# SECONDS_PER_RUN (10) seconds for each mode and shape, in ROUNDS (5) turns.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
out=${1:-$root/target/perf-flush}
machine
floor
"$ringmq" bench flush --duration "$SECONDS_PER_RUN" --rounds "$ROUNDS" --store "$scratch" \
    --broker-core "$BROKER_CORE" --core "$LOAD_CORE" --out "$out"
