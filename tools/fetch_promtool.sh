#!/bin/sh
# Fetches promtool, Prometheus' checker of metrics and rules, out of Debian's package into a directory, for the tests of suite `promtool`.
# usage: fetch_promtool.sh [directory]    default: build/promtool. Does nothing when it is there or installed. Needs apt-get and dpkg-deb.
set -eu

target=${1:-build/promtool}

if [ -e "$target/promtool" ] || command -v promtool >/dev/null; then
    exit 0
fi
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || {
    echo "fetch_promtool.sh: this is no Debian; install promtool, which comes with Prometheus" >&2
    exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The package is not installed: it would start a server.
(cd "$work" && apt-get download -qq prometheus >/dev/null 2>&1) || {
    echo "fetch_promtool.sh: the package prometheus cannot be had; see: apt-get download prometheus" >&2
    exit 1
}
dpkg-deb -x "$work"/prometheus_*.deb "$work/package"
mkdir -p "$target"
mv "$work/package/usr/bin/promtool" "$target/promtool"
