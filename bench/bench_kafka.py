"""Kafka's protocol over sockets: beck and a real Apache Kafka, with the same client: librdkafka of Debian, its own load generator
rdkafka_performance, and kafka_load.c.

usage: bench_kafka.py PROGRAM [--quick]; the directories are made in $BENCH_DIR. Needs what tools/fetch_kafka.sh, fetch_kafka_debian.sh and
fetch_kafka_librdkafka.sh fetch, beside PROGRAM. Lines whose id starts with `apache.` are the peer's, with `mock.` those of librdkafka's own broker
within its process, which says what the client itself can do when it produces; with `bare.` those of peer_kafka.c, which receives, writes and gives out
again, and does nothing else, and so says what the system takes for that, and what the client itself can do when it consumes; with `relay.` those of the
way of a record without Kafka.

rdkafka_performance sets linger.ms to 1000, and so waits for most of a second with the last batch, which is not full, and counts that: here it does not.

Same durability: acks=all means synced with beck; Apache Kafka syncs before the answer where flush.messages=1 is set, so it is set where that
is compared. With acks=1 neither syncs.
"""
import contextlib
import glob
import json
import os
import re
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), 'tests', 'kafka_clients'))
import kafka_broker  # pylint: disable=wrong-import-position

TICKS = os.sysconf('SC_CLK_TCK')
START_S = 120


# As librdkafka has it.
LINGER = ('-X', 'linger.ms=5')


class NotFetched(Exception):
    pass


# --- the clients


