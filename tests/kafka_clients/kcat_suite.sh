#!/bin/sh
# kcat, as Debian has it, against the broker at localhost:9092. The last line is `N passed, N failed, 0 skipped`.
set -u

broker=${BROKER:-localhost:9092}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
topic=kcat-$$
passed=0
failed=0

# equal NAME WANTED GOT
equal() {
    if [ "$2" = "$3" ]; then
        passed=$((passed + 1))
        echo "ok $1"
    else
        failed=$((failed + 1))
        printf 'FAILED %s: not %s but %s\n' "$1" "$2" "$3"
    fi
}

# Wall time of every command is bounded: kcat waits for ever for what does not come.
k() {
    timeout 60 kcat -b "$broker" -m 10 "$@"
}

seq 1 1000 | k -P -t "$topic" -p 0
equal 'produce and consume' "$(seq 1 1000)" "$(k -C -t "$topic" -p 0 -e -q)"
equal 'the last records' "$(seq 991 1000)" "$(k -C -t "$topic" -p 0 -o -10 -e -q)"
equal 'from an offset, some' "$(seq 501 510)" "$(k -C -t "$topic" -p 0 -o 500 -c 10 -q)"

for codec in gzip snappy lz4 zstd; do
    seq 1 1000 | k -P -t "$topic-$codec" -p 0 -z $codec
    equal "$codec" "$(seq 1 1000)" "$(k -C -t "$topic-$codec" -p 0 -e -q)"
done

printf 'key:value\nonly:\n' | k -P -t "$topic-keys" -p 0 -K : -Z -H a=1 -H b=two
equal 'keys, headers and nulls' "$(printf 'key=value [a=1,b=two] 0 5\nonly= [a=1,b=two] 1 -1')" \
    "$(k -C -t "$topic-keys" -p 0 -e -q -f '%k=%s [%h] %o %S\n')"

k -L -t "$topic" >"$work/list"
equal 'metadata: one broker' 1 "$(grep -c '^  broker ' "$work/list")"
equal 'metadata: the topic' 1 "$(grep -c "topic \"$topic\" with" "$work/list")"
equal 'metadata as JSON' "$topic" "$(k -L -J -t "$topic" | sed 's/.*"topics":\[{"topic":"\([^"]*\)".*/\1/')"

equal 'the first offset' "$topic [0] offset 0" "$(k -Q -t "$topic:0:-2")"
equal 'the next offset' "$topic [0] offset 1000" "$(k -Q -t "$topic:0:-1")"
equal 'an offset by time' "$topic [0] offset 0" "$(k -Q -t "$topic:0:1000")"

equal 'a group reads all' 1000 "$(k -G "$topic-group" -X auto.offset.reset=earliest -e -q "$topic" 2>/dev/null | wc -l)"
echo new | k -P -t "$topic" -p 0
equal 'a group continues' new "$(k -G "$topic-group" -X auto.offset.reset=earliest -e -q "$topic" 2>/dev/null)"

seq 1 100 | k -P -t "$topic-acks" -p 0 -X acks=0
seq 1 100 | k -P -t "$topic-acks" -p 0 -X acks=all -X enable.idempotence=true
end=$(($(date +%s) + 30))
until [ "$(k -Q -t "$topic-acks:0:-1")" = "$topic-acks [0] offset 200" ] || [ "$(date +%s)" -gt $end ]; do :; done
equal 'every level of acks' 200 "$(k -C -t "$topic-acks" -p 0 -e -q | wc -l)"

seq 1 50 | k -P -t "$topic-transaction" -p 0 -X transactional.id="$topic"
equal 'a transaction' 50 "$(k -C -t "$topic-transaction" -p 0 -e -q -X isolation.level=read_committed | wc -l)"

head -c 700000 /dev/zero | tr '\0' x >"$work/large"
k -P -t "$topic-large" -p 0 "$work/large"
equal 'a large record' 700000 "$(k -C -t "$topic-large" -p 0 -e -q -f '%S')"

seq 1 100 | k -P -t "$topic-all"
equal 'nothing is lost over partitions' 100 "$(k -C -t "$topic-all" -e -q | wc -l)"

echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
