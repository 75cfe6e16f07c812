#!/usr/bin/env bash
# mqadmin's subcommands against two clusters, and whether they print the same. See commands.txt.
#
#   matrix.sh run NAMESRV BROKER OUT_DIR [SUBCOMMAND]     runs them against a cluster of one broker, a new one, and keeps what they print
#   matrix.sh compare REFERENCE_DIR OUT_DIR [-v]          a line for each: same, differs as it should, or DIFFERS; -v shows how
#   matrix.sh record OUT_DIR                              keeps what a run against RocketMQ printed as the reference in expected/
#   matrix.sh keep OUT_DIR                                the same for ours/: what ringmq prints where it differs on purpose
#
# compare exits with 1 if something differs that should not. EXCEPT names subcommands whose difference is passed over.
set -u
mqadmin=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd) # env.sh has a "here" of its own
usage() { sed -n '4,7s/^# *//p' "$0" >&2; exit 2; }

run() {
    [ $# -ge 3 ] || usage
    . "$mqadmin/../real-broker/env.sh"
    local home=$mqadmin/target/home; mkdir -p "$home"
    set -- "$1" "$2" "$(realpath -m "$3")" "${@:4}"
    cd "$home" || exit 1 # consumerStatus leaves files where it is run.
    exec timeout -k 5 "${TIMEOUT_SECONDS:-400}" "$java" -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 $OPENS -Duser.home="$home" \
        -Drocketmq.home.dir="$home" -cp "$mqadmin/../quiet:$CP" "$mqadmin/Matrix.java" "$1" "$2" "$mqadmin/commands.txt" "${@:3}" \
        > "$mqadmin/target/matrix.log" 2>&1
}

# What it prints without what differs between any two runs; lists in an order of their own.
shown() {
    sed -E -f "$mqadmin/normalise.sed" "$1" 2> /dev/null | sed -e "s#$2#OUT#g" | case $3 in
        # The names; the values are those of one machine and one moment.
        getBrokerConfig | getNamesrvConfig) sed -E 's/^([^=]*[^= ]) *=.*/\1/' | sort ;;
        brokerStatus) sed -E 's/^([^:]*[^: ]) *:.*/\1/; s/(commitLogDiskRatio_).*/\1PATH/' | sort ;;
        # The queue of what failed is the consumer's sooner or later.
        consumerStatus) sed -E '/ TID: /,$d; /^%RETRY%.* broker-a /d; s/(ProcessQueueInfo).*/\1/' | sort ;;
        topicList | statsAll | consumerProgress | brokerConsumeStats | topicStatus | skipAccumulatedMessage | resetOffsetByTime) sort ;;
        *) cat ;;
    esac
}

compare() {
    [ $# -ge 2 ] || usage
    local number=0 wrong=0 line verdict arguments name file reference got
    while IFS= read -r line; do
        case $line in '' | '#'*) continue ;; esac
        number=$((number + 1))
        verdict=${line%%|*}; verdict=${verdict#! }; arguments=${line#*| }
        name=${arguments%% *}
        file=$(printf '%03d-%s.txt' "$number" "$name")
        case $verdict in setup) continue ;; skip*) echo "skipped  $arguments (${verdict#skip: })"; continue ;; esac
        case $verdict in
            differs*) reference=$(shown "$mqadmin/ours/$file" "$mqadmin/ours" "$name") ;;
            *) reference=$(shown "$1/$file" "$1" "$name") ;;
        esac
        got=$(shown "$2/$file" "$2" "$name")
        if [ "$reference" = "$got" ] && [ -e "$2/$file" ]; then
            case $verdict in
                differs*) echo "differs  $arguments: ${verdict#differs: }" ;;
                *) echo "same     $arguments" ;;
            esac
        else
            case " ${EXCEPT-} " in
                *" $name "*) echo "excepted $arguments" ;;
                *) echo "DIFFERS  $arguments"; wrong=1 ;;
            esac
            if [ "${3-}" = -v ]; then diff <(echo "$reference") <(echo "$got") | head -40 | cut -c1-200 | sed 's/^/         /'; fi
        fi
    done < "$mqadmin/commands.txt"
    return $wrong
}

# What should be the same, without what differs between any two runs.
record() { keep_those expected '^(same|loops)' "$@"; }
keep() { keep_those ours '^differs' "$@"; }

keep_those() { # folder, verdicts, OUT_DIR
    [ $# -eq 3 ] || usage
    local to=$mqadmin/$1 wanted=$2; shift 2
    rm -rf "$to"; mkdir -p "$to"
    local number=0 line name file
    while IFS= read -r line; do
        case $line in '' | '#'*) continue ;; esac
        number=$((number + 1))
        name=${line#*| }; name=${name%% *}
        file=$(printf '%03d-%s.txt' "$number" "$name")
        [[ ! ${line#! } =~ $wanted ]] || shown "$1/$file" "$1" "$name" > "$to/$file"
    done < "$mqadmin/commands.txt"
}

case ${1-} in
    run | compare | record | keep) "$@" ;;
    *) usage ;;
esac
