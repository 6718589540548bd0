#!/bin/sh
# Fetches the jars of Kafka's command line tools and of its broker from Maven Central into a directory, for the tests of suites
# `kafka-tools` and `kafka-clients` and for the benchmarks.
# usage: fetch_kafka.sh [directory]    default: build/kafka. Does nothing when the jars are there. Needs mvn and a JDK of 17 or later.
set -eu

version=4.3.1
target=${1:-build/kafka}

last=kafka_2.13-$version.jar
if [ -e "$target/$last" ]; then
    exit 0
fi
command -v mvn >/dev/null || {
    echo "fetch_kafka.sh: mvn is not installed; install maven" >&2
    exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/pom.xml" <<EOF
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>beck</groupId>
  <artifactId>kafka-tools</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka-tools</artifactId>
      <version>$version</version>
    </dependency>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>$version</version>
    </dependency>
  </dependencies>
</project>
EOF
mvn -q -B -f "$work/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$work/jars"

# The jar that is looked for above comes last, so that an interrupted copy is done again.
mkdir -p "$target"
for jar in "$work"/jars/*.jar; do
    case $jar in
    */"$last") ;;
    *) mv "$jar" "$target/" ;;
    esac
done
mv "$work/jars/$last" "$target/"
