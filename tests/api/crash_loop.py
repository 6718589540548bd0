#!/usr/bin/env python3
"""Kills a program that publishes and settles (crash_writer), again and again, and checks what is left.

  crash_loop.py CRASH_WRITER [BECK [CYCLES]]

Environment: CYCLES (default: the argument, or 200), SEED (default 1), KEEP=1 to keep the directory of a failure, SHOW=1 to see each cycle.
What must hold after every kill is in the functions named check_*.
"""
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

SUBJECTS = 7
GENERATION_CYCLES = 8  # cycles that one data directory lives
CONSUMED = {"fast": ("plain", "packed"), "strict": ("packed",)}
ODD_ONLY = {"strict": True}  # its binding takes the type of odd numbers


class Failure(Exception):
    pass


class Facts:
    """What the writers of one data directory have told."""

    def __init__(self):
        self.confirmed = {}   # (bus, run, publisher, seq) -> (partition, offset)
        self.refused = set()
        self.refusals = set()  # runs in which something was refused
        self.settled, self.intents = {}, {}  # queue -> set of places
        self.rejected, self.reject_intents = {}, {}
        self.generation = -1
        self.errors = []

    def take(self, line, run):
        words = line.split()
        kind = words[0]
        if kind == "P":
            self.confirmed[words[1], int(words[2]), int(words[3]), int(words[4])] = (int(words[5]), int(words[6]))
        elif kind == "X":
            self.refused.add((words[1], int(words[2]), int(words[3]), int(words[4])))
            self.refusals.add(int(words[2]))
        elif kind in "ISJR":
            table = {"I": self.intents, "S": self.settled, "J": self.reject_intents, "R": self.rejected}[kind]
            table.setdefault(words[1], set()).add((words[2], int(words[3]), int(words[4])))
        elif kind == "G":
            self.generation = int(words[1])
            self.generation_run = run
        elif kind == "E":
            self.errors.append(line)


class World:
    """What the checker found."""

    def __init__(self, lines):
        self.partitions = {}  # (bus, partition) -> (first, next)
        self.events = []      # (bus, partition, offset, run, publisher, seq)
        self.ready, self.dead, self.counts = {}, {}, {}
        self.faults = []
        if not lines or lines[-1] != ".":
            raise Failure("the checker did not come to its end: " + "\n".join(lines[-3:]))
        for line in lines:
            words = line.split()
            if words[0] == "B":
                self.partitions[words[1], int(words[2])] = (int(words[3]), int(words[4]))
            elif words[0] == "V":
                if words[4] == "bad":
                    raise Failure("torn event: " + line)
                self.events.append((words[1], *map(int, words[2:7])))
            elif words[0] in "TD":
                place = words[2], int(words[3]), int(words[4])
                table = (self.ready if words[0] == "T" else self.dead).setdefault(words[1], {})
                if place in table:
                    raise Failure("twice in queue: " + line)
                table[place] = words[5]
            elif words[0] == "Q":
                self.counts[words[1]] = list(map(int, words[2:6]))
            elif words[0] in "EFN":
                self.faults.append(line)


def check_events(facts, world):
    """Confirmed: there, once, in its place. Refused: not there. Per publisher: in order, without a hole."""
    found, last, offsets = {}, {}, {}
    for bus, partition, offset, run, publisher, seq in world.events:
        if offset != offsets.get((bus, partition), 0):
            raise Failure(f"{bus}/{partition}: offset {offset} follows {offsets.get((bus, partition), 0) - 1}")
        offsets[bus, partition] = offset + 1
        key = bus, run, publisher, seq
        if key in found:
            raise Failure(f"event {key} is there twice: {found[key]} and {(partition, offset)}")
        found[key] = partition, offset
        if bus == "temp":
            continue
        row = bus, run, publisher, seq % SUBJECTS
        before = last.get(row)
        if before and before[0] != partition:
            raise Failure(f"event {key}: its subject was in partition {before[0]}, now in {partition}")
        expected = before[1] + SUBJECTS if before else seq % SUBJECTS
        if seq != expected and (run not in facts.refusals or seq < expected):
            raise Failure(f"event {key} comes where {expected} was expected, at {partition}/{offset}")
        last[row] = partition, seq
    for (bus, partition), (first, end) in world.partitions.items():
        if offsets.get((bus, partition), first) != end:
            raise Failure(f"{bus}/{partition} says it has {first} to {end}, read to {offsets.get((bus, partition))}")
    for key, (partition, offset) in facts.confirmed.items():
        if key not in found:
            raise Failure(f"confirmed event {key} at {partition}/{offset} is missing")
        if offset >= 0 and found[key] != (partition, offset):
            raise Failure(f"confirmed event {key} is at {found[key]}, was said to be at {(partition, offset)}")
    for key in facts.refused:
        if key in found:
            raise Failure(f"refused event {key} is there")


