#!/bin/sh
# Fetches confluent-kafka (with the librdkafka it carries), aiokafka and kafka-python from PyPI into a directory, for the tests of suite
# `kafka-clients`.
# usage: fetch_kafka_python.sh [directory]    default: build/kafka-python. Does nothing when they are there. Needs pip and Python 3.11.
set -eu

target=${1:-build/kafka-python}

if [ -e "$target/complete" ]; then
    exit 0
fi
python3 -m pip --version >/dev/null 2>&1 || {
    echo "fetch_kafka_python.sh: pip is not installed; install python3-pip" >&2
    exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/requirements.txt" <<END
confluent-kafka==2.16.1 --hash=sha256:24f613cc81a856b6fbb2d7d11044a9aa770044eecc1f83ff84618688b056be06
aiokafka==0.14.0 --hash=sha256:ceb49c78b3e08ed3f9ff85350932ae59788596e8b45c6a4ca5d599337ba261e9
async-timeout==5.0.1 --hash=sha256:39e3809566ff85354557ec2398b55e096c8364bacac9405a7a1fa429e77fe76c
packaging==26.3 --hash=sha256:d7193f7c8e4e93f444fde0262bf90af30e16fa0ad0ad44cb553c87339b23cd1c
typing-extensions==4.16.0 --hash=sha256:481caa481374e813c1b176ada14e97f1f67a4539ce9cfeb3f350d78d6370c2e8
kafka-python==3.0.12 --hash=sha256:67add72052e3ad0c37ed9963ebe2b1696adc7f063c64eaf19862c21b69a64a18
END
# --no-deps: the list is whole, and nothing that is not in it gets in.
python3 -m pip install --quiet --disable-pip-version-check --no-warn-conflicts --root-user-action ignore --no-deps --require-hashes \
    --only-binary :all: --target "$work/python" -r "$work/requirements.txt"
mkdir -p "$target"
rm -rf "$target/python"
mv "$work/python" "$target/python"
touch "$target/complete"
