#!/usr/bin/env bash
# Start on an empty store: milliseconds from the start of the process until the name server has a route and until the first
# message of an auto-created topic is acknowledged, and the memory of the idle broker. ROUNDS (5) starts in each flush mode.
# Shared memory is the log buffer; huge pages of the ConsumeQueues are not in the resident set (HugetlbPages in /proc).
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
machine
row_format='%-8s%-8s%12s%16s%12s%12s%12s\n'
printf "$row_format" flush start 'route ms' 'first send ms' 'RSS MiB' 'anon MiB' 'shared MiB'
for flush in sync async; do
    route=(); send=(); rss=(); anon=(); shared=()
    for round in $(seq "$ROUNDS"); do
        free_ports
        mkdir "$scratch/store"
        line=$("$target/examples/first_send" "$ringmq" "$scratch/store" "$port" "$namesrv_port" "$flush" "$BROKER_CORE")
        rm -rf "$scratch/store"
        read -r a b c d e <<< "$line"
        route+=("$a"); send+=("$b")
        rss+=("$(ratio "$c" 1024)"); anon+=("$(ratio "$d" 1024)"); shared+=("$(ratio "$e" 1024)")
        printf "$row_format" "$flush" "$round" "$a" "$b" "${rss[-1]}" "${anon[-1]}" "${shared[-1]}"
    done
    printf "$row_format" "$flush" median "$(median "${route[@]}")" "$(median "${send[@]}")" "$(median "${rss[@]}")" \
        "$(median "${anon[@]}")" "$(median "${shared[@]}")"
done
