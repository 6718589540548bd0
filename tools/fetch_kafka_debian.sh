#!/bin/sh
# Fetches clients of Kafka out of Debian's packages into a directory, for the tests of suite `kafka-clients`: kcat, librdkafka with its
# headers, and its binding for Python. They are not installed.
# usage: fetch_kafka_debian.sh [directory]    default: build/kafka-debian. Does nothing when they are there. Needs apt-get and dpkg-deb.
set -eu

target=${1:-build/kafka-debian}

if [ -e "$target/complete" ]; then
    exit 0
fi
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || {
    echo "fetch_kafka_debian.sh: this is no Debian; the packages are those of Debian 12" >&2
    exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
packages='kcat libyajl2 librdkafka1 librdkafka++1 librdkafka-dev libsasl2-2 libsasl2-modules-db python3-confluent-kafka'
# shellcheck disable=SC2086 # a list
(cd "$work" && apt-get download -qq $packages >"$work/log" 2>&1) || {
    cat "$work/log" >&2
    echo "fetch_kafka_debian.sh: the packages cannot be had; see: apt-get download $packages" >&2
    exit 1
}
for package in "$work"/*.deb; do
    dpkg-deb -x "$package" "$work/root"
done
mkdir -p "$target"
rm -rf "$target/root"
mv "$work/root" "$target/root"
touch "$target/complete"
