#!/usr/bin/env bash
# What many topics cost: TOPICS (10,000) of QUEUES (8) queues. Route look-up, a heartbeat of 1,000 subscriptions and the topic lists
# (target: below 50 ms), and the latency of sends over all 80,000 queues against that of a second broker with ten queues, in
# alternation (target: p99 at most 20 % apart; the medians of the rounds count). FLUSH (async).
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
build --example topics
machine
: "${TOPICS:=10000}" "${QUEUES:=8}" "${FLUSH:=async}"
all=$scratch few_pid=
clean_up() {
    stop_broker
    [ -z "$few_pid" ] || { kill "$few_pid" 2>/dev/null || true; wait "$few_pid" 2>/dev/null || true; }
    rm -rf "$all"
}
scratch=$all/few; mkdir "$scratch"
start_broker "$FLUSH"
few_pid=$broker_pid few=127.0.0.1:$port
scratch=$all/many; mkdir "$scratch"
start_broker "$FLUSH"
taskset -c "$LOAD_CORE" "$target/examples/topics" "$namesrv" "127.0.0.1:$port" "$few" "$TOPICS" "$QUEUES" "$ROUNDS" "$SECONDS_PER_RUN"
