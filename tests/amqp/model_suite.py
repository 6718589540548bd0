#!/usr/bin/env python3
"""Random work on queues over the wire beside a model that fits on a page: publishing, getting, settling, purging, dead-lettering, limits,
priorities, transactions, and a broker that is ended and killed.

usage: model_suite.py PROGRAM [SEED [STEPS]]    PROGRAM: beck, which is started here and ended again and again; or `rabbitmq` for a broker
that runs on the usual port and is left running. Ends with the seed and the steps that went wrong, or `1 passed, 0 failed, 0 skipped`.
"""
import bisect
import random
import signal
import sys
import types

import lasting_suite
from world import Failed, World, equal, holds

STEPS = 1500
RESTART_ONE_IN = 120


class Entry:
    def __init__(self, order, body, priority, persistent):
        self.order, self.body, self.priority, self.persistent = order, body, priority, persistent
        self.redelivered = False

    @property
    def key(self):
        return (-self.priority, self.order)

    def __lt__(self, other):
        return self.key < other.key


class Fault(Failed):
    def __init__(self, what, bodies):
        super().__init__(f"{what}: {bodies}")
        self.bodies = bodies


HISTORY = {}  # body -> what became of it, for whoever looks for a fault


def note(body, what):
    HISTORY.setdefault(body, []).append(f"{STEP}: {what}")


STEP = 0


class Queue:
    """What a queue holds. Settled bodies are remembered: after a kill they may be there again."""

    def __init__(self, name, length_max=None, priorities=0, dead=None):
        self.name, self.length_max, self.priorities, self.dead = name, length_max, priorities, dead
        self.ready, self.settled, self.counter = [], set(), 0

    def arrive(self, body, priority, persistent):
        self.counter += 1
        note(body, f"{'persistent' if persistent else 'transient'} to {self.name}")
        bisect.insort(self.ready, Entry(self.counter, body, min(priority, self.priorities), persistent))
        self.shorten()

    def back(self, entry):
        note(entry.body, f"back to {self.name}")
        entry.redelivered = True
        bisect.insort(self.ready, entry)

    def shorten(self):
        while self.length_max is not None and len(self.ready) > self.length_max:
            self.bury(self.ready.pop(0))

    def bury(self, entry):
        self.settled.add(entry.body)
        note(entry.body, f"dies in {self.name}")
        if self.dead:
            self.dead.arrive(entry.body, entry.priority, entry.persistent)

    def arguments(self):
        given = {"x-max-length": self.length_max, "x-max-priority": self.priorities or None, "x-dead-letter-exchange": "" if self.dead else None,
                 "x-dead-letter-routing-key": self.dead.name if self.dead else None}
        return {k: v for k, v in given.items() if v is not None}


