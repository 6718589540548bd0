#!/bin/sh
# Fetches rabbitmqadmin (version 1, a Python script) out of Debian's package of RabbitMQ, for the tests of suite `management`. Nothing is
# installed.
# usage: fetch_rabbitmqadmin.sh [directory]    default: build/rabbitmqadmin. Does nothing when it is there. Needs apt-get and dpkg-deb.
set -eu

target=${1:-build/rabbitmqadmin}

if [ -e "$target/rabbitmqadmin" ]; then
    exit 0
fi
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || {
    echo "fetch_rabbitmqadmin.sh: this is no Debian; the package is that of Debian 12" >&2
    exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$work" && apt-get download -qq rabbitmq-server >"$work/log" 2>&1) || {
    cat "$work/log" >&2
    echo "fetch_rabbitmqadmin.sh: the package cannot be had; see: apt-get download rabbitmq-server" >&2
    exit 1
}
dpkg-deb -x "$work"/rabbitmq-server_*.deb "$work/root"
mkdir -p "$target"
cp "$work"/root/usr/lib/rabbitmq/lib/rabbitmq_server-*/plugins/rabbitmq_management-*/priv/www/cli/rabbitmqadmin "$target/part"
chmod 755 "$target/part"
mv "$target/part" "$target/rabbitmqadmin"
