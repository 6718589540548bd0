#!/bin/sh
# The command line tools of librabbitmq, each as its manual says. The last line is `N passed, N failed, 0 skipped`.
passed=0
failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# same WHAT EXPECTED GOT
same() {
    if [ "$2" = "$3" ]; then
        passed=$((passed + 1))
        echo "ok $1"
    else
        failed=$((failed + 1))
        echo "FAILED $1: expected '$2', got '$3'"
    fi
}

url=amqp://guest:guest@localhost:5672/%2f

same "declare a queue" tools "$(amqp-declare-queue -q tools -d)"
same "declare it again" tools "$(amqp-declare-queue --url "$url" -q tools -d)"
case $(amqp-declare-queue -q '') in
amq.gen-*) same "declare a queue that the server names" 1 1 ;;
*) same "declare a queue that the server names" amq.gen- other ;;
esac

amqp-publish -r tools -b 'hello' && same "get what was published" hello "$(amqp-get -q tools)"
amqp-get -q tools >/dev/null 2>&1
same "get from an empty queue: status" 2 $?

echo 'from standard input' | amqp-publish --url "$url" -e '' -r tools -C text/plain -p -t 'answers'
same "get the input" 'from standard input' "$(amqp-get --url "$url" -q tools)"

printf 'one\ntwo\nthree\n' | amqp-publish -r tools -l
same "lines are messages" 'one two three' "$(amqp-consume -q tools -c 3 -- sh -c 'tr "\n" " "' | sed 's/ *$//')"

amqp-publish -r tools -b kept
# A program that fails gives the message back.
amqp-consume -q tools -c 1 false 2>/dev/null
amqp-consume -q tools -c 1 -A cat >"$work/kept"
same "consume without acknowledging each" kept "$(cat "$work/kept")"

amqp-consume -e amq.topic -r 'order.*' -c 2 cat >"$work/topic" &
consumer=$!
# What is published before the consumer has bound its queue goes nowhere.
while kill -0 $consumer 2>/dev/null; do
    amqp-publish -e amq.topic -r order.paid -b x
done
wait $consumer
same "consume from an exchange" xx "$(cat "$work/topic")"

head -c 700000 /dev/urandom >"$work/large"
amqp-publish -r tools <"$work/large"
amqp-get -q tools >"$work/back"
cmp -s "$work/large" "$work/back"
same "a large body" 0 $?

amqp-publish -r tools -b 1
amqp-publish -r tools -b 2
same "delete a queue" 2 "$(amqp-delete-queue -q tools)"
amqp-get -q tools >/dev/null 2>"$work/error"
same "get from a missing queue: status" 1 $?
grep -q "NOT_FOUND - no queue 'tools' in vhost '/'" "$work/error"
same "get from a missing queue: text" 0 $?

echo "$passed passed, $failed failed, 0 skipped"
[ $failed = 0 ]
