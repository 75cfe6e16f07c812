#!/usr/bin/env bash
# Runs a Java source file with the stock client 5.5.0 on its class path, as it is:  run.sh DIR FILE
# The client's log goes to DIR. Ends after TIMEOUT_SECONDS (60), as a consumer never ends.
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/../real-broker/env.sh"
folder=$1; shift
exec timeout -k 10 "${TIMEOUT_SECONDS:-60}" "$java" -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
    -Duser.home="$folder" -Drocketmq.client.logRoot="$folder/logs" -cp "$CP" "$@"
