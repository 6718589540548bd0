#!/bin/sh
# Fetches kafkajs and @platformatic/kafka from the npm registry into a directory, for the tests of suite `kafka-clients`.
# usage: fetch_kafka_node.sh [directory]    default: build/kafka-node. Does nothing when they are there. Needs npm.
set -eu

kafkajs=2.2.4
kafkajs_sha256=c814f61afbb2b42e314a5e17780475e6a15aa47bbd33b126b81123e69b02a6f6
platformatic=1.35.0
platformatic_sha256=aee806cccda0707ba4ce929490e34a7251a5426a4a952f9f571ae44d0768f919
target=${1:-build/kafka-node}

if [ -e "$target/complete" ]; then
    exit 0
fi
command -v npm >/dev/null || {
    echo "fetch_kafka_node.sh: npm is not installed; install npm" >&2
    exit 1
}
mkdir -p "$target"
cd "$target"
npm pack --silent "kafkajs@$kafkajs" "@platformatic/kafka@$platformatic" >/dev/null 2>&1
echo "$kafkajs_sha256  kafkajs-$kafkajs.tgz" | sha256sum --check --quiet
echo "$platformatic_sha256  platformatic-kafka-$platformatic.tgz" | sha256sum --check --quiet
echo '{"private":true}' >package.json
npm install --ignore-scripts --no-audit --no-fund --loglevel=error "./kafkajs-$kafkajs.tgz" "./platformatic-kafka-$platformatic.tgz" >/dev/null
touch complete
