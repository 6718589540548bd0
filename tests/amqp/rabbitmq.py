"""Runs Debian's rabbitmq-server in a directory of its own, beside any other: the oracle of the behaviour tests and the peer of the
benchmarks.

usage: rabbitmq.py [--port N] [--management-port N] [--dir DIRECTORY] COMMAND ...    {port} and {management_port} in it are filled in
"""
import argparse
import contextlib
import glob
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

PLUGINS = "[rabbitmq_management,rabbitmq_consistent_hash_exchange]."
START_S = 120


class NotInstalled(Exception):
    pass


def programs():
    """The directory of the server's own scripts: those in /usr/sbin change to another user."""
    found = sorted(glob.glob("/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin"))
    if not found:
        raise NotInstalled("rabbitmq-server is not installed")
    return found[-1]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Rabbit:
    def __init__(self, directory, port=0, management_port=0, address="127.0.0.1"):
        self.address, self.directory, self.port, self.management_port = address, directory, port or free_port(), management_port or free_port()
        self.epmd_port, self.dist_port = free_port(), free_port()
        self.sbin = programs()
        self.server, self.pid = None, None

    def environment(self):
        path = self.directory
        return {**os.environ, "HOME": path, "RABBITMQ_NODENAME": f"oracle{self.port}@localhost", **({"RABBITMQ_NODE_IP_ADDRESS": self.address} if self.address else {}),
                "RABBITMQ_NODE_PORT": str(self.port), "RABBITMQ_DIST_PORT": str(self.dist_port), "ERL_EPMD_PORT": str(self.epmd_port),
                "ERL_EPMD_ADDRESS": "127.0.0.1", "RABBITMQ_MNESIA_BASE": f"{path}/mnesia", "RABBITMQ_LOG_BASE": f"{path}/log",
                "RABBITMQ_PID_FILE": f"{path}/pid", "RABBITMQ_CONFIG_FILE": f"{path}/rabbitmq.conf",
                "RABBITMQ_ADVANCED_CONFIG_FILE": f"{path}/advanced.config", "RABBITMQ_CONF_ENV_FILE": f"{path}/env.conf",
                "RABBITMQ_ENABLED_PLUGINS_FILE": f"{path}/plugins", "RABBITMQ_GENERATED_CONFIG_DIR": f"{path}/config"}

    def write(self, name, text):
        with open(os.path.join(self.directory, name), "w", encoding="utf-8") as file:
            file.write(text)

    def start(self):
        self.write("plugins", PLUGINS)
        self.write("rabbitmq.conf", f"management.tcp.port = {self.management_port}\nmanagement.tcp.ip = 127.0.0.1\n"
                   "disk_free_limit.absolute = 50MB\n")
        self.write("advanced.config", "[].\n")
        log = open(os.path.join(self.directory, "out"), "w", encoding="utf-8")
        self.server = subprocess.Popen([f"{self.sbin}/rabbitmq-server"], env=self.environment(), stdin=subprocess.DEVNULL, stdout=log,
                                       stderr=log, start_new_session=True)
        log.close()
        end = time.monotonic() + START_S
        while not self.listens(self.port) or not self.listens(self.management_port):
            if self.server.poll() is not None or time.monotonic() > end:
                with open(os.path.join(self.directory, "out"), encoding="utf-8") as file:
                    raise RuntimeError(f"rabbitmq-server does not start:\n{file.read()[-2000:]}")
            time.sleep(0.1)
        with open(os.path.join(self.directory, "pid"), encoding="utf-8") as file:
            self.pid = int(file.read())  # of the Erlang machine, which does the work

    @staticmethod
    def listens(port):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    def stop(self):
        if self.server and self.server.poll() is None:
            os.killpg(self.server.pid, signal.SIGTERM)
            try:
                self.server.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self.server.pid, signal.SIGKILL)
                self.server.wait()
        subprocess.run(["epmd", "-kill"], env=self.environment(), check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@contextlib.contextmanager
def rabbitmq(port=0, management_port=0, directory=None, address="127.0.0.1"):
    """A running server of its own, gone with everything that it stored. address None: every one."""
    scratch = tempfile.mkdtemp(prefix="rabbitmq-", dir=directory)
    server = Rabbit(scratch, port, management_port, address)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(scratch, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--management-port", type=int, default=0)
    parser.add_argument("--dir")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    try:
        with rabbitmq(args.port, args.management_port, args.dir) as server:
            command = [part.format(port=server.port, management_port=server.management_port) for part in args.command]
            return subprocess.run(command, check=False).returncode
    except NotInstalled as missing:
        print(missing)
        return 77


if __name__ == "__main__":
    sys.exit(main())
