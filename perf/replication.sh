#!/usr/bin/env bash
# What a second copy costs, all with SYNC_FLUSH on both sides and 1 KiB messages: a broker alone (A), SYNC_MASTER with one slave (S), ASYNC_MASTER with one
# slave (Y), in turn, who begins changes. Of each: p50 of one producer, throughput and p99 of 64 connections x 4, CPU per message of master and slave
# (user and system time of the processes), and what a bare exchange of batches of 100 messages over TCP takes of both. Then the lag of Y at half of its
# throughput, the catch-up of a slave that was away for AWAY_GIB (2), and that of a replica that discards what it gets: the slave's device and CPU apart.
# Targets: p50 S/A <= 1.6; throughput S/Y >= 0.90; CPU master S - A <= 0.5 us, slave <= 1.5 us; lag p99 <= 5 ms; p99 while catching up <= 2 x.
# The master is on BROKER_CORE, the slave on SLAVE_CORE (the load's, unless there is a third), the load on LOAD_CORE. Python 3.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
: "${AWAY_GIB:=2}" "${SLAVE_CORE:=$(($(nproc) > 2 ? 1 : LOAD_CORE))}"
machine
echo "slave on core $SLAVE_CORE"
names_pid= master_pid= slave_pid=
stop_all() {
    for pid in $slave_pid $master_pid $names_pid; do kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; done
    names_pid= master_pid= slave_pid=
    rm -rf "$scratch/master" "$scratch/slave"
}
trap 'stop_all; clean_up' EXIT

until_ready() { # until_ready OUT PID
    until grep -q '^ready' "$1"; do
        kill -0 "$2" 2>/dev/null || { cat "$1" >&2; echo "a process did not start" >&2; exit 1; }
        sleep 0.02
    done
}

one() { # one NAME CORE PORT LINES: a broker; its pid in $pid
    mkdir -p "$scratch/$1"
    printf 'brokerName=broker-a\nnamesrvAddr=%s\nlistenPort=%s\nbrokerIP1=127.0.0.1\nstorePathRootDir=%s\nflushDiskType=SYNC_FLUSH\n%b' \
        "$namesrv" "$3" "$scratch/$1" "$4" > "$scratch/$1.conf"
    "$ringmq" broker --config "$scratch/$1.conf" --cores "$2" > "$scratch/$1.out" 2>&1 &
    pid=$!
    until_ready "$scratch/$1.out" "$pid"
}

start_slave() { one slave "$SLAVE_CORE" "$slave_port" 'brokerRole=SLAVE\nbrokerId=1\n'; slave_pid=$pid; }

begin() { # begin A|S|Y: name server, master and slave on empty stores; returns when the slave follows
    free_ports; local first=$port names=$namesrv_port
    while free_ports; [ $((port > first ? port - first : first - port)) -lt 20 ]; do :; done
    slave_port=$port; port=$first; namesrv=127.0.0.1:$names
    HOME=$scratch "$ringmq" namesrv --bind 127.0.0.1 --port "$names" > "$scratch/names.out" 2>&1 &
    names_pid=$!
    until_ready "$scratch/names.out" "$names_pid"
    local role=
    case $1 in S) role='brokerRole=SYNC_MASTER\ninSyncReplicas=2\n' ;; Y) role='brokerRole=ASYNC_MASTER\n' ;; esac
    one master "$BROKER_CORE" "$port" "$role"; master_pid=$pid
    # Of something to follow: a slave is in sync once it has reported.
    "$ringmq" send --namesrv "$namesrv" --topic perf first > /dev/null
    [ "$1" = A ] || { start_slave; follows > /dev/null; }
    SECONDS_PER_RUN=1 bench send --connections 64 --in-flight 4 --topic perf --queues 8 --warm-up 0
}

# The slave has the whole log; prints the seconds until then.
follows() { python3 "$here/replica.py" follows "127.0.0.1:$port"; }

ticks() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }
cpu_us() { awk -v a="$1" -v b="$2" -v n="$3" -v hz="$(getconf CLK_TCK)" 'BEGIN { printf "%.2f", (b - a) / hz * 1e6 / n }'; }

