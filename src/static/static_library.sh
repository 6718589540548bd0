#!/bin/sh
# Makes the static library: every layer linked into one object, in which only what is public stays a global symbol. So a program
# that links it may use any name that does not begin with beck_.
# usage: static_library.sh OUTPUT AR OBJCOPY LIBRARIES -- COMPILER...
set -eu

output=$1 ar=$2 objcopy=$3
shift 3
libraries=
while [ "$1" != -- ]; do
    libraries="$libraries $1"
    shift
done
shift

object=$output.o
# shellcheck disable=SC2086 # a list; its parts hold no spaces
"$@" -r -nostdlib -o "$object" -Wl,--whole-archive $libraries -Wl,--no-whole-archive
"$objcopy" --localize-hidden "$object"
rm -f "$output"
"$ar" rcsD "$output" "$object"
rm -f "$object"
