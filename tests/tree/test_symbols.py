#!/usr/bin/env -S python3 -B
"""Fails when a library exports anything but the public functions, when one of these is missing, or when one is not documented.

usage: test_symbols.py HEADER SHARED_LIBRARY STATIC_LIBRARY
"""
import subprocess
import sys

from header import declarations


def symbols(*command):
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {line.split()[2] for line in out.splitlines() if len(line.split()) == 3}


def faults(header, shared, static):
    declared = dict(declarations(header))
    if len(declared) < 50:
        yield f"{header}: only {len(declared)} functions were found: has its form changed?"
    for name in sorted(name for name, documented in declared.items() if not documented):
        yield f"{header}: {name} is not documented"
    for library, exported in ((shared, symbols("nm", "-D", "--defined-only", shared)),
                              (static, symbols("nm", "-g", "--defined-only", static))):
        for name in sorted(exported - set(declared)):
            yield f"{library}: exports {name}, which is not in the public header"
        for name in sorted(set(declared) - exported):
            yield f"{library}: {name} is declared and not there"


def main():
    found = list(faults(*sys.argv[1:4]))
    print("\n".join(found) or "only what is public is exported, and all of it is documented")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
