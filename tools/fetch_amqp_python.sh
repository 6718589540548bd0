#!/bin/sh
# Fetches pika and Celery from PyPI into a directory, for the tests of suites `amqp` and `amqp-clients`.
# usage: fetch_amqp_python.sh [directory]    default: build/amqp-python. Does nothing when they are there. Needs pip.
set -eu

target=${1:-build/amqp-python}

if [ -e "$target/complete" ]; then
    exit 0
fi
python3 -m pip --version >/dev/null 2>&1 || {
    echo "fetch_amqp_python.sh: pip is not installed; install python3-pip" >&2
    exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/requirements.txt" <<END
pika==1.3.2 --hash=sha256:0779a7c1fafd805672796085560d290213a465e4f6f76a6fb19e378d8041a14f
celery==5.4.0 --hash=sha256:369631eb580cf8c51a82721ec538684994f8277637edde2dfc0dacd73ed97f64
kombu==5.7.0 --hash=sha256:dede73bff4c89175be382c4203d2f167cf7017c384396ec75c36a1b5678f1587
amqp==5.4.2 --hash=sha256:e6e756b15c89c86818b48a4947a424706238afbf67d457428d3269bc4590db9e
vine==5.1.0 --hash=sha256:40fdf3c48b2cfe1c38a49e9ae2da6fda88e4794c810050a728bd7413811fb1dc
billiard==4.3.2 --hash=sha256:37735a7b4117aafa73532b3b493db4c02fb85c0e69d5f3447f113fd30ff27872
click==8.5.1 --hash=sha256:8bb5376d2006950386f8c6427613334a2acadc5f559cb80e638d00b4df957e37
click-didyoumean==0.3.1 --hash=sha256:5c4bb6007cfea5f2fd6583a2fb6701a22a41eb98957e63d0fac41c10e7c3117c
click-plugins==1.1.1.2 --hash=sha256:008d65743833ffc1f5417bf0e78e8d2c23aab04d9745ba817bd3e71b0feb6aa6
click-repl==0.4.1 --hash=sha256:5cb10881d4c5ebaa8695eceb69911af3062ee78342812b713564b17aad333eb5
prompt-toolkit==3.0.53 --hash=sha256:01c0891d7f9237d5e339f7d3e42cdae80b7534abb1c7c0e3352efba6231492f2
python-dateutil==4.0.0 --hash=sha256:a5e246f79eb80475e691bf93862cead98decd8a498cf53ba0516fcdc0f50dc1c
typing-extensions==4.16.0 --hash=sha256:481caa481374e813c1b176ada14e97f1f67a4539ce9cfeb3f350d78d6370c2e8
tzdata==2026.6 --hash=sha256:0a10eec6e13ef16b627fabed9a5f2ba61a62b1c67f327305f4e7e412a70b4aec
wcwidth==0.2.13 --hash=sha256:3da69048e4540d84af32131829ff948f1e022c1c6bdb8d6102117aac784f6859
END
# --no-deps: the list is whole, and nothing that is not in it gets in.
python3 -m pip install --quiet --disable-pip-version-check --no-warn-conflicts --root-user-action ignore --no-deps --require-hashes \
    --only-binary :all: --target "$work/python" -r "$work/requirements.txt"
mkdir -p "$target"
rm -rf "$target/python"
mv "$work/python" "$target/python"
touch "$target/complete"
