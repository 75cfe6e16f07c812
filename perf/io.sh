#!/usr/bin/env bash
# What is lost without io_uring: the same load on a broker with --io uring and on one with --io portable, in alternation, each on an empty
# store. FLUSH (sync async): the modes; SHAPES ("1x1 64x4"): connections and requests in flight on each. Medians of ROUNDS (5) at the end.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
machine
printf '%-7s%-8s%-8s%-10s%12s%12s%12s%16s\n' flush shape round io msg/s 'p50 us' 'p99 us' 'broker us/msg'
declare -A rate p50 p99 cpu
usual=${BROKER_ARGS:-}
run() { # FLUSH SHAPE ROUND IO
    BROKER_ARGS="$usual --io $4"
    start_broker "$1"
    bench send --connections "${2%x*}" --in-flight "${2#*x}" --topic perf-io --queues 8 --broker-pid "$broker_pid"
    stop_broker
    local key="$1 $2 $4"
    rate[$key]+=" $(field 3)"; p50[$key]+=" $(field 4)"; p99[$key]+=" $(field 6)"; cpu[$key]+=" $(field 10)"
    printf '%-7s%-8s%-8s%-10s%12s%12s%12s%16s\n' "$1" "$2" "$3" "$4" "$(field 3)" "$(field 4)" "$(field 6)" "$(field 10)"
}
for flush in ${FLUSH:-sync async}; do
    for shape in ${SHAPES:-1x1 64x4}; do
        for round in $(seq "$ROUNDS"); do
            floor
            if [ $((round % 2)) = 1 ]; then order="uring portable"; else order="portable uring"; fi
            for io in $order; do run "$flush" "$shape" "$round" "$io"; done
        done
    done
done
echo
for flush in ${FLUSH:-sync async}; do
    for shape in ${SHAPES:-1x1 64x4}; do
        of() { local -n values=$1; local key="$flush $shape $2"; median ${values[$key]}; }
        echo "$flush $shape: portable has $(ratio "$(of rate portable)" "$(of rate uring)") of the messages of uring," \
            "$(ratio "$(of p50 portable)" "$(of p50 uring)") of its p50, $(ratio "$(of p99 portable)" "$(of p99 uring)") of its p99," \
            "$(ratio "$(of cpu portable)" "$(of cpu uring)") of its CPU per message"
    done
done
