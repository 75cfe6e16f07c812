#!/usr/bin/env bash
# What becomes of sends when there are more than the disk takes: messages of BODY (65536) bytes at the rate that FLUSH (sync) sustains
# here, at twice that rate, and with the file system frozen for STALL (1 and 10) seconds in the middle of half that rate. The store stands
# on a loop-mounted ext4 of its own (root, fsfreeze); without that the stalls are left out. Accepted and refused per second, latencies from the
# intended time, the broker's memory.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
build --example overload
machine
: "${FLUSH:=sync}" "${BODY:=65536}" "${STALL:=1 10}"
mounted=
clean_up() {
    [ -z "$mounted" ] || fsfreeze -u "$mounted" 2>/dev/null || true
    stop_broker
    [ -z "$mounted" ] || umount "$mounted"
    rm -rf "$image_dir" "$scratch"
}
image_dir=$scratch
if [ "$(id -u)" = 0 ] && command -v fsfreeze mkfs.ext4 > /dev/null; then
    image=$scratch/image mount_point=$scratch/mnt
    truncate -s 12G "$image"; mkdir "$mount_point"
    if mkfs.ext4 -q "$image" && mount -o loop "$image" "$mount_point" 2> /dev/null; then
        mounted=$mount_point scratch=$mount_point
    fi
fi
# A freeze begins with a sync of the file system: the disk stands still for longer than it lasts.
label() { if [ -s "$image_dir/stood" ]; then echo "stood for $(cat "$image_dir/stood") s"; else echo "$1"; fi; }
load() { # load LABEL RATE
    row=$(taskset -c "$LOAD_CORE" "$target/examples/overload" "127.0.0.1:$port" "$broker_pid" "$2" "$BODY" "$SECONDS_PER_RUN")
    printf '%-16s%10s' "$(label "$1")" "$2"; printf '%14s%14s%14s%12s%16s%12s%12s\n' $row
}
printf '%-16s%10s%14s%14s%14s%12s%16s%12s%12s\n' load offered/s accepted/s 'p50 ms' 'p99 ms' refused/s 'refused p99 ms' 'RSS MiB' after
# What the disk takes shows only where nothing is refused.
echo 'waitTimeMillsInSendQueue=600000' > "$scratch/patient.conf"
given=${BROKER_ARGS:-}
BROKER_ARGS="$given --config $scratch/patient.conf" start_broker "$FLUSH"
bench send --connections 64 --in-flight 4 --size "$BODY" --topic perf-overload --queues 4
full=$(printf '%.0f' "$(field 3)")
stop_broker; start_broker "$FLUSH"
load 'full x 0.8' $((full * 8 / 10))
stop_broker; start_broker "$FLUSH"
load 'full x 2' $((full * 2))
[ -n "$mounted" ] || { echo "no file system of our own to freeze: no stalls"; exit 0; }
for seconds in $STALL; do
    stop_broker; start_broker "$FLUSH"
    (sleep 5; from=$(date +%s%N); fsfreeze -f "$mounted"; sleep "$seconds"; fsfreeze -u "$mounted"
        awk -v ns=$(($(date +%s%N) - from)) 'BEGIN { printf "%.1f", ns / 1e9 }' > "$image_dir/stood") &
    SECONDS_PER_RUN=$((seconds + 5)) load frozen $((full / 2))
    wait $!
done
