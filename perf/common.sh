# Sourced by the scripts beside it: the built binary, free ports, a broker of our own on an empty store, and medians.
# SECONDS_PER_RUN, ROUNDS, BROKER_CORE, LOAD_CORE, BROKER_ARGS, STORE_PARENT, FLOOR, RINGMQ and PROFILE may be set by the caller; see
# README.md.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
: "${ROUNDS:=5}" "${SECONDS_PER_RUN:=10}" "${BROKER_CORE:=0}" "${LOAD_CORE:=$(($(nproc) - 1))}"
: "${STORE_PARENT:=${TMPDIR:-/tmp}}" "${FLOOR:=}"

: "${PROFILE:=release}"
# build WHAT: with cargo, in the profile that is measured.
build() { cargo build --profile "$PROFILE" --quiet --manifest-path "$root/Cargo.toml" "$@"; }
build --bin ringmq --example first_send
# The kernel writes what the build has left in the page cache 30 s later, and takes a core for it: with a master, a slave and the load on two cores
# sends waited for 1 s then and were refused.
sync
target=${CARGO_TARGET_DIR:-$root/target}/$([ "$PROFILE" = dev ] && echo debug || echo "$PROFILE")
ringmq=${RINGMQ:-$target/ringmq}
export RINGMQ_LOG=${RINGMQ_LOG:-warn}

scratch=$(mktemp -d "$STORE_PARENT/ringmq-perf-XXXXXX")
broker_pid=
real_dir=
clean_up() {
    stop_broker
    [ -z "$real_dir" ] || "$root/tests/clients/real-broker/real-broker.sh" stop "$real_dir"
    rm -rf "$scratch"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# listens PORT: a process on the loopback takes connections there.
listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Puts a broker port, whose neighbours from two below to one above are free as well, and a name server port into port and
# namesrv_port; below the range that the kernel takes for outgoing connections.
free_ports() {
    while :; do
        port=$((12000 + RANDOM % 18000)); namesrv_port=$((port + 5))
        local taken=
        for candidate in $((port - 2)) "$port" $((port + 1)) "$namesrv_port"; do ! listens "$candidate" || taken=1; done
        [ -n "$taken" ] || return 0
    done
}

# start_broker sync|async: on an empty store, pinned by its own --cores; returns when it says that it is ready.
start_broker() {
    free_ports
    store=$scratch/store; rm -rf "$store"; mkdir "$store"
    : > "$scratch/broker.out"
    "$ringmq" broker --cores "$BROKER_CORE" --flush "$1" --store "$store" --advertise 127.0.0.1 \
        --port "$port" --namesrv-port "$namesrv_port" ${BROKER_ARGS:-} > "$scratch/broker.out" 2> "$scratch/broker.err" &
    broker_pid=$!
    namesrv=127.0.0.1:$namesrv_port
    until grep -q '^ready' "$scratch/broker.out"; do
        kill -0 "$broker_pid" 2>/dev/null || { cat "$scratch/broker.err" >&2; echo "the broker did not start" >&2; exit 1; }
        sleep 0.02
    done
}

stop_broker() {
    [ -n "$broker_pid" ] || return 0
    kill "$broker_pid" 2>/dev/null || true
    wait "$broker_pid" 2>/dev/null || true
    broker_pid=
    rm -rf "$scratch/store"
}

# bench MODE ARGS: the load, on its core, its report kept in $scratch/report and its row in $row.
bench() {
    local mode=$1; shift
    "$ringmq" bench "$mode" --namesrv "$namesrv" --core "$LOAD_CORE" --duration "$SECONDS_PER_RUN" "$@" \
        > "$scratch/report" 2> "$scratch/bench.err" || { cat "$scratch/bench.err" >&2; exit 1; }
    row=$(grep "^$mode  " "$scratch/report" | head -1)
    [ -n "$row" ] || { cat "$scratch/report" >&2; echo "no row of $mode in the report" >&2; exit 1; }
    local errors; errors=$(field 14)
    [ "$errors" = 0 ] || { cat "$scratch/report" >&2; echo "$mode: $errors errors, the figures do not count" >&2; exit 1; }
}

# field N: a column of $row without its thousands separators: 3 msg/s, 4 p50, 6 p99, 9 max, 10 broker us/msg, 11 load
# us/msg, 12 bytes/msg, 13 flushes/msg, 14 errors.
field() { awk -F '  +' -v n="$1" '{ gsub(",", "", $n); print $n }' <<< "$row"; }

# The middle of its arguments (the mean of the two middle ones).
median() {
    printf '%s\n' "$@" | sort -n | awk '{ v[NR] = $1 } END { printf "%.10g\n", NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}

ratio() { awk -v a="$1" -v b="$2" 'BEGIN { if (b > 0) printf "%.2f", a / b; else print "-" }'; }

# What the machine can do at best right now, if the caller has named a command for it.
floor() { [ -z "$FLOOR" ] || bash -c "$FLOOR"; }

machine() {
    echo "machine   $(nproc) x $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1), Linux $(uname -r), store below $STORE_PARENT ($(stat -f -c %T "$STORE_PARENT"))"
    echo "broker on core $BROKER_CORE, load on core $LOAD_CORE, load average $(cut -d' ' -f1-3 /proc/loadavg) (idle: below 0.1)"
    echo
}
