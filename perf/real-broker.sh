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
# Connections x requests in flight; the last one is an open loop of so many messages per second.
loads='1x1 16x4 64x4 16x4@6000'
figures='msg/s p50 p99 p99.9 cpu'
row_format='%-10s%-8s%-10s%12s%12s%12s%12s%16s\n'
printf "$row_format" broker round load msg/s 'p50 us' 'p99 us' 'p99.9 us' 'broker us/msg'
declare -A seen
for round in $(seq "$ROUNDS"); do
    floor
    for broker in ringmq rocketmq; do
        if [ "$broker" = ringmq ]; then start_broker "$flush"; pid=$broker_pid; else start_real; fi
        for load in $loads; do
            closed=${load%@*}; rate=0; [ "$closed" = "$load" ] || rate=${load#*@}
            # The first run of a virtual machine is not the one that counts: it gets a warm-up that compiles it.
            bench send --warm-up 5 --connections "${closed%x*}" --in-flight "${closed#*x}" --rate "$rate" --topic "perf-${closed}" --queues 8 --broker-pid "$pid"
            seen[$broker $load msg/s]+=" $(field 3)"; seen[$broker $load p50]+=" $(field 4)"; seen[$broker $load p99]+=" $(field 6)"
            seen[$broker $load p99.9]+=" $(field 7)"; seen[$broker $load cpu]+=" $(field 10)"
            printf "$row_format" "$broker" "$round" "$load" "$(field 3)" "$(field 4)" "$(field 6)" "$(field 7)" "$(field 10)"
        done
        if [ "$broker" = ringmq ]; then stop_broker; else stop_real; fi
    done
done
echo
printf '%-10s%-8s%16s%16s%10s\n' load median ringmq rocketmq ratio
for load in $loads; do
    for figure in $figures; do
        ours=$(median ${seen[ringmq $load $figure]}); theirs=$(median ${seen[rocketmq $load $figure]})
        printf '%-10s%-8s%16s%16s%10s\n' "$load" "$figure" "$ours" "$theirs" "$(ratio "$ours" "$theirs")"
    done
done
