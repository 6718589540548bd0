#!/bin/sh
# Fetches node-rdkafka with its own tests, and what runs them, from the npm registry into a directory and builds it there with the librdkafka that
# it carries, for the tests of suite `kafka-check`.
# usage: fetch_kafka_rdkafka_node.sh [directory]    default: build/kafka-rdkafka-node. Does nothing when they are there. Needs npm, the headers of
# Node.js and a C++ compiler.
set -eu

version=3.6.1
sha256=148f7e7b65c510314c70762d8f1be052c8fe1fdf03a128e6c78083a729a57a30
target=${1:-build/kafka-rdkafka-node}

if [ -e "$target/complete" ]; then
    exit 0
fi
command -v npm >/dev/null || {
    echo "fetch_kafka_rdkafka_node.sh: npm is not installed; install npm" >&2
    exit 1
}
# Else node-gyp would fetch them from elsewhere.
headers=$(dirname "$(dirname "$(readlink -f "$(command -v node)")")")
if [ ! -e "$headers/include/node/node.h" ]; then
    echo "fetch_kafka_rdkafka_node.sh: the headers of Node.js are not there; install libnode-dev" >&2
    exit 1
fi
mkdir -p "$target"
cd "$target"
npm pack --silent "node-rdkafka@$version" >/dev/null 2>&1
echo "$sha256  node-rdkafka-$version.tgz" | sha256sum --check --quiet
rm -rf node_modules
echo '{"private":true}' >package.json
npm install --ignore-scripts --no-audit --no-fund --loglevel=error "./node-rdkafka-$version.tgz" mocha@10.8.2 node-gyp@11.5.0 >/dev/null
(
    cd node_modules/node-rdkafka
    # What node-gyp does itself, in an order that allows more than one job.
    node util/configure
    make -j"$(nproc)" -C deps/librdkafka libs
    # Its installation wants one of the examples only.
    EXAMPLES=rdkafka_performance npm_config_nodedir=$headers ../.bin/node-gyp configure build --jobs "$(nproc)"
) >build.log 2>&1 || {
    tail -n 30 build.log >&2
    echo "fetch_kafka_rdkafka_node.sh: node-rdkafka $version does not build" >&2
    exit 1
}
touch complete
