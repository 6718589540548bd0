#!/usr/bin/env python3
"""Kills a server again and again while clients publish to it over HTTP: every event that was answered with 2xx must be there.

usage: kill_loop.py BECK [KILLS]    CYCLES=n in the environment for another number of kills
"""
import http.client
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading

CLIENTS = 8
BATCH = 5


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost")
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


class Load:
    """Clients that publish until the server is gone; remembers what was confirmed."""

    def __init__(self):
        self.changed = threading.Condition()
        self.confirmed = set()

    def publish(self, path, name):
        connection = UnixConnection(path)
        try:
            for number in range(1 << 30):
                ids = [f"{name}-{number}-{i}" for i in range(BATCH if number % 2 else 1)]
                events = [{"specversion": "1.0", "id": id, "source": "/t", "type": "t", "subject": id} for id in ids]
                level = ("written", "synced")[number // 2 % 2]
                connection.request("POST", f"/v1/buses/orders/events?create=true&level={level}", json.dumps(events),
                                   {"Content-Type": "application/cloudevents-batch+json"})
                answer = connection.getresponse()
                text = answer.read()
                if answer.status != 200:
                    raise AssertionError(f"{answer.status}: {text}")
                with self.changed:
                    self.confirmed.update(ids)
                    self.changed.notify_all()
        except (OSError, http.client.HTTPException):
            pass  # killed
        finally:
            connection.close()

    def wait_for(self, more):
        with self.changed:
            wanted = len(self.confirmed) + more
            self.changed.wait_for(lambda: len(self.confirmed) >= wanted)


def start(beck, data):
    """The server, once it says that it is ready."""
    path = data / "beck.sock"
    server = subprocess.Popen([beck, "serve", "--data", str(data), "--http.listen", "127.0.0.1:0", "--amqp.listen", "", "--kafka.listen", "", "--management.listen", ""],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while True:
        if server.poll() is not None:
            sys.exit(f"the server ended with {server.returncode}")
        connection = UnixConnection(path)
        try:
            connection.request("GET", "/health/ready")
            if connection.getresponse().status == 200:
                return server
        except (OSError, http.client.HTTPException):
            pass  # not yet
        finally:
            connection.close()


def read_all(path):
    connection = UnixConnection(path)
    target, found = "/v1/buses/orders/events?limit=10000", []
    while True:
        connection.request("GET", target)
        answer = connection.getresponse()
        page = json.loads(answer.read())
        if answer.status != 200:
            sys.exit(f"{answer.status}: {page}")
        if not page:
            return found
        found += [event["id"] for event in page]
        target = f"/v1/buses/orders/events?limit=10000&cursor={answer.headers['Beck-Cursor']}"


def main():
    beck = sys.argv[1]
    load = Load()
    with tempfile.TemporaryDirectory(prefix="beck-kill-") as scratch:
        data = pathlib.Path(scratch) / "data"
        cycles = int(os.environ.get("CYCLES", sys.argv[2] if len(sys.argv) > 2 else "10"))
        for cycle in range(cycles):
            server = start(beck, data)
            clients = [threading.Thread(target=load.publish, args=(data / "beck.sock", f"{cycle}-{n}"))
                       for n in range(CLIENTS)]
            for client in clients:
                client.start()
            load.wait_for(random.randrange(1, 500))
            server.send_signal(signal.SIGKILL)
            server.wait()
            for client in clients:
                client.join()
        server = start(beck, data)
        found = read_all(data / "beck.sock")
        server.send_signal(signal.SIGTERM)
        server.wait()
    missing = load.confirmed - set(found)
    print(f"{len(load.confirmed)} events confirmed over {cycles} kills, {len(found)} stored, {len(missing)} missing")
    if missing or len(found) != len(set(found)):
        sys.exit(1)


if __name__ == "__main__":
    main()
