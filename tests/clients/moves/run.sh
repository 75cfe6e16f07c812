#!/usr/bin/env bash
# Moves of a store between RocketMQ and ringmq: what one wrote, the other has. See Moves.java for the words.
# Compiled when a source is newer than the last build, with the reference's own class path (client and admin tools 5.5.0).
set -eu
moves=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd) # env.sh has a "here" of its own
mkdir -p "$moves/target/home"
exec 9> "$moves/target/lock"; flock 9
. "$moves/../real-broker/env.sh"
if [ ! -f "$moves/target/built" ] || [ -n "$(find "$moves" -maxdepth 1 -name '*.java' -newer "$moves/target/built" -print -quit)" ]; then
    "${JAVA_HOME:+$JAVA_HOME/bin/}javac" -nowarn --release 17 -d "$moves/target/classes" -cp "$CP" "$moves"/*.java > "$moves/target/javac.log" 2>&1 ||
        { cat "$moves/target/javac.log" >&2; echo "FAIL build: javac failed" >&2; exit 2; }
    touch "$moves/target/built"
fi
exec 9>&-
exec timeout -k 10 "${TIMEOUT_SECONDS:-240}" "$java" -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 $OPENS \
    -Duser.home="$moves/target/home" -Drocketmq.home.dir="$moves/target/home" -Drocketmq.client.logRoot="$moves/target/home/logs" \
    -Drocketmq.client.logLevel=WARN -cp "$moves/../quiet:$moves/target/classes:$CP" Moves "$@"
