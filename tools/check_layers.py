#!/usr/bin/env python3
"""Fails when a layer includes a layer above it, when a lock is missing in the order of locks, or when a header does not compile alone.

Usage: check_layers.py [SOURCE_ROOT]
"""
import os
import re
import subprocess
import sys
import tempfile

LAYERS = ["base", "event", "log", "bus", "queue", "trace", "link", "remote", "api", "broker", "kafka", "process", "hook", "net", "access", "wire",
          "server", "cli"]
STRUCT = re.compile(r"^struct (\w+) \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
MUTEX = re.compile(r"(?:struct mutex|pthread_rwlock_t|pthread_mutex_t) (\w+);")
LOCK = re.compile(r"\b\w+\.\w*lock\b")
INCLUDE = re.compile(r'^\s*#\s*include\s+"([a-z]+)/')


def sources(root):
    for folder, _, names in os.walk(os.path.join(root, "src")):
        for name in sorted(names):
            if name.endswith((".c", ".h")):
                yield os.path.join(folder, name)


def wrong_includes(root):
    for path in sources(root):
        layer = os.path.relpath(path, os.path.join(root, "src")).split(os.sep)[0]
        if layer not in LAYERS:
            continue
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                match = INCLUDE.match(line)
                if not match:
                    continue
                target = match.group(1)
                if target not in LAYERS or LAYERS.index(target) > LAYERS.index(layer):
                    yield f"{path}:{number}: layer '{layer}' includes '{target}', which is above it"


def unnamed_locks(root):
    """Members of structs, by the name of the struct; the program's own threads meet no others."""
    with open(os.path.join(root, "src", "base", "thread.h"), encoding="utf-8") as file:
        order = set(LOCK.findall(file.read().split("*/")[0]))
    for path in sources(root):
        if os.path.relpath(path, root).startswith((os.path.join("src", "cli"), os.path.join("src", "base", "thread."))):
            continue
        with open(path, encoding="utf-8") as file:
            for struct, members in STRUCT.findall(file.read()):
                for lock in MUTEX.findall(members):
                    if f"{struct}.{lock}" not in order:
                        yield f"{path}: {struct}.{lock} is not in the order of locks: src/base/thread.h"


def headers_alone(root):
    headers = [p for p in sources(root) if p.endswith(".h")]
    headers.append(os.path.join(root, "include", "beck.h"))
    compiler = os.environ.get("CC", "cc").split()
    with tempfile.TemporaryDirectory() as scratch:
        for path in headers:
            probe = os.path.join(scratch, "probe.c")
            with open(probe, "w", encoding="utf-8") as file:
                file.write(f'#include "{path}"\ntypedef int not_empty;\n')
            command = compiler + ["-std=gnu17", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-fsyntax-only",
                                  "-I", os.path.join(root, "include"), "-I", os.path.join(root, "src"), probe]
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            if result.returncode:
                yield f"{path}: does not compile alone:\n{result.stderr}"


def main():
    root = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else ".")
    faults = [*wrong_includes(root), *unnamed_locks(root), *headers_alone(root)]
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
