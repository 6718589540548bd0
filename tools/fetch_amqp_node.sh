#!/bin/sh
# Fetches amqplib with its own tests, and what runs them, from the npm registry into a directory, for the tests of suite `amqp-clients`.
# usage: fetch_amqp_node.sh [directory]    default: build/amqp-node. Does nothing when they are there. Needs npm.
set -eu

version=0.10.9
sha256=f3102ba19abf66322e179f236756ecd8c7c835c2f7d56ab3236c7fc7572b7357
target=${1:-build/amqp-node}

if [ -e "$target/complete" ]; then
    exit 0
fi
command -v npm >/dev/null || {
    echo "fetch_amqp_node.sh: npm is not installed; install npm" >&2
    exit 1
}
mkdir -p "$target"
cd "$target"
npm pack --silent "amqplib@$version" >/dev/null 2>&1
echo "$sha256  amqplib-$version.tgz" | sha256sum --check --quiet
rm -rf package
tar xzf "amqplib-$version.tgz"
echo '{"private":true}' >package.json
npm install --ignore-scripts --no-audit --no-fund --loglevel=error "./amqplib-$version.tgz" mocha@9.2.2 claire@0.4.1 >/dev/null
touch complete
