#!/usr/bin/env bash
# Broker CPU per synchronously flushed message: 64 connections with 4 requests in flight each, 1 KiB, a broker of its own
# process, its CPU time taken from /proc. One broker, ROUNDS (5) runs of SECONDS_PER_RUN (10) each, and their medians.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
machine
printf '%-8s%12s%12s%12s%16s%14s%14s\n' round msg/s 'p50 us' 'p99 us' 'broker us/msg' 'bytes/msg' 'flushes/msg'
start_broker sync
for round in $(seq "$ROUNDS"); do
    floor
    bench send --connections 64 --in-flight 4 --topic perf-cpu --queues 8 --broker-pid "$broker_pid" --disk "$store"
    rate+=("$(field 3)"); p50+=("$(field 4)"); p99+=("$(field 6)"); cpu+=("$(field 10)"); bytes+=("$(field 12)"); flushes+=("$(field 13)")
    printf '%-8s%12s%12s%12s%16s%14s%14s\n' "$round" "${rate[-1]}" "${p50[-1]}" "${p99[-1]}" "${cpu[-1]}" "${bytes[-1]}" "${flushes[-1]}"
done
printf '%-8s%12s%12s%12s%16s%14s%14s\n' median "$(median "${rate[@]}")" "$(median "${p50[@]}")" "$(median "${p99[@]}")" \
    "$(median "${cpu[@]}")" "$(median "${bytes[@]}")" "$(median "${flushes[@]}")"
