#!/usr/bin/env bash
# RocketMQ's mqadmin, unmodified:  mqadmin.sh SUBCOMMAND ARGS   (for instance: mqadmin.sh clusterList -n 127.0.0.1:9876)
# mqadmin exits with 0 even when a command failed; read what it prints.
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
home=${MQADMIN_HOME:-$here/target/mqadmin}; mkdir -p "$home"
exec timeout -k 5 "${TIMEOUT_SECONDS:-60}" "$java" -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 $OPENS -Duser.home="$home" \
    -Drocketmq.home.dir="$home" -cp "$here/../quiet:$CP" org.apache.rocketmq.tools.command.MQAdminStartup "$@"
