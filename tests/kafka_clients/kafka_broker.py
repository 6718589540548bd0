"""Runs a real Apache Kafka from the jars of tools/fetch_kafka.sh in a directory of its own: the oracle of the suites and the peer of the
benchmarks.

usage: kafka_broker.py [--port N] [--dir DIRECTORY] [--config NAME=VALUE ...] JARS COMMAND ...    {port} in it is filled in
"""
import argparse
import base64
import contextlib
import glob
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid

START_S = 120


class NotInstalled(Exception):
    pass


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Kafka:
    def __init__(self, jars, directory, port=0, config=(), heap="1G"):
        self.java = shutil.which("java")
        if not self.java or not glob.glob(os.path.join(jars, "kafka_2.13-*.jar")):
            raise NotInstalled(f"no java, or no broker's jars in {jars}; run tools/fetch_kafka.sh")
        self.classpath, self.directory, self.port = os.path.join(jars, "*"), directory, port or free_port()
        self.heap, self.config, self.process = heap, config, None
        self.data = os.path.join(directory, "data")

    def properties(self):
        controller = free_port()
        kept = {"process.roles": "broker,controller", "node.id": "1", "controller.quorum.voters": f"1@127.0.0.1:{controller}",
                "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{controller}",
                "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self.port}", "controller.listener.names": "CONTROLLER",
                "inter.broker.listener.name": "PLAINTEXT", "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
                "log.dirs": self.data, "num.partitions": "4", "group.initial.rebalance.delay.ms": "0",
                "offsets.topic.num.partitions": "4", "transaction.state.log.num.partitions": "4", "share.coordinator.state.topic.num.partitions": "4",
                **{f"{topic}.{what}": "1" for topic in ("transaction.state.log", "share.coordinator.state.topic")
                   for what in ("replication.factor", "min.isr")}, "offsets.topic.replication.factor": "1"}
        kept.update(dict(part.split("=", 1) for part in self.config))
        return "".join(f"{name}={value}\n" for name, value in kept.items())

    def run(self, *command, log):
        return subprocess.Popen([self.java, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory)

    def start(self):
        path = os.path.join(self.directory, "server.properties")
        with open(os.path.join(self.directory, "log"), "a", encoding="utf-8") as log:
            if not os.path.exists(path):
                with open(path, "w", encoding="utf-8") as file:
                    file.write(self.properties())
                id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
                if self.run("-cp", self.classpath, "kafka.tools.StorageTool", "format", f"--cluster-id={id}", "-c", path, log=log).wait():
                    raise RuntimeError(self.said())
            self.process = self.run(f"-Xmx{self.heap}", f"-Xms{self.heap}", "-cp", self.classpath, "kafka.Kafka", path, log=log)
        end = time.monotonic() + START_S
        while not listens(self.port):
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(self.said())
            time.sleep(0.01)

    @property
    def pid(self):
        return self.process.pid

    def said(self):
        with open(os.path.join(self.directory, "log"), encoding="utf-8", errors="replace") as file:
            return f"Kafka does not start:\n{file.read()[-3000:]}"

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@contextlib.contextmanager
def kafka(jars, port=0, directory=None, config=()):
    """A running broker of its own, gone with everything that it stored."""
    scratch = tempfile.mkdtemp(prefix="kafka-", dir=directory)
    try:
        server = Kafka(jars, scratch, port, config)
        try:
            server.start()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--dir")
    parser.add_argument("--config", action="append", default=[])
    parser.add_argument("jars")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    try:
        with kafka(args.jars, args.port, args.dir, args.config) as server:
            return subprocess.run([part.format(port=server.port) for part in args.command], check=False).returncode
    except NotInstalled as why:
        print(why)
        return 77


if __name__ == "__main__":
    sys.exit(main())
