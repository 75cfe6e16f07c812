#!/usr/bin/env bash
# RocketMQ's own broker for another's name server, in the foreground:  broker.sh DIR NAMESRV BROKER_PORT
# DIR gets home/ (ROCKETMQ_HOME and the logs), store/ and broker.conf; what the broker prints goes to DIR/broker.out.
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/../real-broker/env.sh"
mkdir -p "$1/home/conf" "$1/store"
dir=$(cd "$1" && pwd)
cat > "$dir/broker.conf" <<CONF
brokerClusterName=DefaultCluster
brokerName=broker-a
brokerId=0
namesrvAddr=$2
listenPort=$3
haListenPort=$(($3 + 1))
bindAddress=127.0.0.1
brokerIP1=127.0.0.1
brokerIP2=127.0.0.1
storePathRootDir=$dir/store
storePathCommitLog=$dir/store/commitlog
mappedFileSizeCommitLog=67108864
diskMaxUsedSpaceRatio=99
CONF
ROCKETMQ_HOME=$dir/home exec "$java" -Xms512m -Xmx1g -XX:MaxDirectMemorySize=512m $OPENS -Duser.home="$dir/home" \
    -XX:+UseSerialGC -XX:-UsePerfData -cp "$CP" org.apache.rocketmq.broker.BrokerStartup -c "$dir/broker.conf" > "$dir/broker.out" 2>&1 < /dev/null
