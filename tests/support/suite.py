"""What the runners of clients' suites share: a network of their own, and `beck serve` on an empty directory."""
import contextlib
import ctypes
import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile

SKIPPED = 77
PATIENCE_S = 300  # what takes longer hangs, however busy the machine

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
SIOCSIFFLAGS, IFF_UP = 0x8914, 1


def missing(what):
    print(f"skipped: {what}")
    sys.exit(SKIPPED)


def need(*path):
    path = os.path.join(*path)
    if not os.path.exists(path):
        missing(f"{path} is not there")
    return os.path.abspath(path)


def command_of(name):
    return shutil.which(name) or missing(f"{name} is not installed")


def own_network():
    """From here on this process and its children have a network of their own: clients' tests know no ports but the usual."""
    flags = CLONE_NEWNET | (0 if os.geteuid() == 0 else CLONE_NEWUSER)
    uid = os.geteuid()
    if ctypes.CDLL(None, use_errno=True).unshare(flags):
        return False
    if flags & CLONE_NEWUSER:
        with open("/proc/self/uid_map", "w", encoding="ascii") as file:
            file.write(f"{uid} {uid} 1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))
    return True


def usual_ports(name, ports):
    """Without a network of one's own: the ports of this one, one suite at a time. They are held until the result is let go."""
    kept = open(os.path.join(tempfile.gettempdir(), f"beck-{name}-ports"), "a", encoding="ascii")  # pylint: disable=consider-using-with
    fcntl.flock(kept, fcntl.LOCK_EX)
    for port in ports:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                missing(f"this system gives no network namespace, and port {port} is taken")
    return kept


def listed(folder, name):
    """The tests that stand in a file of exclusions/, as `test: reason`: their names."""
    path = os.path.join(folder, "exclusions", name)
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        return [line.split(": ")[0].strip() for line in file if line.strip() and not line.startswith("#")]


def exclusions(folder, suite):
    names = listed(folder, f"{suite}.txt")
    for name in names:
        print(f"left out: {name}")
    return names


def print_log(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        print("--- the server's log, its end:\n" + file.read()[-6000:])


class Server:
    """`beck serve` on a directory. What it says goes to the file `log` in `scratch`."""

    def __init__(self, program, scratch, *arguments):
        self.scratch, self.data, self.log = scratch, os.path.join(scratch, "data"), os.path.join(scratch, "log")
        self.command = [os.path.abspath(program), "serve", "--data", self.data, *arguments]
        self.process, self.fault = None, False

    def start(self):
        """Returns when the server is ready."""
        notify = os.path.join(self.scratch, "notify")
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("BECK_", "LISTEN_"))}
        with open(self.log, "a", encoding="utf-8") as file, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            with contextlib.suppress(FileNotFoundError):
                os.remove(notify)
            told.bind(notify)
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                                            env={**environment, "NOTIFY_SOCKET": notify})
            told.settimeout(PATIENCE_S)
            try:
                while not told.recv(4096).startswith(b"READY=1"):
                    pass
            except TimeoutError:
                print_log(self.log)
                self.process.kill()
                raise

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        """Notes as a fault when it had ended before, or does not end well."""
        died = self.process.poll()
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = f"{self.process.wait()}, it did not end when it was asked to"
        if died is not None or code != 0:
            print_log(self.log)
            print(f"the server ended with {code}{' before the suite did' if died is not None else ''}")
            self.fault = True


@contextlib.contextmanager
def beck(program, *arguments, scratch=None):
    """A running server. scratch None: on a directory that goes with it."""
    folder = scratch or tempfile.mkdtemp(prefix="beck-suite-")
    server = Server(program, folder, *arguments)
    server.start()
    try:
        yield server
    finally:
        server.stop()
        if not scratch:
            shutil.rmtree(folder, ignore_errors=True)
