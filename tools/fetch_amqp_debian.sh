#!/bin/sh
# Fetches clients of AMQP out of Debian's packages into a directory, for the tests of suite `amqp-clients`: amqp-tools, librabbitmq with
# its headers, and bunny for Ruby. They are not installed.
# usage: fetch_amqp_debian.sh [directory]    default: build/amqp-debian. Does nothing when they are there. Needs apt-get and dpkg-deb.
set -eu

target=${1:-build/amqp-debian}

if [ -e "$target/complete" ]; then
    exit 0
fi
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || {
    echo "fetch_amqp_debian.sh: this is no Debian; the packages are those of Debian 12" >&2
    exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
packages='amqp-tools librabbitmq4 librabbitmq-dev libpopt0 ruby-bunny ruby-amq-protocol ruby-sorted-set ruby-rbtree'
# shellcheck disable=SC2086 # a list
(cd "$work" && apt-get download -qq $packages >"$work/log" 2>&1) || {
    cat "$work/log" >&2
    echo "fetch_amqp_debian.sh: the packages cannot be had; see: apt-get download $packages" >&2
    exit 1
}
for package in "$work"/*.deb; do
    dpkg-deb -x "$package" "$work/root"
done
mkdir -p "$target"
rm -rf "$target/root"
mv "$work/root" "$target/root"
touch "$target/complete"
