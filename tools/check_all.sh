#!/bin/sh
# Static checks; runs all of them and fails when one did.
# usage: check_all.sh BUILD_DIR    BUILD_DIR holds compile_commands.json
set -u

build=$1
cd "$(dirname "$0")/.." || exit 1
failed=0

check() {
    printf '== %s\n' "$1"
    shift
    "$@" || failed=1
}

c_files() {
    git ls-files --cached --others --exclude-standard "$@" | while read -r file; do
        if [ -e "$file" ]; then echo "$file"; fi
    done
}

tidy() {
    c_files 'src/*.c' | xargs -P "$(nproc)" -n 4 clang-tidy -p "$build" --quiet --warnings-as-errors='*' 2>/dev/null
}

cpp_check() {
    cppcheck --quiet --std=c11 --language=c --enable=warning,performance,portability --inline-suppr --error-exitcode=1 \
        --suppressions-list=.cppcheck -j "$(nproc)" -D_GNU_SOURCE -D__GNUC__ -D__x86_64__ -I include -I src src
}

format() {
    c_files '*.c' '*.h' | xargs clang-format --dry-run -Werror
}

# Everything is built by gcc and by clang, where every warning is an error.
warnings() {
    folder=build-check-$1
    [ -e "$folder/build.ninja" ] || CC=$1 meson setup --buildtype=debugoptimized -Dwerror=true "$folder" >/dev/null || return 1
    ninja -C "$folder" --quiet all meson-test-prereq >"$folder/warnings.log" 2>&1 || {
        grep -E 'error|warning' "$folder/warnings.log"
        return 1
    }
}

check layers tools/check_layers.py .
check format format
check cppcheck cpp_check
check clang-tidy tidy
check 'warnings of gcc' warnings gcc
check 'warnings of clang' warnings clang
[ "$failed" = 0 ] && echo 'all checks passed'
exit "$failed"
