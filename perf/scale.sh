#!/usr/bin/env bash
# Does anything hold the core that answers messages? A bystander sends every 2 ms on a connection of its own; each row has its latencies
# without and with one load, what the broker refused to it, and how many polls of a task took longer than stallWarnMillis (5 ms) during
# the load: of the broker's own making, and all, with those in which another process or the host had the core. The broker has BROKER_CORE
# for itself; the load (niced) and the bystander share LOAD_CORE. LINES_OF_STALLS=N: the broker's last N log lines of stalls, too. CASES (all): parked group heartbeat batch topics offsets retention replies whole handshakes dribble, each on a fresh broker. FLUSH (async). Sizes: PULLS CONSUMERS
# SUBSCRIPTIONS BATCH TOPICS QUEUES CLIENTS STRANGERS DASHBOARDS COMMITS_PER_S SENDS_PER_S, see perf/scale/settings.rs. RINGMQ: another binary.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
build --example scale
machine
: "${FLUSH:=async}" "${CASES:=parked group heartbeat batch topics offsets retention replies whole handshakes dribble}" "${CLIENTS:=10000}"
# Each client is a descriptor here and one in the broker, which raises its own limit.
ulimit -n "$(ulimit -Hn)"
spare=200
most=$(ulimit -n)
if [ "$most" != unlimited ] && [ "$most" -lt $((CLIENTS + spare)) ]; then
    CLIENTS=$((most - spare))
    echo "$most descriptors allowed: $CLIENTS clients"
fi
export CLIENTS
row_format='%-10s%10s%10s%10s%9s%10s%10s%10s%9s%36s  %s\n'
printf "$row_format" '' 'without' 'p99.9' 'worst' '' 'with load' 'p99.9' 'worst' '' '' ''
printf "$row_format" case 'p99 ms' ms ms refused 'p99 ms' ms ms refused 'stalls own, all' load
args=${BROKER_ARGS:-}
# Files that are complete quickly, and expired at once.
printf 'mappedFileSizeCommitLog=%d\nfileReservedTime=0\n' $((64 << 20)) > "$scratch/retention.conf"
printf 'tls.test.mode.enable=true\nproxyProtocolFrom=127.0.0.1\n' > "$scratch/strangers.conf"
for case in $CASES; do
    BROKER_ARGS=$args
    case $case in
        retention) BROKER_ARGS="$args --config $scratch/retention.conf" ;;
        handshakes | dribble) BROKER_ARGS="$args --config $scratch/strangers.conf" ;;
    esac
    start_broker "$FLUSH"
    taskset -c "$LOAD_CORE" "$target/examples/scale" "$case" "127.0.0.1:$port" "$namesrv"
    [ -z "${LINES_OF_STALLS:-}" ] || grep -i "kept its thread" "$scratch/broker.err" | tail -"$LINES_OF_STALLS" || true
    stop_broker
done
