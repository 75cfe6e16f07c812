#!/usr/bin/env bash
# The same load against Apache RocketMQ's own broker (tests/clients/real-broker; needs a JDK and Maven) and against ringmq, in
# alternation: ROUNDS (5) times each, SECONDS_PER_RUN (10) per run, both pinned to BROKER_CORE, both on the same disk.
#   perf/real-broker.sh [sync|async]
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
flush=${1:-sync}
machine
cat > "$scratch/real.conf" <<CONF
flushDiskType=${flush^^}_FLUSH
mappedFileSizeCommitLog=1073741824
CONF
start_real() {
    free_ports
    real_dir=$scratch/real
    # The core is inherited by the virtual machines that it starts.
    taskset -c "$BROKER_CORE" "$root/tests/clients/real-broker/real-broker.sh" start "$real_dir" "$namesrv_port" "$port" "$scratch/real.conf" > /dev/null
    namesrv=127.0.0.1:$namesrv_port
    pid=$(cat "$real_dir/broker.pid")
}
stop_real() {
    "$root/tests/clients/real-broker/real-broker.sh" stop "$real_dir"
    rm -rf "$real_dir"; real_dir=
}
row_format='%-10s%-8s%-10s%12s%12s%12s%12s%16s\n'
printf "$row_format" broker round load msg/s 'p50 us' 'p99 us' 'max us' 'broker us/msg'
declare -A rates
for round in $(seq "$ROUNDS"); do
    floor
    for broker in ringmq rocketmq; do
        if [ "$broker" = ringmq ]; then start_broker "$flush"; pid=$broker_pid; else start_real; fi
        for load in 1x1 16x1 64x4; do
            # The first run of a virtual machine is not the one that counts: it gets a warm-up that compiles it.
            bench send --warm-up 5 --connections "${load%x*}" --in-flight "${load#*x}" --topic "perf-$load" --queues 8 --broker-pid "$pid"
            rates[$broker $load]+=" $(field 3)"
            printf "$row_format" "$broker" "$round" "$load" "$(field 3)" "$(field 4)" "$(field 6)" "$(field 9)" "$(field 10)"
        done
        if [ "$broker" = ringmq ]; then stop_broker; else stop_real; fi
    done
done
echo
printf '%-10s%16s%18s%8s\n' load 'ringmq msg/s' 'rocketmq msg/s' ratio
for load in 1x1 16x1 64x4; do
    ours=$(median ${rates[ringmq $load]}); theirs=$(median ${rates[rocketmq $load]})
    printf '%-10s%16s%18s%8s\n' "$load" "$ours" "$theirs" "$(ratio "$ours" "$theirs")"
done
