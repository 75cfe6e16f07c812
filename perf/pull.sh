#!/usr/bin/env bash
# Reading a backlog against async send, in alternation: each round starts a broker on an empty store, sends for
# SECONDS_PER_RUN (10) with 64 connections x 4, then reads what lies there from the start, again and again, for as long.
# The backlog is larger than the log buffer, so that most of it comes from the disk. The target is a ratio of at least 1.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
machine
row_format='%-8s%14s%14s%8s%18s%18s\n'
printf "$row_format" round 'send msg/s' 'pull msg/s' ratio 'send broker us' 'pull broker us'
for round in $(seq "$ROUNDS"); do
    floor
    start_broker async
    bench send --connections 64 --in-flight 4 --topic perf-pull --queues 8 --broker-pid "$broker_pid"
    sent=$(field 3); send_cpu=$(field 10)
    bench consume --connections 8 --topic perf-pull --broker-pid "$broker_pid"
    pulled=$(field 3)
    send+=("$sent"); pull+=("$pulled"); ratios+=("$(ratio "$pulled" "$sent")")
    printf "$row_format" "$round" "$sent" "$pulled" "${ratios[-1]}" "$send_cpu" "$(field 10)"
    stop_broker
done
printf "$row_format" median "$(median "${send[@]}")" "$(median "${pull[@]}")" "$(median "${ratios[@]}")" '' ''