class Model:
    def __init__(self, world, rng, restarts):
        self.w, self.rng, self.restarts = world, rng, restarts
        dead = Queue(world.name("dead"))
        self.queues = [dead, Queue(world.name("plain")), Queue(world.name("short"), length_max=5, dead=dead),
                       Queue(world.name("urgent"), priorities=4), Queue(world.name("rejects"), dead=dead)]
        self.serial, self.held, self.steps = 0, [], []
        self.open()
        for q in self.queues:
            world.queues.append(q.name)
            self.channel.queue_declare(q.name, durable=True, arguments=q.arguments())

    def open(self):
        """A channel for getting and settling, one for publishing with confirms."""
        self.channel, self.publisher = self.w.channel(), self.w.channel()
        self.publisher.confirm_delivery()
        self.held = []  # (delivery tag, queue, entry) in order

    def count(self, q):
        return self.channel.queue_declare(q.name, passive=True).method.message_count

    def settle_down(self):
        """Dead letters are on their way for a moment."""
        for q in self.queues:
            self.w.until(lambda q=q: self.count(q) == len(q.ready), f"{q.name} has {self.count(q)}, the model {len(q.ready)}")

    # --- steps

    def publish(self):
        q = self.rng.choice(self.queues)
        for _ in range(self.rng.choice((1, 1, 1, 5))):
            self.serial += 1
            priority, persistent = self.rng.randrange(6), self.rng.random() < 0.8
            self.w.publish(self.publisher, "", q.name, self.serial, priority=priority, delivery_mode=2 if persistent else 1)
            q.arrive(str(self.serial), priority, persistent)
        self.settle_down()

    def get(self):
        q = self.rng.choice(self.queues)
        self.settle_down()
        for _ in range(self.rng.choice((1, 1, 3))):
            auto_ack = self.rng.random() < 0.2
            got = self.w.take(self.channel, q.name, auto_ack=auto_ack)
            expected = q.ready.pop(0) if q.ready else None
            equal(got and (got.body, got.redelivered), expected and (expected.body, expected.redelivered), q.name)
            if got and auto_ack:
                q.settled.add(expected.body)
            elif got:
                note(got.body, f"got from {q.name}")
                self.held.append((got.tag, q, expected))

    def chosen(self):
        """One that is held, or all up to it: (tag, multiple, what it is about)."""
        i = self.rng.randrange(len(self.held))
        if self.rng.random() < 0.3:
            taken, self.held = self.held[:i + 1], self.held[i + 1:]
            return taken[-1][0], True, taken
        one = self.held.pop(i)
        return one[0], False, [one]

    def ack(self):
        if self.held:
            tag, multiple, taken = self.chosen()
            self.channel.basic_ack(tag, multiple)
            for _, q, entry in taken:
                note(entry.body, f"acked in {q.name}")
                q.settled.add(entry.body)

    def requeue(self):
        if self.held:
            tag, multiple, taken = self.chosen()
            self.channel.basic_nack(tag, multiple, requeue=True)
            self.all_back(taken)

    def all_back(self, taken):
        for _, q, entry in taken:
            q.back(entry)
        for q in self.queues:
            q.shorten()
        self.settle_down()

    def reject(self):
        """Of one queue at a time: in which order dead letters of several queues come to another is nobody's promise."""
        if self.held:
            _, q, _ = self.rng.choice(self.held)
            taken = [h for h in self.held if h[1] is q][:self.rng.choice((1, 1, 4))]
            for each in taken:
                self.held.remove(each)
                self.channel.basic_reject(each[0], requeue=False)
                q.bury(each[2])
            self.settle_down()

    def recover(self):
        self.channel.basic_recover(requeue=True)
        taken, self.held = self.held, []
        self.all_back(taken)

    def purge(self):
        q = self.rng.choice(self.queues)
        self.settle_down()
        equal(self.channel.queue_purge(q.name).method.message_count, len(q.ready), f"purged of {q.name}")
        q.settled.update(e.body for e in q.ready)
        q.ready.clear()

    def close_channel(self):
        self.channel.close()
        taken = self.held
        self.open()
        self.all_back(taken)

    def transaction(self):
        q = self.rng.choice(self.queues)
        ch = self.w.channel()
        ch.tx_select()
        bodies = []
        for _ in range(self.rng.randrange(1, 4)):
            self.serial += 1
            bodies.append(str(self.serial))
            self.w.publish(ch, "", q.name, self.serial, delivery_mode=2, priority=1)
        if self.rng.random() < 0.5:
            ch.tx_commit()
            for body in bodies:
                q.arrive(body, 1, True)
            self.settle_down()
        else:
            ch.tx_rollback()
        ch.close()

    def restart(self):
        number = self.rng.choice((signal.SIGTERM, signal.SIGKILL))
        self.settle_down()
        lasting_suite.next_life(self.w, number)
        taken = self.held
        self.open()
        for _, q, entry in taken:
            q.back(entry)
        # What is too much for a queue dies when the server ends, when it starts, or with the next arrival.
        leaving = {e.body for q in self.queues if q.length_max is not None for e in q.ready[:max(len(q.ready) - q.length_max, 0)]}
        transient = {e.body for q in self.queues for e in q.ready if not e.persistent}
        there = {q: self.everything(q) for q in self.queues}
        must_be = leaving - transient

        def arrived():
            for q in self.queues:
                there[q] += self.everything(q)
            return must_be <= {m.body for q in self.queues for m in there[q]}

        self.w.until(arrived, f"{sorted(must_be)} lost on the way to the dead letters with {signal.Signals(number).name}")
        for q in self.queues:
            for m in there[q]:
                note(m.body, f"after {signal.Signals(number).name} in {q.name}")
        came_back = {m.body for q in self.queues for m in there[q] if m.body in q.settled} if number == signal.SIGKILL else set()
        for q in self.queues:
            self.compare(q, there[q], came_back | leaving)
        self.channel.basic_recover(requeue=True)

    def everything(self, q):
        there = []
        while (got := self.w.take(self.channel, q.name, auto_ack=False)) is not None:
            there.append(got)
        return there

    @staticmethod
    def compare(q, there, came_back):
        """After a start: what must be there is there, in order; transient messages may be gone. After a kill what was settled last may
        be there again: then it may have died again, or have no dead letter yet. From here on the queue is what it is."""
        bodies = [m.body for m in there]
        holds(len(set(bodies)) == len(bodies), f"{q.name}: something is there twice: {bodies}")
        known = {e.body: e for e in q.ready}
        extra = [b for b in bodies if b not in known]
        if not set(extra) <= came_back:
            raise Fault(f"{q.name}: came back", [b for b in extra if b not in came_back])
        must = [e.body for e in q.ready if e.persistent and e.body not in came_back]
        missing = [b for b in must if b not in bodies]
        if missing:
            raise Fault(f"{q.name}: lost", missing)
        equal([b for b in bodies if b in must], must, f"{q.name}: order")
        q.ready = []
        for message in there:
            q.counter += 1
            entry = known.get(message.body) or Entry(q.counter, message.body, min(message.properties.priority or 0, q.priorities),
                                                     message.properties.delivery_mode == 2)
            entry.order, entry.redelivered = q.counter, True
            q.ready.append(entry)
        equal([e.body for e in sorted(q.ready)], bodies, f"order of {q.name}")

    def run(self, steps):
        kinds = [(self.publish, 30), (self.get, 30), (self.ack, 15), (self.requeue, 10), (self.reject, 8), (self.recover, 2), (self.purge, 1),
                 (self.close_channel, 2), (self.transaction, 4)]
        actions, weights = zip(*kinds)
        for _ in range(steps):
            action = self.rng.choices(actions, weights)[0]
            if self.restarts and self.rng.randrange(RESTART_ONE_IN) == 0:
                action = self.restart
            self.steps.append(action.__name__)
            global STEP  # pylint: disable=global-statement
            STEP = len(self.steps)
            action()
        self.settle_down()


def main():
    program, seed = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(1 << 32)
    steps = int(sys.argv[3]) if len(sys.argv) > 3 else STEPS
    own = program != "rabbitmq"
    if own:
        lasting_suite.SERVER = lasting_suite.Server(program)
        lasting_suite.SERVER.start()
    world = World(types.SimpleNamespace(port=lasting_suite.PORT, management_port=lasting_suite.MANAGEMENT_PORT), "model")
    model = None
    try:
        model = Model(world, random.Random(seed), own)
        model.run(steps)
    except Failed as failed:
        print(f"FAILED with seed {seed} at step {len(model.steps)}, after {' '.join(model.steps[-12:])}: {failed}")
        for body in getattr(failed, "bodies", []):
            print(f"{body}: {'; '.join(HISTORY.get(body, []))}")
        print("0 passed, 1 failed, 0 skipped")
        return 1
    finally:
        if own:
            lasting_suite.SERVER.gone()
        else:
            world.clean()
    print(f"seed {seed}, {steps} steps, {model.steps.count('restart')} of them ends and kills")
    print("1 passed, 0 failed, 0 skipped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
