"""Celery with its broker and its results over AMQP: a worker of its own process, and callers that wait for results.

The last line is `N passed, N failed, 0 skipped`.
"""
import logging
import os
import signal
import subprocess
import sys
import time

from celery import Celery, chain, group

app = Celery("celery_suite", broker="amqp://guest:guest@localhost:5672//", backend="rpc://")
app.conf.update(task_serializer="json", result_serializer="json", accept_content=["json"], task_acks_late=True, worker_prefetch_multiplier=1,
                broker_connection_retry_on_startup=True, result_persistent=False, result_expires=60, task_queue_max_priority=5,
                worker_hijack_root_logger=False)
WAIT_S = 300


@app.task
def add(a, b):
    return a + b


@app.task
def total(numbers):
    return sum(numbers)


@app.task
def fails():
    raise ValueError("on purpose")


@app.task(bind=True, max_retries=3)
def third_time(self):
    if self.request.retries < 2:
        raise self.retry(countdown=0.1)
    return self.request.retries


@app.task
def large(size):
    return "x" * size


def a_call_has_its_result():
    assert add.delay(2, 3).get(WAIT_S) == 5


def many_calls_at_once():
    results = [add.delay(i, i) for i in range(200)]
    assert [r.get(WAIT_S) for r in results] == [2 * i for i in range(200)]


def a_group():
    assert group(add.s(i, 1) for i in range(20))().get(WAIT_S) == list(range(1, 21))


def a_chain():
    assert chain(add.s(1, 2), add.s(4), add.s(10))().get(WAIT_S) == 17


def a_failure_comes_back():
    try:
        fails.delay().get(WAIT_S)
    except ValueError as failure:
        assert str(failure) == "on purpose"
        return
    raise AssertionError("no failure")


def a_retry():
    assert third_time.delay().get(WAIT_S) == 2


def a_countdown():
    began = time.monotonic()
    assert add.apply_async((1, 1), countdown=1).get(WAIT_S) == 2
    assert time.monotonic() - began >= 0.9


def a_large_result():
    assert large.delay(1_000_000).get(WAIT_S) == "x" * 1_000_000


def workers_answer_over_the_control_exchange():
    answers = app.control.ping(timeout=WAIT_S, limit=1)
    assert len(answers) == 1 and list(answers[0].values()) == [{"ok": "pong"}], answers


def a_worker_is_inspected():
    assert any("celery_suite.add" in names for names in app.control.inspect(timeout=WAIT_S, limit=1).registered().values())


def a_queue_of_its_own():
    app.control.add_consumer("special", reply=True, timeout=WAIT_S, limit=1)
    assert add.apply_async((5, 6), queue="special").get(WAIT_S) == 11


def the_queue_is_purged():
    app.control.cancel_consumer("celery", reply=True, timeout=WAIT_S, limit=1)
    for i in range(7):
        add.delay(i, i)
    assert app.control.purge() == 7
    app.control.add_consumer("celery", reply=True, timeout=WAIT_S, limit=1)
    assert add.delay(1, 2).get(WAIT_S) == 3


CASES = [a_call_has_its_result, many_calls_at_once, a_group, a_chain, a_failure_comes_back, a_retry, a_countdown, a_large_result,
         workers_answer_over_the_control_exchange, a_worker_is_inspected, a_queue_of_its_own, the_queue_is_purged]


def main():
    worker = subprocess.Popen([sys.executable, "-m", "celery", "-A", "celery_suite", "worker", "-P", "threads", "-c", "2", "-l", "WARNING",
                               "--without-gossip", "-n", "worker@test"], cwd=os.path.dirname(os.path.abspath(__file__)))
    failed = 0
    try:
        for case in CASES:
            try:
                case()
                print("ok", case.__name__, flush=True)
            except Exception as error:  # pylint: disable=broad-except
                failed += 1
                print(f"FAILED {case.__name__}: {type(error).__name__}: {error}", flush=True)
    finally:
        worker.send_signal(signal.SIGTERM)
        try:
            worker.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            worker.kill()
            print("FAILED the worker does not end")
            failed += 1
    print(f"{len(CASES) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    sys.exit(main())
