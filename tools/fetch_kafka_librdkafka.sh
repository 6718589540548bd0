#!/bin/sh
# Fetches Debian's source package of librdkafka into a directory and builds its own test suite there, for the tests of suite
# `kafka-check`. The benchmarks build its load generator from it.
# usage: fetch_kafka_librdkafka.sh [directory]    default: build/kafka-librdkafka. Does nothing when they are there. Needs apt-get and a
# C++ compiler.
set -eu

version=2.0.2
sha256=f321bcb1e015a34114c83cf1aa7b99ee260236aab096b85c003170c90a47ca9d
target=${1:-build/kafka-librdkafka}

if [ -e "$target/complete" ]; then
    exit 0
fi
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || {
    echo "fetch_kafka_librdkafka.sh: this is no Debian; the source package is that of Debian 12" >&2
    exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial"
cat >"$work/debian.sources" <<END
Types: deb-src
URIs: http://deb.debian.org/debian
Suites: bookworm
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
END
apt() {
    apt-get -qq -o "Dir::Etc::sourcelist=$work/debian.sources" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$work/lists" "$@" \
        >"$work/log" 2>&1 || {
        cat "$work/log" >&2
        echo "fetch_kafka_librdkafka.sh: the source package librdkafka cannot be had from Debian" >&2
        exit 1
    }
}
apt update
(cd "$work" && apt source --download-only "librdkafka=$version-1")
# Some of its tests want the headers of RapidJSON.
(cd "$work" && apt-get -qq download rapidjson-dev >"$work/log" 2>&1) || {
    cat "$work/log" >&2
    exit 1
}
echo "$sha256  $work/librdkafka_$version.orig.tar.gz" | sha256sum --check --quiet
mkdir -p "$target"
rm -rf "$target/source" "$target/rapidjson"
dpkg-deb -x "$work"/rapidjson-dev_*.deb "$target/rapidjson"
tar xzf "$work/librdkafka_$version.orig.tar.gz" -C "$work"
mv "$work/librdkafka-$version" "$target/source"
cd "$target/source"
{
    ./configure --disable-gssapi --disable-optimization "--CPPFLAGS=-isystem$(cd ../rapidjson && pwd)/usr/include"
    make -j"$(nproc)" -C src lib
    make -j"$(nproc)" -C src-cpp lib
    make -j"$(nproc)" -C tests build
} >../build.log 2>&1 || {
    tail -n 30 ../build.log >&2
    echo "fetch_kafka_librdkafka.sh: librdkafka $version does not build" >&2
    exit 1
}
touch ../complete
