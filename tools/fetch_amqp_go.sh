#!/bin/sh
# Fetches the Go client amqp091-go with its own tests from the Go module proxy and builds them, for the tests of suite `amqp-clients`.
# usage: fetch_amqp_go.sh [directory]    default: build/amqp-go. Does nothing when they are there. Needs Go.
set -eu

module=github.com/rabbitmq/amqp091-go
version=v1.10.0
sum='h1:STpn5XsHlHGcecLmMFCtg7mqq0RnD+zFr4uzukfVhBw='
target=${1:-build/amqp-go}

if [ -e "$target/complete" ]; then
    exit 0
fi
command -v go >/dev/null || {
    echo "fetch_amqp_go.sh: go is not installed; install golang-go, 1.20 or later" >&2
    exit 1
}

work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
cd "$(dirname "$0")/.."
mkdir -p "$target"
target=$(cd "$target" && pwd)
cd "$work"
go mod download -json "$module@$version" >"$work/module.json"
grep -qF "\"Sum\": \"$sum\"" "$work/module.json" || {
    echo "fetch_amqp_go.sh: $module $version is not what it was: its checksum is another" >&2
    exit 1
}
cp -r "$(sed -n 's/.*"Dir": "\(.*\)".*/\1/p' "$work/module.json")" "$work/source"
chmod -R u+w "$work/source"
(cd "$work/source" && go test -tags integration -c -o "$target/amqp091.test" .)
touch "$target/complete"
