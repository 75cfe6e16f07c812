#!/usr/bin/env bash
# ringmq, Apache RocketMQ 5.5.0 (where a JDK and Maven are) and a bare server under the same loads, in turns on the same core and
# disk: a table of medians with ranges and ratios, and a page below OUT.
#   perf/compare.sh [sync|async] [OUT]
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
build --example compare
machine
real=()
# Stopped at the end if an interruption has left it running.
real_dir=$scratch/compare-rocketmq/home
command -v java > /dev/null && command -v mvn > /dev/null && real=(--real-broker "$root/tests/clients/real-broker/real-broker.sh")
"$target/examples/compare" --ringmq "$ringmq" "${real[@]}" --flush "${1:-sync}" --rounds "$ROUNDS" --seconds "$SECONDS_PER_RUN" \
    --broker-core "$BROKER_CORE" --load-core "$LOAD_CORE" --store "$scratch" ${2:+--out "$2"}
