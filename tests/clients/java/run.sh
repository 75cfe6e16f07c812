#!/usr/bin/env bash
# Runs a class of this project with the given version of the stock client:
#   run.sh 5.5.0 ClientCheck --namesrv 127.0.0.1:9876 --scenario all
#   run.sh 4.9.8 ClientCheck --namesrv 127.0.0.1:9876 --scenario send_and_consume
# Compiles when a source is newer than the last build; Maven needs the network only for the first build of a version.
# The client's log goes to target/VERSION/home/logs. JAVA_OPTIONS are passed on to the JVM.
set -eu
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
version=$1; shift
build=$here/target/$version
mkdir -p "$build"
(
    flock 9
    if [ ! -f "$build/built" ] || [ -n "$(find "$here/src" "$here/pom.xml" -newer "$build/built" -print -quit)" ]; then
        compile() { mvn -q -B "$@" -f "$here/pom.xml" -Drocketmq.version="$version" compile > "$build/maven.log" 2>&1; }
        compile -o || compile ||
            { tail -30 "$build/maven.log" >&2; echo "FAIL build: maven failed for rocketmq-client $version" >&2; exit 2; }
        touch "$build/built"
    fi
) 9> "$build/lock"
exec timeout -k 10 "${TIMEOUT_SECONDS:-600}" "${JAVA_HOME:+$JAVA_HOME/bin/}java" -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 ${JAVA_OPTIONS-} \
    -Duser.home="$build/home" -Drocketmq.client.logRoot="$build/home/logs" -Drocketmq.client.logLevel=WARN \
    -Drocketmq.client.localOffsetStoreDir="$build/home/offsets" \
    -cp "$here/../quiet:$build/classes:$(cat "$build/classpath")" "$@"
