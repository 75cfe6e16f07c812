# Sourced by the scripts beside it: CP is the class path of the reference, resolved once by Maven and then kept in
# target/classpath, so that every later run is offline. Delete target/ to resolve again.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
java=${JAVA_HOME:+$JAVA_HOME/bin/}java

# An interrupted first run must not leave half a class path, hence the rename.
if [ ! -s "$here/target/classpath" ]; then
    mkdir -p "$here/target"
    mvn -q -B -f "$here/pom.xml" dependency:build-classpath -Dmdep.outputFile="$here/target/classpath.part" \
        > "$here/target/maven.log" 2>&1 || { tail -20 "$here/target/maven.log" >&2; echo "maven could not resolve $here/pom.xml" >&2; exit 2; }
    mv "$here/target/classpath.part" "$here/target/classpath"
fi
CP=$(cat "$here/target/classpath")

# What bin/runbroker.sh of the RocketMQ distribution opens on a JDK newer than 8.
OPENS="--add-opens=java.base/java.lang=ALL-UNNAMED --add-opens=java.base/java.nio=ALL-UNNAMED
 --add-opens=java.base/java.util=ALL-UNNAMED --add-opens=java.base/sun.nio.ch=ALL-UNNAMED
 --add-exports=java.base/jdk.internal.ref=ALL-UNNAMED --add-exports=java.base/sun.nio.ch=ALL-UNNAMED"
