"""What the suites in Python share: cases are functions, each run in a process of its own against the broker at localhost:9092.

A case fails by raising. Cases whose names stand in the variable LEFT_OUT, one a line, are not run. The last line is `N passed, N failed,
N skipped`.
"""
import concurrent.futures
import os
import subprocess
import sys
import time
import traceback
import uuid

BROKER = os.environ.get("BROKER", "localhost:9092")
CASE_S = 600  # client libraries wait for ever for an answer that does not come
AT_ONCE = 4  # most of the time cases wait for what clients do every few seconds


class Failed(Exception):
    pass


def unique(prefix):
    return f"{prefix}-{uuid.uuid4().hex[:10]}"


def equal(is_, wanted, what=""):
    if is_ != wanted:
        raise Failed(f"{what + ': ' if what else ''}{is_!r}, not {wanted!r}")


def holds(condition, what):
    if not condition:
        raise Failed(what)


def until(condition, what, seconds=240):
    """Waits until the condition gives something true, and gives that."""
    end = time.monotonic() + seconds
    while True:
        got = condition()
        if got:
            return got
        if time.monotonic() > end:
            raise Failed(f"not within {seconds} s: {what}")
        time.sleep(0.05)


def run_here(case):
    """The end of this process: 0, or 1 and what went wrong on its standard output."""
    code = 0
    try:
        case()
    except Exception as error:  # pylint: disable=broad-except
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if os.path.basename(f.filename).endswith("_suite.py")]
        print(f"line {lines[-1] if lines else '?'}: {type(error).__name__}: {error}")
        code = 1
    sys.stdout.flush()
    os._exit(code)  # threads of clients that hang do not hold up the end


def run_apart(case):
    """In a process of its own. (what went wrong or None, seconds)"""
    began = time.monotonic()
    try:
        done = subprocess.run([sys.executable, "-W", "ignore", sys.argv[0], "--case", case.__name__], stdin=subprocess.DEVNULL, check=False,
                              timeout=CASE_S, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    except subprocess.TimeoutExpired:
        return f"nothing happens for {CASE_S} s", CASE_S
    wrong = done.stdout.strip() or f"ended with {done.returncode}: {done.stderr[-1000:]}"
    return wrong if done.returncode else None, time.monotonic() - began


def run(cases):
    """Runs all, or those whose names contain the argument of the program, some at a time. Ends the process."""
    if sys.argv[1:2] == ["--case"]:
        run_here(next(case for case in cases if case.__name__ == sys.argv[2]))
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    left_out = os.environ.get("LEFT_OUT", "").splitlines()
    chosen = [case for case in cases if word in case.__name__ and case.__name__ not in left_out]
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        for case, (wrong, took) in zip(chosen, pool.map(run_apart, chosen)):
            failed += bool(wrong)
            print(f"{'FAILED' if wrong else 'ok'} {case.__name__}{': ' + wrong if wrong else ''}{f' ({took:.1f} s)' if took > 2 else ''}", flush=True)
    print(f"{len(chosen) - failed} passed, {failed} failed, {len([c for c in cases if c.__name__ in left_out])} skipped", flush=True)
    sys.exit(1 if failed or not chosen else 0)