class Clients:
    """The programs that load, built into a directory."""

    def __init__(self, fetched, scratch):
        root, source = os.path.join(fetched, 'kafka-debian', 'root'), os.path.join(fetched, 'kafka-librdkafka', 'source')
        for path in (root, source):
            if not os.path.exists(path):
                raise NotFetched(f'{path} is not there: run tools/fetch_kafka_debian.sh and tools/fetch_kafka_librdkafka.sh')
        libraries = glob.glob(f'{root}/usr/lib/*-linux-gnu')[0]
        flags = ['-O2', '-w', '-D_GNU_SOURCE', '-I', f'{root}/usr/include', '-I', f'{source}/src', '-L', libraries, f'-Wl,-rpath,{libraries}', '-lrdkafka',
                 '-lpthread']
        self.performance, self.load, self.bare = (os.path.join(scratch, name) for name in ('rdkafka_performance', 'kafka_load', 'peer_kafka'))
        for program, file in ((self.performance, f'{source}/examples/rdkafka_performance.c'), (self.load, os.path.join(HERE, 'kafka_load.c')),
                              (self.bare, os.path.join(HERE, 'peer_kafka.c'))):
            subprocess.run(['cc', file, '-o', program, *flags], check=True)

    def perform(self, *arguments):
        """(messages per second, MB per second) of its last report."""
        done = subprocess.run([self.performance, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        found = re.findall(r'(?:in )([\d.]+)ms: ([\d.]+) msgs/s (?:and|\()\s*([\d.]+) MB/s', done.stdout)
        if done.returncode or not found:
            sys.exit(f'rdkafka_performance {arguments} ended with {done.returncode}: {done.stdout[-500:]}')
        return float(found[-1][1]), float(found[-1][2])

    def run(self, mode, *arguments):
        done = subprocess.run([self.load, mode, *map(str, arguments)], stdout=subprocess.PIPE, check=True)
        return json.loads(done.stdout)


# --- a first record, without the time that a client library takes to start


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def batch():
    """One record without a key and with the value `first`."""
    record = bytes([0, 0, 0, 1, 10]) + b'first' + b'\0'
    body = struct.pack('>hiqqqhii', 0, 0, 0, 0, -1, -1, -1, 1) + bytes([2 * len(record)]) + record
    return struct.pack('>qiibI', 0, len(body) + 9, -1, 2, crc32c(body)) + body


def text(value):
    return struct.pack('>h', len(value)) + value.encode()


def ask(connection, key, version, body):
    request = struct.pack('>hhi', key, version, 1) + text('bench') + body
    connection.sendall(struct.pack('>i', len(request)) + request)
    answer = b''
    while len(answer) < 4 or len(answer) < 4 + struct.unpack('>i', answer[:4])[0]:
        part = connection.recv(65536)
        if not part:
            raise ConnectionError
        answer += part
    return answer[8:]


def produced(connection, topic):
    """A record is sent with acks=1: was it taken?"""
    records = batch()
    body = struct.pack('>hhii', -1, 1, 30000, 1) + text(topic) + struct.pack('>iii', 1, 0, len(records)) + records
    answer = ask(connection, 0, 7, body)
    return struct.unpack('>h', answer[4 + 2 + len(topic) + 4 + 4:][:2])[0] == 0


def fetch_in_session(connection, topic):
    """What a consumer that waits for records sends: a Fetch with a session, answered with a batch; then one that waits."""
    partition = struct.pack('>iiqqi', 0, -1, 0, -1, 1 << 20)
    topics = struct.pack('>i', 1) + text(topic) + struct.pack('>i', 1) + partition
    head = struct.pack('>iiiib', -1, 60000, 1, 1 << 20, 0)
    answer = ask(connection, 1, 11, head + struct.pack('>ii', 0, 0) + topics + struct.pack('>i', 0) + text(''))
    session, = struct.unpack('>i', answer[6:10])
    partition = struct.pack('>iiqqi', 0, -1, 1, -1, 1 << 20)
    topics = struct.pack('>i', 1) + text(topic) + struct.pack('>i', 1) + partition
    body = head + struct.pack('>ii', session, 1 if session else -1) + topics + struct.pack('>i', 0) + text('')
    request = struct.pack('>hhi', 1, 11, 2) + text('bench') + body
    connection.sendall(struct.pack('>i', len(request)) + request)


def first_record(port, topic):
    """Waits for the server, and until it has taken a record."""
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(('127.0.0.1', port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while not produced(connection, topic):
                time.sleep(0.001)
            return
        time.sleep(0.001)
    sys.exit('the server takes no record')


# --- the servers


class Beck:
    name = 'kafka'
    synced = ()

    def __init__(self, program, directory):
        self.program, self.directory, self.port, self.process = program, directory, kafka_broker.free_port(), None

    def start(self):
        self.process = subprocess.Popen([self.program, 'serve', '--data', os.path.join(self.directory, 'data'), '--http.listen', '', '--amqp.listen', '',
                                         '--management.listen', '', '--kafka.listen', f'127.0.0.1:{self.port}'], stderr=subprocess.DEVNULL,
                                        preexec_fn=raise_limit)

    def stop(self):
        self.process.terminate()
        self.process.wait()

    @property
    def pid(self):
        return self.process.pid


class Bare(Beck):
    name = 'bare'

    def start(self):
        self.process = subprocess.Popen([self.program, str(self.port), os.path.join(self.directory, 'log')])


class Apache(kafka_broker.Kafka):
    name = 'apache'
    synced = ('flush.messages', '1')


def raise_limit():
    import resource  # pylint: disable=import-outside-toplevel
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def cpu_s(pid):
    with open(f'/proc/{pid}/stat', encoding='ascii') as file:
        fields = file.read().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_mib(pid):
    with open(f'/proc/{pid}/status', encoding='ascii') as file:
        return next(int(line.split()[1]) for line in file if line.startswith('VmRSS:')) / 1024


def row(name, id, value, unit, cpu_ns=None, durability='none'):
    print(json.dumps({'id': f'{name}.{id}', 'value': value, 'unit': unit, 'cpu_ns_per_event': cpu_ns, 'durability': durability}), flush=True)


class Bench:
    def __init__(self, clients, quick):
        self.clients, self.scale, self.server = clients, 0.1 if quick else 1, None
        self.topics = 0

    @property
    def broker(self):
        return f'127.0.0.1:{self.server.port}'

    def row(self, *arguments, **more):
        row(self.server.name, *arguments, **more)

    def topic(self, partitions=1, config=()):
        self.topics += 1
        name = f'topic{self.topics}'
        if self.server.name != 'bare':  # which has them all
            self.clients.run('topic', self.broker, name, partitions, *config)
        return name

    def produce(self, topic, size, count, *arguments):
        """(rate, MB per second, CPU of the server in ns per record)"""
        count = int(count * self.scale)
        use_memory(self.server.directory, count * size)
        before = cpu_s(self.server.pid)
        rate, mb = self.clients.perform('-P', '-t', topic, '-p', 0, '-s', size, '-c', count, '-b', self.broker, *LINGER, *arguments)
        return rate, mb, (cpu_s(self.server.pid) - before) / count * 1e9

    def producing(self):
        self.produce(self.topic(), 100, 1000000, '-a', 1)  # as it is after a while, not at its start
        topic = self.topic()
        rate, mb, cpu = self.produce(topic, 100, 3000000, '-a', 1)
        self.row('produce_100', rate, 'records/s', cpu)
        self.row('produce_100_cpu', cpu, 'ns')
        large = self.topic()
        rate, mb, cpu = self.produce(large, 1024, 1000000, '-a', 1)
        self.row('produce_1k', mb, 'MB/s', cpu)
        self.row('produce_1k_cpu', cpu, 'ns')
        # The bare peer has one log for all topics.
        first = int(1000000 * self.scale) + int(3000000 * self.scale) if self.server.name == 'bare' else 0
        self.consuming(large, first, int(1000000 * self.scale), 1024)

    def consuming(self, topic, first, count, size):
        before = cpu_s(self.server.pid)
        rate, _ = self.clients.perform('-C', '-t', topic, '-p', 0, '-o', first, '-c', count, '-b', self.broker)
        cpu = cpu_s(self.server.pid) - before
        self.row('consume_1k', rate, 'records/s', cpu / count * 1e9)
        self.row('consume_1k_cpu', cpu / (count * size / 1e6) * 1e6, 'us')

    def synced(self):
        many = ('-X', 'max.in.flight.requests.per.connection=16')
        one, _, _ = self.produce(self.topic(), 1024, 300000, '-a', 1, *many)
        every, _, cpu = self.produce(self.topic(config=self.server.synced), 1024, 300000, '-a', -1, *many)
        self.row('produce_synced', every / one, 'x', cpu, 'synced')
        count = int((100000 if self.server.name == 'kafka' else 30000) * self.scale)
        self.clients.run('alone', self.broker, self.topic(config=self.server.synced), 64, count // 5)
        got = self.clients.run('alone', self.broker, self.topic(config=self.server.synced), 64, count)
        self.row('produce_alone_64', got['rate'], 'records/s', None, 'synced')

    def latency(self):
        self.clients.run('latency', self.broker, self.topic(), 2000, 10000)  # as it is after a while, not at its start
        got = self.clients.run('latency', self.broker, self.topic(), 2000, int(20000 * self.scale))
        self.row('latency_p50', got['p50_us'] / 1000, 'ms')
        self.row('latency_p99', got['p99_us'] / 1000, 'ms')
        if self.server.name == 'kafka':
            got = self.clients.run('relay', 2000, int(20000 * self.scale))
            row('relay', 'latency_p50', got['p50_us'] / 1000, 'ms')
            row('relay', 'latency_p99', got['p99_us'] / 1000, 'ms')

    def starting(self, tries):
        topic, took = self.topic(), []
        self.row('idle_memory', resident_mib(self.server.pid), 'MiB')
        for _ in range(tries):
            self.server.stop()
            begin = time.perf_counter()
            self.server.start()
            first_record(self.server.port, topic)
            took.append((time.perf_counter() - begin) * 1000)
        self.row('start', statistics.median(took), 'ms')

    def memory_of(self, id, use):
        """Of 10,000 connections on each of which `use` was called."""
        count = int(10000 * self.scale)
        with contextlib.ExitStack() as stack:
            before = resident_mib(self.server.pid)
            for _ in range(count):
                use(stack.enter_context(socket.create_connection(('127.0.0.1', self.server.port))))
            self.row(id, (resident_mib(self.server.pid) - before) * 1024 / count, 'KiB')

    def connections(self):
        self.memory_of('connection_memory', lambda c: ask(c, 18, 0, b''))

    def consumers(self):
        topic = self.topic()
        first_record(self.server.port, topic)
        self.memory_of('consumer_memory', lambda c: fetch_in_session(c, topic))

    def partitions(self, count):
        made = self.clients.run('topic', self.broker, 'many', count)
        self.row('partitions_create', made['ms'] / 1000, 's', None, 'synced')
        self.row('partitions_memory', resident_mib(self.server.pid), 'MiB')
        self.server.stop()
        begin = time.perf_counter()
        self.server.start()
        first_record(self.server.port, 'many')
        self.row('partitions_start', (time.perf_counter() - begin) * 1000, 'ms')
        self.row('partitions_idle', resident_mib(self.server.pid), 'MiB')


@contextlib.contextmanager
def running(make):
    scratch = tempfile.mkdtemp(dir=os.environ.get('BENCH_DIR'), prefix='kafka-')
    server = make(scratch)
    try:
        server.start()
        end = time.monotonic() + START_S
        while not kafka_broker.listens(server.port) and time.monotonic() < end:
            time.sleep(0.005)
        yield server
    finally:
        server.stop()
        shutil.rmtree(scratch, ignore_errors=True)


def measure(bench, make, starts, partitions):
    """Each part with a server of its own: one does not carry what another left."""
    raise_limit()
    for part in (bench.producing, bench.synced, bench.latency, bench.connections, bench.consumers):
        with running(make) as bench.server:
            part()
    with running(make) as bench.server:
        time.sleep(0.5)
        bench.starting(starts)
    if partitions:
        with running(make) as bench.server:
            bench.partitions(partitions)


def use_memory(directory, size):
    """The memory of a virtual machine that nobody uses costs ten times as much when it is next written to, whoever does it, and it is given back to
    the host within seconds: as much as is about to be stored is used and given back before."""
    piece = b'x' * (1 << 20)
    with tempfile.TemporaryFile(dir=directory) as file:
        for _ in range(size * 5 // 4 >> 20):
            file.write(piece)


def mock(clients, quick):
    for size, id, count in ((100, 'produce_100', 3000000), (1024, 'produce_1k', 1000000)):
        count = int(count * (0.1 if quick else 1))
        rate, mb = clients.perform('-P', '-t', 'topic', '-p', 0, '-s', size, '-c', count, '-a', 1, '-b', '127.0.0.1:1', '-X', 'test.mock.num.brokers=1',
                                   *LINGER)
        row('mock', id, rate if size == 100 else mb, 'records/s' if size == 100 else 'MB/s')


def main():
    program, quick = os.path.abspath(sys.argv[1]), '--quick' in sys.argv
    fetched = os.path.dirname(program)
    with tempfile.TemporaryDirectory(dir=os.environ.get('BENCH_DIR')) as scratch:
        try:
            clients = Clients(fetched, scratch)
        except NotFetched as why:
            sys.exit(str(why))
        mock(clients, quick)
        measure(Bench(clients, quick), lambda folder: Beck(program, folder), 3 if quick else 9, 1000 if quick else 10000)
        bench = Bench(clients, quick)
        with running(lambda folder: Bare(clients.bare, folder)) as bench.server:
            bench.producing()
        with contextlib.suppress(kafka_broker.NotInstalled):
            measure(Bench(clients, quick), lambda folder: Apache(os.path.join(fetched, 'kafka'), folder), 1 if quick else 3, None)


if __name__ == '__main__':
    main()
