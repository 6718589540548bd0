"""Kafka's DumpLogSegments looks at every file of a data directory.

usage: dump.py JARS DIRECTORY
"""
import glob
import os
import re
import shutil
import subprocess
import sys

NAMES = re.compile(r"^\d{20}\.(log|index|timeindex|snapshot|txnindex)$|^\d{20}-.*\.snapshot$")
TOOL = "org.apache.kafka.tools.DumpLogSegments"


def files(directory):
    return sorted(os.path.join(folder, name) for folder, _, names in os.walk(directory) for name in names
                  if NAMES.match(name) and os.path.getsize(os.path.join(folder, name)))


def complaints(text):
    """What the tool says beyond what it prints of whole files."""
    found = []
    for line in text.splitlines():
        if re.search(r"isvalid: false|Mismatch|mismatch|not consecutive|Error|Exception|corrupt|Could not|out of order|\binvalid bytes\b", line):
            found.append(line)
    return found


def faults(jars, directory):
    """A list of what it says is wrong; empty when there is no Java or no tool."""
    java = shutil.which("java")
    if not java or not glob.glob(os.path.join(jars, "kafka-tools-*.jar")):
        return []
    found, paths = [], files(directory)
    for start in range(0, len(paths), 500):
        part = paths[start:start + 500]
        done = subprocess.run([java, "-XX:TieredStopAtLevel=1", "-cp", os.path.join(jars, "*"), TOOL, "--deep-iteration", "--files", ",".join(part)],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
        found += complaints(done.stdout)
        if done.returncode:
            found.append(f"it ended with {done.returncode}: {done.stdout[-500:]}")
    return found


def main():
    found = faults(sys.argv[1], sys.argv[2])
    print("\n".join(found) or f"{len(files(sys.argv[2]))} files are whole")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
