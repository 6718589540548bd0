"""How fast `beck serve` listens on an empty directory, and the memory that it takes while nothing happens.

usage: bench_serve.py PROGRAM [--quick]; the directories are made in $BENCH_DIR
"""
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time


def row(id, value, unit):
    print(json.dumps({'id': id, 'value': value, 'unit': unit, 'cpu_ns_per_event': None, 'durability': 'synced'}))


def resident_mib(pid):
    with open(f'/proc/{pid}/status', encoding='utf-8') as status:
        return next(int(line.split()[1]) for line in status if line.startswith('VmRSS:')) / 1024


def measure(program, scratch):
    """Milliseconds from its exec until it listens, and MiB."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(os.path.join(scratch, 'notify'))
        environment = dict(os.environ, NOTIFY_SOCKET=os.path.join(scratch, 'notify'))
        begin = time.perf_counter()
        server = subprocess.Popen([program, 'serve', '--data', os.path.join(scratch, 'data'), '--http.listen', '127.0.0.1:0', '--amqp.listen', '', '--kafka.listen', '', '--management.listen', ''],
                                  env=environment, stderr=subprocess.DEVNULL)
        try:
            told.settimeout(60)
            state = told.recv(4096)
            took_ms = (time.perf_counter() - begin) * 1000
            if not state.startswith(b'READY=1'):
                sys.exit(f'the server said {state}')
            time.sleep(0.5)  # what it does behind the start is part of its memory
            return took_ms, resident_mib(server.pid)
        finally:
            server.terminate()
            server.wait()


def main():
    program, quick = sys.argv[1], '--quick' in sys.argv
    starts, memory = [], []
    for _ in range(3 if quick else 15):
        scratch = tempfile.mkdtemp(dir=os.environ.get('BENCH_DIR'), prefix='serve-')
        try:
            took_ms, mib = measure(program, scratch)
        finally:
            shutil.rmtree(scratch)
        starts.append(took_ms)
        memory.append(mib)
    row('serve.start', statistics.median(starts), 'ms')
    row('serve.rss', statistics.median(memory), 'MiB')


if __name__ == '__main__':
    main()
