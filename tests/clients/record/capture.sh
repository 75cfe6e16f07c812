#!/usr/bin/env bash
# Records tests/golden again:  capture.sh WORK_DIR     (JDK, Maven, Go and Python 3; about five minutes; ports 19876, 20911, 20912)
#
# The real name server and broker listen on 127.0.0.1, the recorder on 127.0.0.2 with the same ports. The broker advertises
# 127.0.0.2 (brokerIP1) and registers through it, so that every frame passes the recorder and none is changed.
# Three brokers: one as it comes, which answers in JSON whatever it was asked in; one that answers in the ROCKETMQ codec; and
# one for the Go client.
set -eu
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
real=$here/../real-broker java=$here/../java golden=$here/../../golden
ns=19876 port=20911 namesrv=127.0.0.2:19876
client=
mkdir -p "$1"; work=$(cd "$1" && pwd)

up() { # up DIR
    dir=$work/$1; rm -rf "$dir"; mkdir -p "$dir"
    python3 "$here/record.py" "$dir/frames" $namesrv=127.0.0.1:$ns 127.0.0.2:$port=127.0.0.1:$port & recorder=$!
    trap down EXIT
    printf 'brokerIP1=127.0.0.2\nbrokerIP2=127.0.0.2\nnamesrvAddr=%s\n' $namesrv > "$dir/broker.conf"
    "$real/real-broker.sh" start "$dir/broker" $ns $port "$dir/broker.conf"
}
down() { trap - EXIT; [ -z "$client" ] || kill "$client" 2>/dev/null || true; "$real/real-broker.sh" stop "$dir/broker"; kill $recorder; }
mark() { printf '%s\t%s\n' "$(find "$dir/frames" -name '*.req.bin' | wc -l)" "$1" >> "$dir/marks.tsv"; }
admin() { "$real/mqadmin.sh" "$@" -n $namesrv > "$dir/mqadmin-$1.out" 2>&1; }

up json
mark 4.9.3
"$java/run.sh" 4.9.3 GoldenCapture $namesrv send
mark 4.9.8
"$java/run.sh" 4.9.8 GoldenCapture $namesrv send
mark binary
JAVA_OPTIONS=-Drocketmq.serialize.type=ROCKETMQ "$java/run.sh" 5.5.0 GoldenCapture $namesrv send
mark 5.5.0
mkfifo "$dir/stdin"; exec 5<> "$dir/stdin"
"$java/run.sh" 5.5.0 GoldenCapture $namesrv all <&5 > "$dir/capture.out" & client=$!
until grep -q READY "$dir/capture.out"; do kill -0 $client; sleep 0.5; done
sleep 3 # for the parked pull to be answered
mark mqadmin
admin clusterList
admin topicList
admin topicStatus -t GoldenTopic
admin updateTopic -c DefaultCluster -t GoldenAdmin -r 2 -w 2
admin updateSubGroup -c DefaultCluster -g GoldenAdminGroup
admin consumerConnection -g GoldenGroup
admin producerConnection -g GoldenProducer -t GoldenTopic
admin consumerProgress -g GoldenGroup
admin deleteTopic -c DefaultCluster -t GoldenAdmin
echo >&5
wait $client; client=
down

export ROCKETMQ_SERIALIZE_TYPE=ROCKETMQ
up rocketmq
mark binary
"$java/run.sh" 5.5.0 GoldenCapture $namesrv send
"$java/run.sh" 5.5.0 GoldenCapture $namesrv pull
down

unset ROCKETMQ_SERIALIZE_TYPE
up go
mark go
"$here/../go/run.sh" -namesrv $namesrv -scenario send_batch -prefix golden
down

mkdir -p "$golden/store"
exec python3 "$here/pick.py" "$work" "$golden"
