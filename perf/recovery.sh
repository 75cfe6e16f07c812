#!/usr/bin/env bash
# How soon a store of QUEUES (100,000) queues takes messages again, for each of SIZES ("1 4 16") GiB of log made of messages of BODY_KIB
# (16): milliseconds from the start of the process to the first acknowledged message after a kill -9 in the midst of sends, and after a
# clean stop, and what that stop took (target: below 3000 after a kill, at any size). FLUSH (async). What the broker says goes to stderr.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
build --example recovery
machine
: "${QUEUES:=100000}" "${SIZES:=1 4 16}" "${BODY_KIB:=16}" "${FLUSH:=async}"
row_format='%-10s%8s%8s%12s%10s%14s\n'
printf "$row_format" queues GiB 'fill s' 'killed ms' 'stop ms' 'stopped ms'
for gib in $SIZES; do
    free_ports
    mkdir "$scratch/store"
    line=$("$target/examples/recovery" "$ringmq" "$scratch/store" "$port" "$namesrv_port" "$FLUSH" "$BROKER_CORE" "$QUEUES" "$gib" "$BODY_KIB")
    rm -rf "$scratch/store"
    # shellcheck disable=SC2086
    printf "$row_format" $line
done
