#!/usr/bin/env bash
# Records the frames of RocketMQ's controller for tests/golden/controller:  controller.sh WORK_DIR     (JDK, Maven, Python 3; about two minutes)
#
# As capture.sh does: the real controller, name server and two brokers of one name listen on 127.0.0.1, the recorder on 127.0.0.2 with the
# same ports. The controller names itself 127.0.0.2 in its list of peers and the brokers advertise it, so that every frame passes the recorder.
# What happens: both register and form a set; mqadmin looks, elects by order, changes a setting and cleans; the master is killed.
set -eu
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
real=$here/../real-broker golden=$here/../../golden/controller
. "$here/../real-broker/env.sh"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ns=29876 ctl=29878 one=30911 two=30931
rm -rf "$1"; mkdir -p "$1"; work=$(cd "$1" && pwd)

jvm() { # jvm NAME CLASS
    mkdir -p "$work/$1/home/conf"
    ROCKETMQ_HOME=$work/$1/home setsid nohup "$java" -Xmx512m -XX:MaxDirectMemorySize=256m $OPENS -Duser.home="$work/$1/home" \
        -XX:+UseSerialGC -XX:-UsePerfData -cp "$CP" "$2" -c "$work/$1/conf" > "$work/$1/out" 2>&1 < /dev/null &
    echo $! > "$work/$1/pid"
}
broker() { # broker NAME PORT
    mkdir -p "$work/$1"
    cat > "$work/$1/conf" <<CONF
brokerClusterName=DefaultCluster
brokerName=broker-a
brokerId=-1
brokerRole=SLAVE
enableControllerMode=true
controllerAddr=127.0.0.2:$ctl
namesrvAddr=127.0.0.1:$ns
listenPort=$2
haListenPort=$(($2 + 1))
bindAddress=127.0.0.1
brokerIP1=127.0.0.2
brokerIP2=127.0.0.1
storePathRootDir=$work/$1/store
storePathCommitLog=$work/$1/store/commitlog
mappedFileSizeCommitLog=16777216
allAckInSyncStateSet=true
diskMaxUsedSpaceRatio=99
CONF
    jvm "$1" org.apache.rocketmq.broker.BrokerStartup
}
admin() { "$real/mqadmin.sh" "$@" > "$work/mqadmin-$1.out" 2>&1 || true; }
down() { trap - EXIT; for pid in "$work"/*/pid; do kill "$(cat "$pid")" 2>/dev/null || true; done; kill "$recorder" 2>/dev/null || true; }
in_sync() { admin getSyncStateSet -a 127.0.0.2:$ctl -b broker-a; grep -q "SyncStateSetNums\s*$1" "$work/mqadmin-getSyncStateSet.out"; }
until_true() { for _ in $(seq 60); do if "$@"; then return 0; fi; sleep 1; done; echo "never: $*" >&2; exit 1; }

python3 "$here/record.py" "$work/frames" 127.0.0.2:$ctl=127.0.0.1:$ctl 127.0.0.2:$one=127.0.0.1:$one 127.0.0.2:$two=127.0.0.1:$two & recorder=$!
trap down EXIT
mkdir -p "$work/namesrv" "$work/controller"
printf 'listenPort=%s\nbindAddress=127.0.0.1\n' $ns > "$work/namesrv/conf"
printf '%s\n' controllerDLegerGroup=group1 controllerDLegerPeers=n0-127.0.0.2:$ctl controllerDLegerSelfId=n0 bindAddress=127.0.0.1 \
    controllerStorePath="$work/controller/store" mappedFileSize=16777216 > "$work/controller/conf"
jvm namesrv org.apache.rocketmq.namesrv.NamesrvStartup
jvm controller org.apache.rocketmq.controller.ControllerStartup
sleep 6
broker one $one
sleep 8
broker two $two
until_true in_sync 2
cp "$work/mqadmin-getSyncStateSet.out" "$work/mqadmin-getSyncStateSet-2.out"
admin getControllerMetaData -a 127.0.0.2:$ctl
admin getControllerConfig -a 127.0.0.2:$ctl
admin updateControllerConfig -a 127.0.0.2:$ctl -k notifyBrokerRoleChanged -v true
admin electMaster -a 127.0.0.2:$ctl -b 2 -bn broker-a -c DefaultCluster
sleep 2
until_true in_sync 2
admin updateControllerConfig -a 127.0.0.2:$ctl -k configStorePath -v /x
cp "$work/mqadmin-updateControllerConfig.out" "$work/mqadmin-updateControllerConfig-refused.out"
admin cleanBrokerMetadata -a 127.0.0.2:$ctl -bn broker-a -c DefaultCluster
cp "$work/mqadmin-cleanBrokerMetadata.out" "$work/mqadmin-cleanBrokerMetadata-refused.out"
kill -9 "$(cat "$work/two/pid")"
sleep 4
admin getSyncStateSet -a 127.0.0.2:$ctl -b broker-a
cp "$work/mqadmin-getSyncStateSet.out" "$work/mqadmin-getSyncStateSet-killed.out"
admin cleanBrokerMetadata -a 127.0.0.2:$ctl -bn broker-a -c DefaultCluster -b 2
kill -9 "$(cat "$work/one/pid")"
sleep 2
admin electMaster -a 127.0.0.2:$ctl -b 1 -bn broker-a -c DefaultCluster
admin getSyncStateSet -a 127.0.0.2:$ctl -b broker-a
cp "$work/mqadmin-getSyncStateSet.out" "$work/mqadmin-getSyncStateSet-dead.out"
sleep 1
down
mkdir -p "$golden"
exec python3 "$here/pick_controller.py" "$work/frames" "$golden"
