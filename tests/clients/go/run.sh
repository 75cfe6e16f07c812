#!/usr/bin/env bash
# Runs the Go client's scenarios:  run.sh -namesrv 127.0.0.1:9876 -scenario all
# Builds when a source has changed; Go needs the network only for the first build. Offsets of broadcasting go to target/.
set -eu
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$here/target"
(cd "$here" && go build -o target/client-check . 2> target/build.log) || { tail -20 "$here/target/build.log" >&2; echo "FAIL build: go build failed" >&2; exit 2; }
# A name that bash cannot assign, hence env.
exec env "rocketmq.client.localOffsetStoreDir=$here/target/offsets" timeout -k 10 "${TIMEOUT_SECONDS:-600}" "$here/target/client-check" "$@"