def check_queue(facts, world, queue, consumed):
    """Settled: gone for good. Anything else: deliverable, dead, or an answer was under way."""
    ready, dead = world.ready.get(queue, {}), world.dead.get(queue, {})
    settled, rejected = facts.settled.get(queue, set()), facts.rejected.get(queue, set())
    intents = facts.intents.get(queue, set())
    for place in ready:
        if place in settled:
            raise Failure(f"settled event {place} is back in queue {queue}")
        if place in dead:
            raise Failure(f"event {place} is ready and dead in queue {queue}")
    for place in dead:
        if place in settled:
            raise Failure(f"settled event {place} is dead in queue {queue}")
    for place in rejected:
        if place not in dead:
            raise Failure(f"rejected event {place} of queue {queue} is {'ready again' if place in ready else 'lost'}")
    there = set()
    for bus, partition, offset, run, publisher, seq in world.events:
        if bus not in consumed or (queue in ODD_ONLY and seq % 2 == 0):
            continue
        place = bus, partition, offset
        there.add(place)
        if place not in ready and place not in dead and place not in intents:
            raise Failure(f"event {place} of queue {queue} is lost: neither deliverable nor dead, and nobody settled it")
    for place in list(ready) + list(dead):
        if place not in there:
            raise Failure(f"queue {queue} holds {place}, which is not for it")
    counts = world.counts.get(queue)
    if counts and (counts[0] + counts[2] != len(ready) or counts[1] != 0 or counts[3] != len(dead)):
        raise Failure(f"queue {queue} counts {counts}, but {len(ready)} were deliverable and {len(dead)} dead")


def check_temp(facts, world):
    """A bus that was deleted never comes back in a later one of its name."""
    seen = {(run, publisher - 100) for bus, _, _, run, publisher, _ in world.events if bus == "temp"}
    if len(seen) > 1:
        raise Failure(f"bus temp holds events of several lives: {sorted(seen)}")
    if seen and facts.generation >= 0 and max(seen) < (facts.generation_run, facts.generation - 1):
        raise Failure(f"bus temp holds events of {seen}, but {facts.generation} was made since")
    places = {(bus, partition, offset) for bus, partition, offset, *_ in world.events if bus == "temp"}
    for place in world.ready.get("tempq", {}):
        if place not in places:
            raise Failure(f"queue tempq holds {place}, which is not in bus temp")


def write_and_kill(writer, directory, run, rng, facts, env):
    child = subprocess.Popen([writer, "write", directory, str(run), str(rng.getrandbits(60))],
                             stdout=subprocess.PIPE, stderr=sys.stderr, env=env)
    lines, at_work = [], threading.Event()

    def read():
        for line in child.stdout:
            lines.append(line.decode().rstrip("\n"))
            if line[:1] in b"WE":
                at_work.set()
        at_work.set()
    reader = threading.Thread(target=read)
    reader.start()
    # Mostly in the middle of the work, however long it takes to come there; sometimes whenever, also while it is still opening.
    if rng.random() < 0.7:
        at_work.wait()
    time.sleep(rng.choice((rng.uniform(0, 0.03), rng.uniform(0, 0.3))))
    child.send_signal(signal.SIGKILL)
    code = child.wait()
    reader.join()
    for line in lines:
        if line:
            facts.take(line, run)
    if facts.errors:
        raise Failure("the writer says: " + "; ".join(facts.errors[:5]))
    if code != -signal.SIGKILL:
        raise Failure(f"the writer ended by itself with {code}")


def one_life(writer, beck, directory, seed, cycles, show):
    """One data directory over some kills."""
    rng = random.Random(seed)
    facts = Facts()
    for run in range(cycles):
        env = dict(os.environ)
        limited = rng.random() < 0.1
        if limited:
            env["CRASH_FILE_BYTES"] = str(rng.choice((9000, 20000, 60000)))
            facts.refusals.add(run)
        write_and_kill(writer, directory, run, rng, facts, env)
        done = subprocess.run([writer, "check", directory], stdout=subprocess.PIPE, stderr=sys.stderr)
        world = World(done.stdout.decode().split("\n")[:-1])
        if done.returncode:
            raise Failure(f"the checker ended with {done.returncode}")
        if world.faults:
            raise Failure("the checker says: " + "; ".join(world.faults[:5]))
        check_events(facts, world)
        for queue, consumed in CONSUMED.items():
            if queue in world.counts:
                check_queue(facts, world, queue, consumed)
        check_temp(facts, world)
        if beck and rng.random() < 0.1:
            verify = subprocess.run([beck, "verify", "--data", directory], stdout=subprocess.PIPE)
            if verify.returncode:
                raise Failure("beck verify: " + verify.stdout.decode())
        if show:
            print(f"  life {seed} run {run}{' limited' if limited else ''}: {len(world.events)} events, "
                  f"{len(facts.confirmed)} confirmed, {sum(map(len, facts.settled.values()))} settled", flush=True)
    return len(facts.confirmed), sum(map(len, facts.settled.values()))


def main():
    writer, beck = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
    cycles, seed = int(os.environ.get("CYCLES", sys.argv[3] if len(sys.argv) > 3 else "200")), int(os.environ.get("SEED", "1"))
    confirmed = settled = 0
    for life in range((cycles + GENERATION_CYCLES - 1) // GENERATION_CYCLES):
        top = tempfile.mkdtemp(prefix="beck-crash-")
        try:
            c, s = one_life(writer, beck, top + "/data", seed + life, min(GENERATION_CYCLES, cycles - life * GENERATION_CYCLES),
                            os.environ.get("SHOW"))
        except Failure as failure:
            kept = os.environ.get("KEEP")
            print(f"SEED={seed + life}: {failure}" + (f"\nkept in {top}" if kept else ""))
            if not kept:
                shutil.rmtree(top)
            return 1
        shutil.rmtree(top)
        confirmed, settled = confirmed + c, settled + s
    print(f"{cycles} kills: {confirmed} confirmed events were there, {settled} settled ones stayed away")
    return 0 if confirmed else 1


if __name__ == "__main__":
    sys.exit(main())
