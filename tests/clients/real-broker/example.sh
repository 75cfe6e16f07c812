#!/usr/bin/env bash
# A class of the rocketmq-example artifact, unmodified:  NAMESRV_ADDR=127.0.0.1:9876 example.sh CLASS ARGS
#   example.sh org.apache.rocketmq.example.quickstart.Producer
#   example.sh org.apache.rocketmq.example.benchmark.Producer -n 127.0.0.1:9876 -t BenchmarkTest -s 1024 -w 16
# The consumers run until they are stopped: TIMEOUT_SECONDS (60) ends them, with exit code 124.
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
home=$here/target/example; mkdir -p "$home"
exec timeout -k 5 "${TIMEOUT_SECONDS:-60}" "$java" -Xmx512m -XX:+UseSerialGC $OPENS -Duser.home="$home" \
    -Drocketmq.home.dir="$home" -cp "$here/../quiet:$CP" "$@"
