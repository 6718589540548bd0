#!/bin/sh
# Fetches the Go clients franz-go, sarama and kafka-go with their own tests and builds these, for the tests of suite `kafka-check`.
# usage: fetch_kafka_go_tests.sh [directory]    default: build/kafka-go-tests. Does nothing when they are there. Needs Go, 1.19 or later.
set -eu

exec "$(dirname "$0")/fetch_kafka_go.sh" "${1:-build/kafka-go-tests}" tests
