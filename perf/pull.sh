#!/usr/bin/env bash
# Reading a backlog against async send, in alternation: each round starts a broker on an empty store, sends for
# SECONDS_PER_RUN (10) with 64 connections x 4, reads what lies there from the start, again and again, for as long ("disk":
# it is larger than the log buffer), and then does the same with 30,000 messages that the log buffer holds ("memory").
# The target is a ratio to send of at least 1.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
machine
row_format='%-8s%14s%16s%8s%18s%8s%12s%12s%14s\n'
printf "$row_format" round 'send msg/s' 'disk msg/s' ratio 'memory msg/s' ratio 'send us/msg' 'disk us/msg' 'memory us/msg'
for round in $(seq "$ROUNDS"); do
    floor
    start_broker async
    bench send --connections 64 --in-flight 4 --topic perf-pull --queues 8 --broker-pid "$broker_pid"
    sent=$(field 3); send_cpu=$(field 10)
    bench consume --connections 8 --topic perf-pull --broker-pid "$broker_pid"
    cold=$(field 3); cold_cpu=$(field 10)
    bench consume --connections 8 --topic perf-pull-hot --queues 8 --fill 30000 --broker-pid "$broker_pid"
    hot=$(field 3); hot_cpu=$(field 10)
    sends+=("$sent"); colds+=("$cold"); hots+=("$hot")
    cold_ratios+=("$(ratio "$cold" "$sent")"); hot_ratios+=("$(ratio "$hot" "$sent")")
    printf "$row_format" "$round" "$sent" "$cold" "${cold_ratios[-1]}" "$hot" "${hot_ratios[-1]}" "$send_cpu" "$cold_cpu" "$hot_cpu"
    stop_broker
done
printf "$row_format" median "$(median "${sends[@]}")" "$(median "${colds[@]}")" "$(median "${cold_ratios[@]}")" \
    "$(median "${hots[@]}")" "$(median "${hot_ratios[@]}")" '' '' ''
