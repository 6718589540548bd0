"""sarama's own tests of whole programs, unchanged: they want five brokers behind toxiproxy, by which they cut connections. All five are the one
at localhost:9092, which tells its clients to connect to the first proxy.

usage: sarama_tests.py TOXIPROXY COMMAND ...
"""
import json
import os
import socket
import subprocess
import sys
import tempfile

from cases import BROKER, until

API = 8474
FIRST, COUNT = 29091, 5


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def main():
    proxies = [{"name": f"kafka{i + 1}", "listen": f"0.0.0.0:{FIRST + i}", "upstream": BROKER, "enabled": True} for i in range(COUNT)]
    with tempfile.NamedTemporaryFile("w", suffix=".json") as config:
        json.dump(proxies, config)
        config.flush()
        toxiproxy = subprocess.Popen([sys.argv[1], "-port", str(API), "-config", config.name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until(lambda: listens(API) and listens(FIRST + COUNT - 1), "toxiproxy listens")
            return subprocess.run(sys.argv[2:], check=False, env={**os.environ, "TOXIPROXY_ADDR": f"http://localhost:{API}", "KAFKA_VERSION": "4.3.1"}).returncode
        finally:
            toxiproxy.terminate()
            toxiproxy.wait()


if __name__ == "__main__":
    sys.exit(main())
