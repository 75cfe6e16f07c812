#!/usr/bin/env bash
# Apache RocketMQ's own name server and broker, on 127.0.0.1, for reference.
#
#   real-broker.sh start DIR NAMESRV_PORT BROKER_PORT [broker.conf]
#   real-broker.sh begin DIR NAMESRV_PORT BROKER_PORT broker.conf      # the broker alone, registered as broker.conf says; does not wait
#   real-broker.sh stop DIR
#   real-broker.sh kill DIR                                             # as kill -9 does
#
# DIR gets home/ (ROCKETMQ_HOME and the logs), store/, broker.conf and the pids. Lines of the broker.conf given win over ours.
# `start` returns 0 once the name server answers a route for the broker (or non-zero after 120 s).
# The broker also takes BROKER_PORT-2 (fast remoting) and BROKER_PORT+1 (replication).
set -u
usage() { sed -n '4,7s/^# *//p' "$0" >&2; exit 2; }

start() {
    [ $# -ge 3 ] || usage
    . "$(dirname "${BASH_SOURCE[0]}")/env.sh"
    mkdir -p "$1/home/conf" "$1/store"
    local dir; dir=$(cd "$1" && pwd)
    for name in namesrv broker; do
        if [ -f "$dir/$name.pid" ] && kill -0 "$(cat "$dir/$name.pid")" 2>/dev/null; then
            echo "$name already runs in $dir" >&2; exit 1
        fi
    done
    export ROCKETMQ_HOME=$dir/home

    printf 'listenPort=%s\nbindAddress=127.0.0.1\n' "$2" > "$dir/namesrv.conf"
    {
        cat <<CONF
brokerClusterName=DefaultCluster
brokerName=broker-a
brokerId=0
namesrvAddr=127.0.0.1:$2
listenPort=$3
haListenPort=$(($3 + 1))
bindAddress=127.0.0.1
brokerIP1=127.0.0.1
brokerIP2=127.0.0.1
storePathRootDir=$dir/store
storePathCommitLog=$dir/store/commitlog
mappedFileSizeCommitLog=67108864
diskMaxUsedSpaceRatio=99
autoCreateTopicEnable=true
autoCreateSubscriptionGroup=true
enablePropertyFilter=true
traceTopicEnable=true
# A cold JVM keeps a send for longer than the default of 200 ms, answers "broker busy", and the Go client does not try again.
waitTimeMillsInSendQueue=3000
CONF
        [ $# -lt 4 ] || cat "$4"
    } > "$dir/broker.conf"

    [ -n "${begins-}" ] || launch "$dir" namesrv -Xms128m -Xmx256m -- org.apache.rocketmq.namesrv.NamesrvStartup -c "$dir/namesrv.conf"
    launch "$dir" broker -Xms512m -Xmx1g -XX:MaxDirectMemorySize=512m -- org.apache.rocketmq.broker.BrokerStartup -c "$dir/broker.conf"

    [ -z "${begins-}" ] || return 0
    local deadline=$((SECONDS + 120))
    until has_route "$2"; do
        for name in namesrv broker; do
            kill -0 "$(cat "$dir/$name.pid")" 2>/dev/null || { tail -5 "$dir/$name.out" >&2; echo "$name ended, see $dir/$name.out" >&2; stop "$dir"; exit 1; }
        done
        if [ $SECONDS -ge $deadline ]; then echo "no route after 120 s" >&2; stop "$dir"; exit 1; fi
        sleep 0.5
    done
    echo "namesrv 127.0.0.1:$2 broker 127.0.0.1:$3"
}

# launch DIR NAME JVM_OPTIONS -- CLASS ARGS
launch() {
    local dir=$1 name=$2 options=(); shift 2
    while [ "$1" != -- ]; do options+=("$1"); shift; done; shift
    # The logs go to user.home/logs, which is therefore ours.
    setsid nohup "$java" "${options[@]}" $OPENS -Duser.home="$dir/home" \
        -XX:+UseSerialGC -XX:-UsePerfData -cp "$CP" "$@" > "$dir/$name.out" 2>&1 < /dev/null &
    echo $! > "$dir/$name.pid"
}

# Asks for the route of TBW102, which every broker that auto-creates topics registers (code 105, JSON header, no body).
has_route() {
    local header='{"code":105,"language":"JAVA","version":501,"opaque":1,"flag":0,"serializeTypeCurrentRPC":"JSON","extFields":{"topic":"TBW102"}}'
    local n=${#header}
    (
        exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
        printf "$(printf '\\x%02x' $(((n+4)>>24)) $(((n+4)>>16&255)) $(((n+4)>>8&255)) $(((n+4)&255)) 0 $((n>>16&255)) $((n>>8&255)) $((n&255)))%s" "$header" >&3
        timeout 1 cat <&3 | grep -aq brokerAddrs
    ) 2>/dev/null
}

# The broker first, so that it can unregister; a process that does not end within 30 s is killed.
stop() {
    for name in broker namesrv; do
        [ -f "$1/$name.pid" ] || continue
        local pid; pid=$(cat "$1/$name.pid")
        kill "$pid" 2>/dev/null
        for _ in $(seq 150); do kill -0 "$pid" 2>/dev/null || break; sleep 0.2; done
        kill -9 "$pid" 2>/dev/null
        rm -f "$1/$name.pid"
    done
    return 0
}

murder() {
    for name in broker namesrv; do
        [ -f "$1/$name.pid" ] || continue
        kill -9 "$(cat "$1/$name.pid")" 2>/dev/null
        while kill -0 "$(cat "$1/$name.pid")" 2>/dev/null; do sleep 0.05; done
        rm -f "$1/$name.pid"
    done
    return 0
}

case ${1-} in
    start) shift; start "$@" ;;
    begin) shift; begins=yes start "$@" ;;
    stop) [ $# -eq 2 ] || usage; stop "$2" ;;
    kill) [ $# -eq 2 ] || usage; murder "$2" ;;
    *) usage ;;
esac
