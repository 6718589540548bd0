#!/usr/bin/env python3
"""Fails when the addresses that a program or library calls by can be changed once it runs.

usage: test_readonly_addresses.py FILE ...
"""
import subprocess
import sys


def faults(file):
    said = subprocess.run(["readelf", "-lWd", file], capture_output=True, text=True, check=True).stdout
    for wanted in ("GNU_RELRO", "BIND_NOW"):
        if wanted not in said:
            yield f"{file}: is linked without {wanted}"


def main():
    found = [fault for file in sys.argv[1:] for fault in faults(file)]
    print("\n".join(found) or "what is called by address is read-only from the start")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
