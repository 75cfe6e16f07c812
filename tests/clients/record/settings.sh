#!/usr/bin/env bash
# Writes tests/golden/settings.txt: the names of all settings that broker.conf of RocketMQ 5.5.0 may have, from the setters of its classes.
set -eu
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../real-broker/env.sh"
javap -cp "$CP" org.apache.rocketmq.common.BrokerConfig org.apache.rocketmq.common.BrokerIdentity \
    org.apache.rocketmq.store.config.MessageStoreConfig org.apache.rocketmq.remoting.netty.NettyServerConfig \
    org.apache.rocketmq.remoting.netty.NettyClientConfig org.apache.rocketmq.auth.config.AuthConfig |
    sed -nE 's/.* void set([A-Za-z][A-Za-z0-9]*)\([^,]*\);/\1/p' | sed -E 's/^(.)/\l\1/' | LC_ALL=C sort -u > "$here/../../golden/settings.txt"