measure() { # measure A|S|Y: adds to p50_X, rate_X, p99_X, cpu_X, slave_X
    begin "$1"
    bench send --connections 1 --in-flight 1 --topic perf --queues 8
    local p50; p50=$(field 4)
    local before slave_before=0 slave_after=0
    before=$(ticks "$master_pid"); [ -z "$slave_pid" ] || slave_before=$(ticks "$slave_pid")
    bench send --connections 64 --in-flight 4 --topic perf --queues 8 --warm-up 0
    local rate p99 messages; rate=$(field 3); p99=$(field 6)
    messages=$(awk -v r="$rate" -v s="$SECONDS_PER_RUN" 'BEGIN { print r * s }')
    local cpu slave=-; cpu=$(cpu_us "$before" "$(ticks "$master_pid")" "$messages")
    if [ -n "$slave_pid" ]; then follows > /dev/null; slave_after=$(ticks "$slave_pid"); slave=$(cpu_us "$slave_before" "$slave_after" "$messages"); fi
    stop_all
    printf '%-8s%6s%12s%12s%12s%14s%14s\n' "$round" "$1" "$p50" "$rate" "$p99" "$cpu" "$slave"
    eval "p50_$1+=($p50); rate_$1+=($rate); p99_$1+=($p99); cpu_$1+=($cpu); slave_$1+=(${slave/-/0})"
}

printf '%-8s%6s%12s%12s%12s%14s%14s\n' round kind 'p50 us' msg/s 'p99 us' 'master us/msg' 'slave us/msg'
orders=("A S Y" "Y S A" "S A Y")
for round in $(seq "$ROUNDS"); do
    floor
    for kind in ${orders[$((round % 3))]}; do measure "$kind"; done
done
for kind in A S Y; do
    for what in p50 rate p99 cpu slave; do eval "m_${what}_$kind=\$(median \"\${${what}_$kind[@]}\")"; done
    eval "printf '%-8s%6s%12s%12s%12s%14s%14s\n' median $kind \"\$m_p50_$kind\" \"\$m_rate_$kind\" \"\$m_p99_$kind\" \"\$m_cpu_$kind\" \"\$m_slave_$kind\""
done
echo "a bare exchange over TCP: $(python3 "$here/replica.py" floor 128000 5000)"
echo "p50 S/A $(ratio "$m_p50_S" "$m_p50_A"), throughput S/Y $(ratio "$m_rate_S" "$m_rate_Y"), Y/A $(ratio "$m_rate_Y" "$m_rate_A"), master's CPU S - A $(awk -v a="$m_cpu_S" -v b="$m_cpu_A" 'BEGIN { printf "%.2f", a - b }') us, slave's $m_slave_S us"

# At half of the throughput: how long a byte is at the master and not yet at the slave.
begin Y
half=$(awk -v r="$m_rate_Y" 'BEGIN { printf "%d", r / 2 }')
python3 "$here/replica.py" lag "127.0.0.1:$port" "$SECONDS_PER_RUN" > "$scratch/lag" &
lag_pid=$!
bench send --connections 64 --in-flight 4 --topic perf --queues 8 --rate "$half"
calm_p99=$(field 6)
wait "$lag_pid"
echo "lag at $half msg/s: $(cat "$scratch/lag")"

# A slave that was away, while producers go on at half of the throughput.
kill "$slave_pid"; wait "$slave_pid" || true; slave_pid=
seconds=$(awk -v g="$AWAY_GIB" -v r="$m_rate_Y" 'BEGIN { printf "%d", g * 1048576 / r / 1.2 + 1 }')
SECONDS_PER_RUN=$seconds bench send --connections 64 --in-flight 4 --topic perf --queues 8 --warm-up 0
start_slave
follows > "$scratch/caught" &
caught_pid=$!
bench send --connections 64 --in-flight 4 --topic perf --queues 8 --rate "$half"
wait "$caught_pid"
echo "catch-up: $(cat "$scratch/caught"); p99 of producers $(field 6) us meanwhile, $calm_p99 us before ($(ratio "$(field 6)" "$calm_p99"))"

# The same with a replica that discards, which shows what is the master's own.
kill "$slave_pid"; wait "$slave_pid" || true; slave_pid=
bytes=$((AWAY_GIB << 30))
alone=$(python3 "$here/replica.py" sink "127.0.0.1:$((port + 1))" "$bytes")
bench send --connections 64 --in-flight 4 --topic perf --queues 8 --rate "$half"
calm_p99=$(field 6)
python3 "$here/replica.py" sink "127.0.0.1:$((port + 1))" "$bytes" > "$scratch/caught" &
caught_pid=$!
bench send --connections 64 --in-flight 4 --topic perf --queues 8 --rate "$half"
wait "$caught_pid"
echo "catch-up of one that discards: alone $alone, beside producers $(cat "$scratch/caught"); p99 of producers $(field 6) us meanwhile, $calm_p99 us before ($(ratio "$(field 6)" "$calm_p99"))"
