#!/bin/sh
# Installs the Debian packages that are missing for a purpose; says which when it cannot.
# usage: install_packages.sh build|demo|test|check|bench ...
set -eu

build='build-essential meson ninja-build pkg-config python3 zlib1g-dev liblz4-dev libzstd-dev libsnappy-dev libsqlite3-dev libexpat1-dev libcmocka-dev liblmdb-dev
 libssl-dev libevent-dev libjansson-dev libyaml-dev libpcre2-dev'
check='clang clang-tidy clang-format cppcheck'
bench='libglib2.0-dev libboost-dev redis-server nginx wrk rabbitmq-server'

installed() {
    dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed
}

# Programs that are often there without a Debian package: package=command.
node='nodejs=node npm=npm'
java='maven=mvn openjdk-17-jdk-headless=javac'

wanted=$build
programs=
for purpose; do
    case $purpose in
    build) ;;
    demo) programs="$programs $node" ;;
    test) programs="$programs $node $java python3-pip=pip3 golang-go=go ruby=ruby zsh=zsh fish=fish" ;;
    check) wanted="$wanted $check" ;;
    bench)
        wanted="$wanted $bench"
        programs="$programs nodejs=node $java"
        ;;
    *)
        echo "install_packages.sh: '$purpose' is unknown: give build, demo, test, check or bench" >&2
        exit 2
        ;;
    esac
done

missing=
if command -v dpkg-query >/dev/null; then
    for package in $wanted; do
        installed "$package" || missing="$missing $package"
    done
else
    for program in cc meson ninja pkg-config python3; do
        command -v "$program" >/dev/null || missing="$missing $program"
    done
fi
for pair in $programs; do
    command -v "${pair#*=}" >/dev/null || missing="$missing ${pair%=*}"
done
[ -n "$missing" ] || exit 0

root=
if [ "$(id -u)" != 0 ]; then
    root=sudo
fi
if ! command -v apt-get >/dev/null || { [ -n "$root" ] && ! command -v sudo >/dev/null; }; then
    echo "not installed:$missing" >&2
    echo "install them (on Debian 12, as root: apt-get install$missing) and try again" >&2
    exit 1
fi
echo "installing:$missing"
# shellcheck disable=SC2086 # a list
if ! DEBIAN_FRONTEND=noninteractive $root apt-get install -y -qq --no-install-recommends $missing >/dev/null; then
    $root apt-get update -qq
    DEBIAN_FRONTEND=noninteractive $root apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi
