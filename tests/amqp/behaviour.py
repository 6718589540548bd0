#!/usr/bin/env python3
"""What an AMQP 0-9-1 broker does, case by case, as RabbitMQ does it. Runs against any broker.

usage: behaviour.py --port N --management-port M [--only WORD ...] [--skip FILE] [--list]
--skip: a list of cases that this broker is known to answer otherwise, as `name: reason` in lines that start with `- `.
The last line is `N passed, N failed, N skipped`.
"""
import argparse
import os
import re
import signal
import socket
import sys
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
try:
    import pika  # pylint: disable=unused-import
except ImportError:
    print("pika is not installed: see tools/fetch_amqp_python.sh")
    sys.exit(77)

# pylint: disable=wrong-import-position
import cases_consuming
import cases_errors
import cases_extensions
import cases_management
import cases_publishing
import cases_topology
from world import Failed, World

CASE_S = 600  # client libraries wait for ever for an answer that does not come; a busy machine takes its time

MODULES = [cases_topology, cases_publishing, cases_consuming, cases_extensions, cases_errors, cases_management]


def cases():
    return [case for module in MODULES for case in module.CASES]


def skipped(path):
    """name -> reason"""
    with open(path, encoding="utf-8") as file:
        return dict(re.findall(r"^- `?([a-z0-9_]+)`?: (.*)$", file.read(), re.MULTILINE))


def is_case(path):
    return os.path.basename(path).startswith("cases_") or path.endswith("_suite.py")


def hang(*_):
    raise Failed(f"nothing happens for {CASE_S} s")


def run(case, broker):
    """None, or what went wrong."""
    world = World(broker, case.__name__)
    signal.signal(signal.SIGALRM, hang)
    signal.alarm(CASE_S)
    try:
        case(world)
        return None
    except Failed as failed:
        where = [f.lineno for f in traceback.extract_tb(failed.__traceback__) if is_case(f.filename)]
        return f"line {where[-1] if where else '?'}: {failed}"
    except Exception as error:  # pylint: disable=broad-except
        where = [f.lineno for f in traceback.extract_tb(error.__traceback__) if is_case(f.filename)]
        return f"line {where[-1] if where else '?'}: {type(error).__name__}: {error}"
    finally:
        signal.alarm(CASE_S)
        try:
            world.clean()
            signal.alarm(0)
        except Exception as error:  # pylint: disable=broad-except
            print(f"  {case.__name__} could not be cleaned up: {error}", flush=True)


def listens(broker):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", broker.port)) == 0


def still_there(broker):
    """With --patient the broker has a minute to come again."""
    end = time.monotonic() + (CASE_S if broker.patient else 0)
    while not listens(broker):
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=5672)
    parser.add_argument("--management-port", type=int, default=15672)
    parser.add_argument("--only", action="append", default=[], help="cases whose name contains this word")
    parser.add_argument("--skip", action="append", default=[])
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--patient", action="store_true", help="waits for a broker that was gone to come again")
    broker = parser.parse_args()
    left_out = {}
    for path in broker.skip:
        left_out.update(skipped(path))
    chosen = [c for c in cases() if not broker.only or any(word in c.__name__ for word in broker.only)]
    if broker.list:
        print("\n".join(c.__name__ for c in chosen))
        return 0
    counts = {"ok": 0, "FAILED": 0, "skipped": 0}
    for case in chosen:
        began = time.monotonic()
        if case.__name__ in left_out:
            result, wrong = "skipped", left_out[case.__name__]
        else:
            wrong = run(case, broker)
            result = "FAILED" if wrong else "ok"
        counts[result] += 1
        took = time.monotonic() - began
        print(f"{result} {case.__name__}{': ' + wrong if wrong else ''}{f' ({took:.1f} s)' if took > 2 else ''}", flush=True)
        if result == "FAILED" and not still_there(broker):
            print("the broker is gone")
            break
    print(f"{counts['ok']} passed, {counts['FAILED']} failed, {counts['skipped']} skipped")
    return 1 if counts["FAILED"] else 0


if __name__ == "__main__":
    sys.exit(main())
