#!/bin/sh
# Fetches the Go client rabbit-hole of RabbitMQ's management API with its own tests from the Go module proxy and builds them, for the tests
# of suite `management`.
# usage: fetch_rabbit_hole.sh [directory]    default: build/rabbit-hole. Does nothing when they are there. Needs Go.
set -eu

module=github.com/michaelklishin/rabbit-hole/v3
version=v3.2.0
sum='h1:N4YdHFj36MP5059Csze9B4TTZPS6j6HPJm9bBeZgvJk='
target=${1:-build/rabbit-hole}

if [ -e "$target/complete" ]; then
    exit 0
fi
command -v go >/dev/null || {
    echo "fetch_rabbit_hole.sh: go is not installed; install golang-go, 1.22 or later" >&2
    exit 1
}

work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
mkdir -p "$target"
target=$(cd "$target" && pwd)
cd "$work"
go mod download -json "$module@$version" >"$work/module.json"
grep -qF "\"Sum\": \"$sum\"" "$work/module.json" || {
    echo "fetch_rabbit_hole.sh: $module $version is not what it was: its checksum is another" >&2
    exit 1
}
cp -r "$(sed -n 's/.*"Dir": "\(.*\)".*/\1/p' "$work/module.json")" "$work/source"
chmod -R u+w "$work/source"
(cd "$work/source" && go test -c -o "$target/rabbit-hole.test" .)
touch "$target/complete"
