"""AMQP 0-9-1 over sockets: beck and, when it is installed, Debian's rabbitmq-server, with the same client (amqp_load.c).

usage: bench_amqp.py PROGRAM [--quick]; the directories are made in $BENCH_DIR. Lines whose id starts with `rabbitmq.` are the peer's.
Confirms of persistent messages: beck confirms once the log is synced, RabbitMQ 3.10 once it has flushed the queue's files.
"""
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), 'tests', 'amqp'))
import rabbitmq  # pylint: disable=wrong-import-position


class Bench:
    def __init__(self, name, load, quick):
        self.name, self.load, self.quick = name, load, quick
        self.port, self.pid = None, None
        # What takes RabbitMQ a minute takes beck seconds: each gets what it does in a few seconds.
        self.scale = (1 if name == 'amqp' else 0.1) * (0.1 if quick else 1)

    def row(self, id, value, unit, cpu_ns=None, durability='none'):
        print(json.dumps({'id': f'{self.name}.{id}', 'value': value, 'unit': unit, 'cpu_ns_per_event': cpu_ns, 'durability': durability}),
              flush=True)

    def run(self, mode, count, *options):
        count = max(int(count * self.scale), 1)
        done = subprocess.run([self.load, mode, '--port', str(self.port), '--pid', str(self.pid), '--count', str(count), *options],
                              stdout=subprocess.PIPE, check=True)
        return json.loads(done.stdout)

    def flow(self, id, count, *options, durability='none'):
        got = self.run('flow', count, *options)
        self.row(id, got['rate'], 'messages/s', got['cpu_ns'], durability)
        return got

    def flows(self):
        self.run('flow', 50000, '--size', '128')  # as it is after a while, not at its start
        for size, name in ((16, '16'), (128, '128'), (1024, '1k')):
            got = self.flow(f'transient_{name}', 1000000, '--size', str(size))
            if size == 128:
                self.row('transient_cpu', got['cpu_ns'], 'ns')
        self.flow('persistent_1k', 200000, '--size', '1024', '--persistent', '--window', '1000', '--ack', durability='synced')
        got = self.flow('fanout_10', 100000, '--size', '1024', '--queues', '10', '--persistent')
        self.row('fanout_10_written', got['write_bytes'], 'B')
        got = self.run('latency', 10000 / self.scale * (0.2 if self.quick else 1), '--rate', '2000', '--size', '128')
        self.row('latency_p50', got['p50_us'] / 1000, 'ms', got['cpu_ns'])
        self.row('latency_p99', got['p99_us'] / 1000, 'ms', got['cpu_ns'])

    def memory(self):
        """Of what is idle. Connections come first: they may use what was freed."""
        got = self.run('connections', 10000)
        self.row('connection_memory', got['grown_kib'], 'KiB')
        got = self.run('queues', 10000)
        self.row('queue_memory', got['grown_kib'], 'KiB')
        self.row('queue_declare', got['rate'], 'queues/s', got['cpu_ns'], 'synced')

    def backlog(self):
        options = ['--size', '128', '--persistent']
        shallow = self.run('backlog', 100000, *options)
        deep = self.run('backlog', 1000000, *options)
        self.row('backlog_memory', deep['grown_mib'], 'MiB')
        self.row('backlog_drain', deep['rate'], 'messages/s', deep['cpu_ns'])
        self.row('backlog_deep', shallow['rate'] / deep['rate'], 'x')

    def measure(self, start):
        """Each part with a server of its own: memory is what it takes on top of nothing."""
        for part in (self.flows, self.backlog, self.memory):
            with start() as (self.port, self.pid):
                part()


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def beck(program):
    """(port, process id) of a server on an empty directory."""
    scratch = tempfile.mkdtemp(dir=os.environ.get('BENCH_DIR'), prefix='amqp-')
    port = free_port()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(os.path.join(scratch, 'notify'))
        server = subprocess.Popen([program, 'serve', '--data', os.path.join(scratch, 'data'), '--http.listen', '127.0.0.1:0', '--amqp.listen',
                                   f'127.0.0.1:{port}', '--management.listen', '', '--kafka.listen', ''], env=dict(os.environ, NOTIFY_SOCKET=os.path.join(scratch, 'notify')),
                                  stderr=subprocess.DEVNULL, preexec_fn=raise_limit)
        try:
            told.settimeout(60)
            while not told.recv(4096).startswith(b'READY=1'):
                pass
            yield port, server.pid
        finally:
            server.terminate()
            server.wait()
            shutil.rmtree(scratch)


@contextlib.contextmanager
def rabbit():
    with rabbitmq.rabbitmq(directory=os.environ.get('BENCH_DIR')) as server:
        yield server.port, server.pid


def raise_limit():
    import resource  # pylint: disable=import-outside-toplevel
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main():
    program, quick = os.path.abspath(sys.argv[1]), '--quick' in sys.argv
    load = os.path.join(os.path.dirname(program), 'bench', 'amqp_load')
    Bench('amqp', load, quick).measure(lambda: beck(program))
    try:
        Bench('rabbitmq', load, quick).measure(rabbit)
    except rabbitmq.NotInstalled:
        pass


if __name__ == '__main__':
    main()
