#!/bin/sh
# Fetches the Go clients franz-go, sarama and kafka-go from the Go module proxy and builds the programs of tests/kafka_clients/go with
# them, for the tests of suite `kafka-clients`. Which versions, and their checksums, stand in go.mod and go.sum there.
# usage: fetch_kafka_go.sh [directory [tests]]    default: build/kafka-go. Does nothing when it is there. Needs Go, 1.19 or later.
# tests: builds the clients' own tests instead, and the proxy that sarama's want (fetch_kafka_go_tests.sh).
set -eu

target=${1:-build/kafka-go}
what=${2:-programs}
franz=github.com/twmb/franz-go
sarama=github.com/IBM/sarama
segmentio=github.com/segmentio/kafka-go

mkdir -p "$target"
target=$(cd "$target" && pwd)
cd "$(dirname "$0")/../tests/kafka_clients/go"
if [ -e "$target/complete" ] && [ -z "$(find . -newer "$target/complete")" ]; then
    exit 0
fi
command -v go >/dev/null || {
    echo "fetch_kafka_go.sh: go is not installed; install golang-go, 1.19 or later" >&2
    exit 1
}

work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
# The clients want a Go of go.mod's version. From 1.21 on Go fetches a newer one by itself; this does it for older ones.
case $(go version | cut -d' ' -f3) in
go1.1[0-9]* | go1.20*)
    wanted=golang.org/toolchain@v0.0.1-go$(sed -n 's/^go //p' go.mod).$(go env GOOS)-$(go env GOARCH)
    (cd "$work" && go mod download -json "$wanted") >"$work/toolchain.json"
    cp -r "$(sed -n 's/.*"Dir": "\(.*\)".*/\1/p' "$work/toolchain.json")" "$work/go"
    chmod -R u+wx "$work/go/bin" "$work/go/pkg/tool"
    PATH=$work/go/bin:$PATH
    ;;
esac
if [ "$what" = programs ]; then
    go build -buildvcs=false -o "$target/go_suite" .
    touch "$target/complete"
    exit 0
fi
go build -o "$target/toxiproxy" github.com/Shopify/toxiproxy/v2/cmd/server
go test -c -o "$target/franz-go.test" $franz/pkg/kgo
go test -c -tags functional -o "$target/sarama.test" $sarama
go test -c -o "$target/kafka-go.test" $segmentio
rm -rf "$target/sources"
mkdir "$target/sources"
for module in $franz $sarama $segmentio; do # they read files beside them
    cp -r "$(go list -m -f '{{.Dir}}' $module)" "$target/sources/$(basename $module)"
done
chmod -R u+w "$target/sources"
touch "$target/complete"
