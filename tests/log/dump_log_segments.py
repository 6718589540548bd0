#!/usr/bin/env python3
"""Kafka's own DumpLogSegments reads what the log layer writes.

usage: dump_log_segments.py <write_log program> <directory of jars>

The program writes a partition and says which lines DumpLogSegments must print for its events. Every complaint of the tool about
batches, indexes, time indexes or snapshots fails the test. Without Java or the jars (tools/fetch_kafka.sh) the test is skipped,
but fails when the environment has CI set.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SKIP = 77
CODECS = {"none", "gzip", "snappy", "lz4", "zstd"}
NOISE = re.compile(r"^SLF4J|^\s*$|^WARNING: ")


def missing(what):
    print(f"{what}; run tools/fetch_kafka.sh <directory>")
    sys.exit(1 if os.environ.get("CI") else SKIP)


class Failures:
    def __init__(self):
        self.count = 0

    def add(self, text):
        self.count += 1
        if self.count <= 20:
            print("FAIL:", text)


class Tool:
    def __init__(self, java, jars):
        self.command = [java, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dfile.encoding=UTF-8", "-Dsun.stdout.encoding=UTF-8",
                        "-Dstdout.encoding=UTF-8", "-cp", f"{jars}/*", "org.apache.kafka.tools.DumpLogSegments"]

    def run(self, files, *options):
        """The lines of its output, and those of its complaints."""
        done = subprocess.run(self.command + [*options, "--files", ",".join(str(f) for f in files)], capture_output=True)
        complaints = [line for line in done.stderr.decode().split("\n") if not NOISE.match(line)]
        if done.returncode != 0:
            complaints.append(f"exit code {done.returncode}")
        return done.stdout.decode().split("\n"), complaints


def first_offset(path):
    return int(path.name.split(".")[0])


def check_log(tool, log, next_offset, failures):
    """Returns the lines of its records, (largest timestamp, size) of its batches, the codecs and the offset behind it; checks that
    offsets go on from next_offset, without a gap."""
    lines, complaints = tool.run([log], "--print-data-log", "--deep-iteration")
    base = first_offset(log)
    # The tool expects every file to begin with offset 0, and says so of the others.
    expected = [f"Non-consecutive offsets in {log}", f"  -1 is followed by {base}"] if base > 0 else []
    if complaints != expected:
        failures.add(f"{log.name}: {complaints}, expected {expected}")
    records, batches, codecs, position = [], [], set(), 0
    for line in lines:
        if line.startswith("| "):
            records.append(line)
        elif line.startswith("baseOffset: "):
            fields = dict(re.findall(r"(\w+): (\S+)", line))
            codecs.add(fields["compresscodec"])
            batches.append((int(fields["CreateTime"]), int(fields["size"])))
            if fields["isvalid"] != "true" or fields["magic"] != "2" or int(fields["position"]) != position:
                failures.add(f"{log.name}: {line}")
            if int(fields["baseOffset"]) != next_offset or int(fields["count"]) != int(fields["lastOffset"]) - next_offset + 1:
                failures.add(f"{log.name}: offsets do not follow: {line}")
            next_offset = int(fields["lastOffset"]) + 1
            position += int(fields["size"])
        elif "invalid" in line or not re.match(r"Dumping |Log starting offset: |$", line):
            failures.add(f"{log.name}: {line}")
    if position != log.stat().st_size:
        failures.add(f"{log.name}: the batches end at {position}, the file at {log.stat().st_size}")
    return records, batches, codecs, next_offset


def check_indexes(tool, files, failures):
    """No complaint, with and without the sanity checks; returns what entries there are, by file name."""
    entries, name = {}, None
    lines, complaints = tool.run(files)
    for line in lines:
        if line.startswith("Dumping "):
            name = line.rsplit("/", 1)[-1]
            entries[name] = []
        elif line and not line.endswith(" is empty."):
            entries[name].append({key: int(value) for key, value in re.findall(r"(\w+): (-?\d+)", line)})
    for options in (["--verify-index-only"], ["--index-sanity-check"]):
        lines, more = tool.run(files, *options)
        complaints += more
        if options == ["--index-sanity-check"]:
            passed = sum(line.endswith(" passed sanity check.") or line.endswith(" is empty.") for line in lines)
            if passed != len(files):
                complaints.append(f"{passed} of {len(files)} files pass the sanity check")
    for line in complaints:
        failures.add(f"indexes: {line}")
    return entries


def check_entries(log, entries, batches, failures):
    """What the tool does not look at: that there are entries where Kafka has them, and that the last time entry is the segment's
    maximum. Opening a segment again may begin a new interval."""
    offsets = entries.get(log.stem + ".index", [])
    times = entries.get(log.stem + ".timeindex", [])
    gap_max = 2 * (4096 + max(size for _, size in batches))
    positions = [0] + [entry["position"] for entry in offsets] + [log.stat().st_size]
    for before, after in zip(positions, positions[1:]):
        if after - before > gap_max:
            failures.add(f"{log.name}: no index entry between {before} and {after}")
    largest = max(timestamp for timestamp, _ in batches)
    if not times or times[-1]["timestamp"] != largest:
        failures.add(f"{log.name}: the last time entry is {times[-1:]}, the largest timestamp {largest}")


def check_snapshots(tool, snapshots, end, records, failures):
    """The newest one stands at the end of the log and knows the last sequence of every producer."""
    lines, complaints = tool.run(snapshots)
    for line in complaints:
        failures.add(f"snapshots: {line}")
    if first_offset(snapshots[-1]) != end:
        failures.add(f"the newest snapshot is {snapshots[-1].name}, the log ends at {end}")
    newest = lines[[i for i, line in enumerate(lines) if line.startswith("Dumping ")][-1] + 1:]
    found = {}
    for line in newest:
        fields = dict(re.findall(r"(\w+): (-?\d+)", line))
        if fields:
            found[int(fields["producerId"])] = (int(fields["lastSequence"]), int(fields["lastOffset"]))
    if len(found) != 3:
        failures.add(f"{snapshots[-1].name} has producers {found}")
    for producer, (sequence, offset) in found.items():
        fields = dict(re.findall(r"(\w+): (-?\d+)", records[offset]))
        if int(fields["sequence"]) != sequence:
            failures.add(f"producer {producer}: sequence {sequence} at offset {offset}, the record says {fields['sequence']}")


def check_compacted(tool, partition, failures):
    """Two transactions with the same three tombstones were written: the second stands, and the end of the first waits."""
    logs = sorted(partition.glob("*.log"))
    lines = [line for log in logs for line in tool.run([log], "--print-data-log", "--deep-iteration")[0]]
    batches = [line for line in lines if line.startswith("baseOffset: ")]
    horizons = [line for line in batches if "deleteHorizonMs: OptionalLong[" in line]
    if any("isvalid: true" not in line for line in batches):
        failures.add(f"compacted: {batches}")
    tombstones = [line for line in lines if line.startswith("| ") and "valueSize: -1" in line]
    if len(horizons) != 2 or len(tombstones) != 3 or any("CreateTime: 1700000000000" not in line for line in tombstones):
        failures.add(f"compacted: horizons {horizons}, tombstones {tombstones}")
    ends = [line for line in lines if "endTxnMarker: COMMIT" in line]
    if len(ends) != 2:
        failures.add(f"compacted: {len(ends)} ends of transactions, 2 expected")
    check_indexes(tool, [log.with_suffix(suffix) for log in logs for suffix in (".index", ".timeindex")], failures)


def check(program, jars, directory):
    java = shutil.which("java")
    if java is None:
        missing("java is not installed")
    if not any(Path(jars).glob("kafka-tools-*.jar")):
        missing(f"no kafka-tools jar in '{jars}'")
    written = subprocess.run([program, directory], check=True, capture_output=True).stdout.decode().split("\n")[:-1]
    partition = Path(directory) / "orders-0"
    logs = sorted(partition.glob("*.log"))
    failures, tool = Failures(), Tool(java, jars)
    if len(logs) < 4:
        failures.add(f"only {len(logs)} segments")

    records, codecs, end, batches = [], set(), 0, {}
    for log in logs:
        if first_offset(log) != end:
            failures.add(f"{log.name} begins before or behind the end of the segment before, {end}")
        here, batches[log], used, end = check_log(tool, log, end, failures)
        records += here
        codecs |= used
    if codecs != CODECS:
        failures.add(f"codecs {sorted(codecs)}, expected {sorted(CODECS)}")
    if len(records) != len(written):
        failures.add(f"{len(records)} records, {len(written)} events were written")
    for printed, expected in zip(records, written):
        if printed != expected:
            failures.add(f"printed:  {printed[:300]}\n      written:  {expected[:300]}")

    indexes = [log.with_suffix(suffix) for log in logs for suffix in (".index", ".timeindex")]
    entries = check_indexes(tool, indexes, failures)
    for log in logs:
        check_entries(log, entries, batches[log], failures)
    snapshots = sorted(partition.glob("*.snapshot"))
    if not snapshots:
        failures.add("no snapshot")
    else:
        check_snapshots(tool, snapshots, end, records, failures)
    check_compacted(tool, Path(directory) / "compacted-0", failures)
    print(f"{len(logs)} segments, {len(records)} records, {sum(len(e) for e in entries.values())} index entries, "
          f"{len(snapshots)} snapshots, {failures.count} failures")
    return 1 if failures.count else 0


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as directory:
        sys.exit(check(sys.argv[1], sys.argv[2], directory))


if __name__ == "__main__":
    main()
