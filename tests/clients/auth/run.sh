#!/usr/bin/env bash
# mqadmin with credentials, and a producer and a consumer that sign, against a broker with users.
#
#   run.sh NAMESRV BROKER USER SECRET OUT
#
# USER is a super user of the broker. OUT gets what mqadmin printed, without addresses. Any broker: ours or RocketMQ's own.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.."
namesrv=$1 broker=$2 user=$3 secret=$4 out=$5
. real-broker/env.sh
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
mkdir -p "$home/conf"
export MQADMIN_HOME=$home
: > "$out"
as() { printf 'accessKey: "%s"\nsecretKey: "%s"\n' "$1" "$2" > "$home/conf/tools.yml"; }
run() {
    echo "\$ $*" | sed -e "s/$broker/BROKER/g" >> "$out"
    real-broker/mqadmin.sh "$@" -n "$namesrv" 2>&1 | sed -e "s/$broker/BROKER/g" -e 's/ *$//' \
        | grep -vE '^\s+at |^$|WARN|SLF4J|more$|visit the url' >> "$out"
}
as "$user" "$secret"
run createUser -b "$broker" -u alice -p alice-secret
run createUser -b "$broker" -u alice -p alice-secret
run getUser -b "$broker" -u alice
run updateUser -b "$broker" -u alice -p alice-changed
run createAcl -b "$broker" -s User:alice -r Topic:A,Group:g -a Pub,Sub -d Allow
run updateAcl -b "$broker" -s User:alice -r Topic:A -a Pub,Sub,Get -i 127.0.0.1 -d Allow
run getAcl -b "$broker" -s User:alice
run listAcl -b "$broker"
run listUser -b "$broker"
run updateTopic -b "$broker" -t A
as alice alice-changed
run topicStatus -t A
run updateTopic -b "$broker" -t B
run listUser -b "$broker"
as alice wrong
run updateTopic -b "$broker" -t A
rm "$home/conf/tools.yml"
run updateTopic -b "$broker" -t A
as "$user" "$secret"
run deleteAcl -b "$broker" -s User:alice -r Group:g
run deleteAcl -b "$broker" -s User:alice
run deleteUser -b "$broker" -u alice
run listAcl -b "$broker"
run listUser -b "$broker"
