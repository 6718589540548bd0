"""The life of a server: start, signals, reload, drain, activation by sockets, what it tells its manager."""
import base64
import json
import os
import signal
import socket
import ssl
import subprocess

from server import BUSY, DONE, EXISTS, PROGRAM, REFUSED, USAGE, ServerTest, main


class Damage(ServerTest):
    """Of beck's own buses."""

    def harm(self, bus):
        path = os.path.join(self.data, f"{bus}-0", "00000000000000000000.log")
        with open(path, "r+b") as file:
            file.seek(70)
            byte = file.read(1)
            file.seek(70)
            file.write(bytes([byte[0] ^ 5]))

    def beck(self, *args):
        return subprocess.run([PROGRAM, *args], cwd=self.dir, env=self.environment(BECK_DATA=self.data),
                              capture_output=True, text=True, check=False)

    def make(self):
        server = self.start("--amqp.listen", "127.0.0.1:0", "--kafka.listen", "127.0.0.1:0")
        address = server.address(protocol="http")
        self.publish(address, {"n": 1})
        self.assertIn(self.get(address, "/v1/queues/q", "PUT", json.dumps({"bindings": [{"bus": "events", "from": "earliest"}]}),
                               {"Content-Type": "application/json"})[0], (200, 201))
        server.end()

    def repaired(self, bus):
        done = self.beck("verify", "--repair")
        self.assertEqual(done.returncode, DONE, done.stdout + done.stderr)
        self.assertIn(bus, done.stdout)
        self.assertIn("gave up", done.stdout)

    def test_without_the_state_of_queues_buses_are_served_and_health_says_why(self):
        self.make()
        self.harm("__queue_state")
        server = self.start("--amqp.listen", "127.0.0.1:0", "--kafka.listen", "127.0.0.1:0")
        server.wait_for("not served until what it keeps is put right", protocol="amqp")
        address = server.address(protocol="http")
        server.wait_for("ready")
        status, why = self.get(address, "/health/ready")
        self.assertEqual(status, 503)
        self.assertIn("__queue_state", why)
        self.assertIn("verify --repair", why)
        self.publish(address, {"n": 2})
        status, why = self.get(address, "/v1/queues/q/take", "POST")
        self.assertGreaterEqual(status, 500)
        self.assertIn("verify --repair", why)
        status, queues = self.get(address, "/v1/queues")
        self.assertEqual((status, json.loads(queues)["queues"][0]["damaged"]), (200, True))
        self.assertIn("damaged", self.beck("queue", "list").stdout)
        self.assertEqual(server.end(), DONE)
        self.repaired("__queue_state")
        server = self.start()
        address = server.address(protocol="http")
        server.wait_for("ready")
        self.assertEqual(self.get(address, "/health/ready")[0], 200)
        taken = json.loads(self.get(address, "/v1/queues/q/take?max=9", "POST")[1])["deliveries"]
        self.assertEqual([d["event"]["data"]["n"] for d in taken], [1, 2])
        server.end()

    def test_without_its_users_a_server_does_not_start(self):
        done = subprocess.run([PROGRAM, "user", "add", "ada", "--allow", "server=admin", "--password-stdin"], cwd=self.dir,
                              env=self.environment(BECK_DATA=self.data), input="secret words of ada\n", text=True, check=False,
                              capture_output=True)
        self.assertEqual(done.returncode, DONE, done.stderr)
        self.harm("__users")
        self.refused(5, says="beck verify --repair")
        self.assertEqual(self.beck("emit", "a.b", "{}").returncode, DONE)
        self.repaired("beck user list")


class Start(ServerTest):
    def test_it_listens_says_where_and_is_ready(self):
        server = self.start()
        address = server.address(protocol="http")
        server.wait_for("ready")
        self.assertEqual(self.get(address, "/health/ready")[0], 200)
        self.assertEqual(self.get(os.path.join(self.data, "beck.sock"), "/health/live")[0], 200)
        self.assertEqual(server.end(), DONE)
        self.assertEqual(server.lines[-1]["message"], "stopped")
        self.assertFalse(os.path.exists(os.path.join(self.data, "beck.sock")))

    def test_what_was_stored_is_there_after_a_restart_and_after_a_kill(self):
        for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGINT):
            server = self.start()
            address = server.address()
            self.publish(address, {"n": number})
            server.end(number)
        log = subprocess.run([PROGRAM, "log", "--data", self.data], env=self.environment(), capture_output=True, text=True, check=True)
        self.assertEqual([json.loads(line)["data"]["n"] for line in log.stdout.splitlines()],
                         [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])

    def test_a_directory_that_is_in_use_is_told_with_its_holder(self):
        server = self.start()
        server.wait_for("ready")
        self.refused(BUSY, says=str(server.process.pid))
        self.assertTrue(os.path.exists(os.path.join(self.data, "beck.sock")))
        server.end()

    def test_it_waits_for_a_directory_that_is_in_use(self):
        first = self.start()
        first.wait_for("ready")
        second = self.start("--wait", "1h")
        self.assertEqual(first.end(), DONE)
        second.wait_for("ready")
        self.assertEqual(second.end(), DONE)

    def test_an_address_in_use_is_told(self):
        server = self.start()
        host, port = server.address()
        self.refused(BUSY, "--data", "other", "--http.listen", f"{host}:{port}", says="in use by another program")
        server.end()

    def test_a_path_longer_than_the_address_of_a_socket(self):
        data = os.path.join(self.dir, *["d" * 100] * 5)
        os.makedirs(os.path.dirname(data))
        server = self.start("--data", data, "--http.listen", "")
        server.wait_for("ready")
        self.assertEqual(self.get(os.path.join(data, "beck.sock"), "/health/live")[0], 200)
        self.assertEqual(server.end(), DONE)
        self.assertFalse(os.path.exists(os.path.join(data, "beck.sock")))

    def test_without_any_address_it_says_so(self):
        server = self.start("--http.listen", "", "--http.socket", "false")
        server.wait_for("listening nowhere: http.listen is empty and http.socket is false")
        server.wait_for("ready")
        self.assertEqual(server.end(), DONE)

    def test_the_socket_of_the_data_directory_is_its_owners(self):
        server = self.start()
        server.wait_for("ready")
        self.assertEqual(os.stat(os.path.join(self.data, "beck.sock")).st_mode & 0o777, 0o600)
        server.end()

    def test_mistakes_of_the_configuration_are_all_told_and_nothing_is_made(self):
        self.write("beck.yaml", "htpp: {}\nhttp: {threads: 0}\n")
        done = subprocess.run([PROGRAM, "serve", "-c", "beck.yaml"], cwd=self.dir, env=self.environment(),
                              capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, USAGE)
        self.assertEqual(done.stderr.splitlines(), [
            "beck: beck.yaml:1:1: there is no setting 'htpp': did you mean 'http'?",
            "beck: beck.yaml:2:17: http.threads '0' is out of range: give 1 to 256",
            "beck: the configuration has 2 mistakes: nothing was done"])
        self.assertFalse(os.path.exists(self.data))

    def test_idle_it_takes_little_memory(self):
        # The variable has each piece of memory written to that was asked for, so that all of it is resident.
        server = self.start(MALLOC_PERTURB_="")
        server.wait_for("ready")
        with open(f"/proc/{server.process.pid}/maps", encoding="utf-8") as maps:
            if "san.so" in maps.read():
                self.skipTest("sanitizers take memory")
        with open(f"/proc/{server.process.pid}/status", encoding="utf-8") as status:
            resident = next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))
        self.assertLessEqual(resident, 10 * 1024)
        server.end()


class Exposure(ServerTest):
    def test_nobody_is_let_in_from_elsewhere_by_accident(self):
        self.refused(REFUSED, "--http.listen", "0.0.0.0:0", says="set access.anonymous_remote to true")
        server = self.start("--http.listen", "0.0.0.0:0", "--access.anonymous_remote", "true")
        server.wait_for("ready")
        self.assertEqual(server.end(), DONE)

    def test_with_a_user_it_may_listen_anywhere(self):
        self.write("secret", "correct horse\n")
        self.write("beck.yaml", "users:\n  ann:\n    password: file:secret\n"
                                "    rules: [{server: true, rights: [publish, read, admin]}]\naccess: {scrypt_log_n: 10}\n")
        server = self.start("-c", "beck.yaml", "--http.listen", "0.0.0.0:0", "--log.level", "debug")
        _, port = server.address(protocol="http")
        self.assertEqual(self.get(("127.0.0.1", port), "/v1/buses")[0], 401)
        ann = {"Authorization": "Basic YW5uOmNvcnJlY3QgaG9yc2U="}
        self.assertEqual(self.get(("127.0.0.1", port), "/v1/buses", headers=ann)[0], 200)
        self.assertEqual(server.end(), DONE)
        self.assertNotIn("correct horse", json.dumps(server.lines))
        self.assertIn("ann", [line.get("user") for line in server.lines])

    def test_passwords_in_plain_text_are_warned_of(self):
        self.write("beck.yaml", "users: {ann: {password: x}}\naccess: {scrypt_log_n: 10}\n")
        server = self.start("-c", "beck.yaml", BECK_HTTP_LISTEN="0.0.0.0:0")
        told = server.wait_for("passwords and tokens of users can be read on their way: use TLS, or let a proxy on this machine do so")
        self.assertEqual((told["level"], told["instead"]), ("warn", "http.tls_listen"))
        self.assertEqual(server.end(), DONE)
        self.assertEqual(len([line for line in server.lines if "instead" in line]), 1)

    def test_what_is_off_needs_no_files(self):
        limit = "ulimit -n 2000; exec \"$0\" \"$@\""
        environment = {"BECK_HTTP_CONNECTIONS_MAX": "1500"}
        for settings, off in (("http.connections_max, amqp.connections_max, kafka.connections_max", []),
                              ("http.connections_max, kafka.connections_max", ["--amqp.listen", ""]),
                              ("http.connections_max", ["--amqp.listen", "", "--kafka.listen", ""])):
            server = self.launch(["sh", "-c", limit, PROGRAM, "serve", *off], environment)
            told = server.wait_for("fewer files may be open than connections need: raise the limit (LimitNOFILE=, ulimit -n), or lower the settings")
            self.assertEqual(told["settings"], settings)
            self.assertEqual(server.end(), DONE)


class Reload(ServerTest):
    def test_what_can_be_changed_is_changed_and_the_rest_is_named(self):
        self.write("beck.yaml", "http: {threads: 2}\nlog: {level: info}\n")
        server = self.start("-c", "beck.yaml")
        address = server.address()
        self.write("beck.yaml", "http: {threads: 5}\nlog: {level: debug}\nbuses: {orders: {partitions: 3}}\n")
        server.kill(signal.SIGHUP)
        kept = server.wait_for("a changed setting needs a restart")
        self.assertEqual((kept["setting"], kept["in_force"], kept["configured"]), ("http.threads", "2", "5"))
        server.wait_for("bus made", bus="orders")
        server.wait_for("reloaded")
        self.assertEqual(len(json.loads(self.get(address, "/v1/buses/orders/partitions")[1])["partitions"]), 3)
        server.wait_for("request", level="debug", target="/v1/buses/orders/partitions", status=200)
        self.assertEqual(server.end(), DONE)

    def test_webhooks_come_and_go(self):
        self.write("beck.yaml", "")
        server = self.start("-c", "beck.yaml")
        address = server.address()
        self.assertEqual(self.get(address, "/hooks/h", "POST", "{}")[0], 404)
        self.write("beck.yaml", "hooks: {h: {provider: none, bus: b}}\n")
        server.kill(signal.SIGHUP)
        server.wait_for("reloaded")
        status, body = self.get(address, "/hooks/h", "POST", "{}", {"Content-Type": "application/json"})
        self.assertIn(status, (200, 202, 204), body)
        self.write("beck.yaml", "hooks: {h: {provider: github, bus: b, secrets: [x]}}\n")
        server.kill(signal.SIGHUP)
        server.wait_for("reloaded")
        self.assertEqual(self.get(address, "/hooks/h", "POST", "{}")[0], 401)
        self.write("beck.yaml", "")
        server.kill(signal.SIGHUP)
        server.wait_for("reloaded")
        self.assertEqual(self.get(address, "/hooks/h", "POST", "{}")[0], 404)
        self.assertEqual(server.end(), DONE)

    def test_a_mistake_changes_nothing(self):
        self.write("beck.yaml", "log: {level: info}\n")
        server = self.start("-c", "beck.yaml")
        address = server.address()
        self.write("beck.yaml", "log: {level: debug}\nhttp: {thread: 5}\n")
        server.kill(signal.SIGHUP)
        told = server.wait_for("configuration", level="error")
        self.assertEqual(told["error"], "beck.yaml:2:8: there is no setting 'http.thread': did you mean 'threads'?")
        server.wait_for("not reloaded: everything stays as it was")
        os.unlink(os.path.join(self.dir, "beck.yaml"))
        server.kill(signal.SIGHUP)
        self.assertIn("cannot be opened", server.wait_for("the configuration cannot be read")["error"])
        self.assertEqual(self.get(address, "/health/ready")[0], 200)
        self.assertEqual(server.end(), DONE)
        self.assertNotIn("request", [line["message"] for line in server.lines])

    def test_the_access_log_can_be_switched_on(self):
        self.write("beck.yaml", "http: {access_log: false}\n")
        server = self.start("-c", "beck.yaml")
        address = server.address()
        self.get(address, "/health/live")
        self.write("beck.yaml", "http: {access_log: true}\n")
        server.kill(signal.SIGHUP)
        server.wait_for("reloaded")
        self.assertNotIn("request", [line["message"] for line in server.lines])
        self.get(address, "/health/ready")
        server.wait_for("request", target="/health/ready", level="info")
        self.assertEqual(server.end(), DONE)

    def test_a_log_file_that_was_moved_away_is_made_anew(self):
        path = os.path.join(self.dir, "log")
        server = self.start("--log.file", "log", "--http.listen", "")
        self.get_when_there(os.path.join(self.data, "beck.sock"))
        with open(path, encoding="utf-8") as log:
            written = log.read()
            while '"ready"' not in written:  # the log is written by a thread of its own
                written += log.read()
        os.rename(path, path + ".1")
        status, body = self.get(os.path.join(self.data, "beck.sock"), "/v1/server/reload", "POST")
        self.assertIn(status, (200, 202, 204), body)
        self.assertEqual(server.end(), DONE)
        with open(path + ".1", encoding="utf-8") as old, open(path, encoding="utf-8") as new:
            self.assertIn('"ready"', old.read())
            self.assertIn('"stopped"', new.read())

    def get_when_there(self, path):
        """Asks until the server answers."""
        while True:
            try:
                return self.get(path, "/health/ready")
            except OSError:
                self.assertIsNone(self.running[-1].poll())

    def test_requests_reload_and_stop_it(self):
        self.write("beck.yaml", "")
        server = self.start("-c", "beck.yaml")
        address = server.address()
        self.assertIn(self.get(address, "/v1/server/reload", "POST")[0], (200, 202, 204))
        server.wait_for("reloaded")
        self.write("beck.yaml", "x: y\n")
        status, body = self.get(address, "/v1/server/reload", "POST")
        self.assertEqual((status, json.loads(body)["detail"]),
                         (400, "the configuration has 1 mistake: nothing was done"))
        self.assertIn(self.get(address, "/v1/server/stop", "POST")[0], (200, 202, 204))
        server.wait_for("stopping", cause="request")
        self.assertEqual(server.end(None), DONE)


class Drain(ServerTest):
    def half_a_request(self, address):
        """A connection whose request is under way, as the server knows."""
        peer = socket.create_connection(address)
        self.addCleanup(peer.close)
        peer.sendall(b"POST /v1/buses/events/events?create=true HTTP/1.1\r\nHost: localhost\r\nce-type: a.b\r\n"
                     b"ce-specversion: 1.0\r\nContent-Type: application/json\r\nContent-Length: 10\r\n"
                     b"Expect: 100-continue\r\n\r\n")
        self.assertIn(b"100 Continue", peer.recv(4096))
        return peer

    def test_a_request_under_way_is_answered_before_the_end(self):
        server = self.start("--server.drain_timeout", "1h")
        peer = self.half_a_request(server.address())
        server.kill(signal.SIGTERM)
        server.wait_for("stopping", cause="SIGTERM")
        peer.sendall(b'{"n": 123}')
        self.assertIn(b"HTTP/1.1 200", peer.recv(4096))
        self.assertEqual(server.end(None), DONE)
        self.assertNotIn("what was still being handled was cut off", [line["message"] for line in server.lines])

    def test_a_second_signal_ends_it_at_once(self):
        server = self.start("--server.drain_timeout", "1h")
        peer = self.half_a_request(server.address())
        server.kill(signal.SIGTERM)
        server.wait_for("stopping")
        server.kill(signal.SIGINT)
        server.wait_for("what was still being handled was cut off", cause="a second signal")
        self.assertEqual(server.end(None), DONE)

    def test_what_takes_too_long_is_cut_off(self):
        server = self.start("--server.drain_timeout", "50ms")
        peer = self.half_a_request(server.address())
        server.kill(signal.SIGTERM)
        server.wait_for("what was still being handled was cut off", cause="server.drain_timeout")
        self.assertEqual(server.end(None), DONE)

    def test_who_waits_is_answered_at_once(self):
        self.write("beck.yaml", "buses: {events: }\nqueues: {jobs: {bindings: [{bus: events}]}}\n")
        server = self.start("-c", "beck.yaml", "--server.drain_timeout", "1h")
        address = server.address()
        with socket.create_connection(address) as peer:
            peer.sendall(b"POST /v1/queues/jobs/take?wait=1m HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
            while json.loads(self.get(address, "/v1/queues/jobs")[1])["consumers"] == 0:
                pass
            server.kill(signal.SIGTERM)
            self.assertIn(b"HTTP/1.1 204", peer.recv(4096))
            self.assertEqual(server.end(None), DONE)
        self.assertNotIn("what was still being handled was cut off", [line["message"] for line in server.lines])


class Activation(ServerTest):
    def activated(self, listener, *args, names="", **environment):
        """Started as systemd does: the socket is descriptor 3."""
        return self.launch(["sh", "-c", 'export LISTEN_PID=$$; exec "$0" "$@"', PROGRAM, "serve", *args],
                           {"LISTEN_FDS": "1", "LISTEN_FDNAMES": names, **environment},
                           preexec_fn=lambda: os.set_inheritable(os.dup2(listener.fileno(), 3), True), close_fds=False)

    def test_a_socket_that_was_handed_over_is_served(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = listener.getsockname()
            server = self.activated(listener)
            self.assertEqual(server.address(protocol="http"), address)
            server.wait_for("ready")
            self.assertEqual(self.get(address, "/health/live")[0], 200)
            self.assertEqual(server.end(), DONE)
            self.assertEqual(len([line for line in server.lines if "address" in line and line["message"] == "listening" and line["protocol"] == "http"]), 1)

    def test_a_unix_socket_may_be_handed_over(self):
        path = os.path.join(self.dir, "handed.sock")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            server = self.activated(listener)
            server.wait_for("listening", socket=path)
            self.assertEqual(self.get(path, "/health/live")[0], 200)
            self.assertEqual(server.end(), DONE)

    def test_what_is_no_listening_socket_is_refused(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            server = self.activated(other)
            self.assertEqual(server.end(None), USAGE)
            self.assertIn("descriptor 3 of LISTEN_FDS is no listening stream socket", server.lines[-1]["message"])

    def test_a_socket_for_tls_needs_a_certificate(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            server = self.activated(listener, names="https")
            self.assertEqual(server.end(None), USAGE)
            self.assertIn("give http.tls_certificate and http.tls_key", server.lines[-1]["message"])

    def test_sockets_for_another_process_are_left_alone(self):
        server = self.start(LISTEN_FDS="1", LISTEN_PID="1")
        self.assertEqual(self.get(server.address(), "/health/live")[0], 200)
        self.assertEqual(server.end(), DONE)


class Notify(ServerTest):
    def check(self, listener, name):
        self.write("beck.yaml", "")
        server = self.start("-c", "beck.yaml", NOTIFY_SOCKET=name)
        state = listener.recv(4096).decode().splitlines()
        self.assertEqual(state[0], "READY=1")
        self.assertRegex(state[1], r"^STATUS=serving on 127\.0\.0\.1:\d+$")
        server.kill(signal.SIGHUP)
        state = listener.recv(4096).decode().splitlines()
        self.assertEqual(state[0], "RELOADING=1")
        self.assertRegex(state[1], r"^MONOTONIC_USEC=\d+$")
        self.assertEqual(listener.recv(4096), b"READY=1")
        server.kill(signal.SIGTERM)
        self.assertEqual(listener.recv(4096).decode().splitlines()[0], "STOPPING=1")
        self.assertEqual(server.end(None), DONE)

    def test_the_manager_is_told_by_a_path(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.bind(os.path.join(self.dir, "notify"))
            self.check(listener, os.path.join(self.dir, "notify"))

    def test_the_manager_is_told_by_an_abstract_name(self):
        name = f"beck-test-{os.getpid()}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.bind("\0" + name)
            self.check(listener, "@" + name)

    def test_nobody_there_is_no_fault(self):
        for name in ("/nowhere/at/all", "relative", "/" + "x" * 200):
            server = self.start(NOTIFY_SOCKET=name)
            server.wait_for("ready")
            self.assertEqual(server.end(), DONE)


class Declared(ServerTest):
    FIRST = ("buses: {orders: {partitions: 2, retention: 1h}}\n"
             "queues: {billing: {attempts: 3, bindings: [{bus: orders, pattern: 'a.*'}]}}\n")

    def test_what_is_missing_is_made_once(self):
        self.write("beck.yaml", self.FIRST)
        for made in (["bus made", "queue made"], []):
            server = self.start("-c", "beck.yaml")
            address = server.address()
            self.assertEqual([line["message"] for line in server.lines if "made" in line["message"]], made)
            queue = json.loads(self.get(address, "/v1/queues/billing")[1])
            self.assertEqual((queue["options"]["attempts_max"], queue["bindings"]), (3, 1))
            self.assertEqual(server.end(), DONE)

    def options(self, address, of):
        return json.loads(self.get(address, f"/v1/{of}")[1])["options"]

    def test_what_differs_is_changed_and_what_is_not_named_may_differ(self):
        self.write("beck.yaml", self.FIRST)
        server = self.start("-c", "beck.yaml")
        address = server.address()
        changed = {**self.options(address, "buses/orders"), "retention_ms": 5000, "partitions": 3}
        status, body = self.get(address, "/v1/buses/orders/options", "PUT", json.dumps(changed), {"Content-Type": "application/json"})
        self.assertEqual(status, 200, body)
        self.assertEqual(server.end(), DONE)
        self.write("beck.yaml", "buses: {orders: {retention: 90d}}\nqueues: {billing: }\n")
        server = self.start("-c", "beck.yaml")
        self.assertEqual(server.wait_for("bus changed", bus="orders")["what"], "retention from 5s to 90d")
        address = server.address()
        self.assertEqual(self.options(address, "buses/orders")["partitions"], 3)
        self.write("beck.yaml", "buses: {orders: {retention: 90d, partitions: 4}}\nqueues: {billing: {attempts: 4, deadline: 0}}\n")
        server.kill(signal.SIGHUP)
        self.assertEqual(server.wait_for("bus changed")["what"], "partitions from 3 to 4")
        self.assertEqual(server.wait_for("queue changed", queue="billing")["what"], "attempts from 3 to 4, deadline from 30s to 0s")
        server.wait_for("reloaded")
        self.assertEqual(self.options(address, "queues/billing")["attempts_max"], 4)
        server.kill(signal.SIGHUP)
        server.wait_for("reloaded")
        self.assertEqual(server.end(), DONE)
        self.assertEqual(len([line for line in server.lines if "changed" in line["message"]]), 3)

    def test_what_cannot_be_changed_is_told_and_nothing_is_made(self):
        self.write("beck.yaml", self.FIRST)
        server = self.start("-c", "beck.yaml")
        server.wait_for("ready")
        wrong = ("buses: {new: {}, orders: {partitions: 1, retention: 2h}, other: {}}\n"
                 "queues: {billing: {priorities: 3, attempts: 5}, more: {bindings: [{bus: new}]}}\nlog: {level: warn}\n")
        self.write("beck.yaml", wrong)
        server.kill(signal.SIGHUP)
        server.wait_for("not reloaded: everything but users stays as it was")
        self.assertEqual(server.end(), DONE)
        restarted = self.start("-c", "beck.yaml")
        self.assertEqual(restarted.end(None), EXISTS)
        for ended in (server, restarted):
            self.assertEqual([line["error"] for line in ended.lines if "error" in line][:2],
                             ["it exists and has 2 partitions, which can become more, not fewer: say so in the configuration, or "
                              "take the line out",
                              "it exists, and priorities stays 0: say so in the configuration, or take the line out"])
        self.assertIn("stopped", [line["message"] for line in server.lines])  # at level info, as before
        self.assertIn("bus 'orders': it exists and has 2 partitions", restarted.lines[-1]["message"])
        self.write("beck.yaml", "")
        server = self.start("-c", "beck.yaml")
        address = server.address()
        for missing in ("buses/new", "buses/other", "queues/more"):
            self.assertEqual(self.get(address, f"/v1/{missing}")[0], 404)
        self.assertEqual(self.options(address, "queues/billing")["attempts_max"], 3)
        self.assertEqual(self.options(address, "buses/orders")["retention_ms"], 3600000)
        self.assertEqual(server.end(), DONE)

    def test_a_binding_that_is_not_declared_stays_and_is_told(self):
        self.write("beck.yaml", self.FIRST)
        server = self.start("-c", "beck.yaml")
        address = server.address()
        self.write("beck.yaml", self.FIRST.replace("a.*", "b.*"))
        server.kill(signal.SIGHUP)
        server.wait_for("a queue has a binding that is not declared, which stays: beck queue unbind ends it",
                        queue="billing", bus="orders", pattern="a.*")
        self.assertEqual(json.loads(self.get(address, "/v1/queues/billing")[1])["bindings"], 2)
        self.assertEqual(server.end(), DONE)

    def test_a_bus_of_a_webhook_can_feed_a_queue(self):
        self.write("beck.yaml", "hooks: {h: {provider: github, bus: came, secrets: [x]}}\nqueues: {work: {bindings: [{bus: came}]}}\n")
        server = self.start("-c", "beck.yaml")
        server.wait_for("ready")
        self.assertEqual(server.end(), DONE)

    def login(self, address, name, password):
        token = base64.b64encode(f"{name}:{password}".encode()).decode()
        return [self.get(address, path, headers={"Authorization": f"Basic {token}"})[0] for path in ("/v1/buses/orders", "/v1/users")]

    def test_users_become_what_is_declared(self):
        users = "buses: {orders: }\naccess: {scrypt_log_n: 10}\nusers:\n"
        admin = "  root: {password: r, rules: [{server: true, rights: [admin, read]}]}\n"
        first = "  ann: {password: one, rules: [{bus: orders, rights: [read]}]}\n"
        self.write("beck.yaml", users + admin + first)
        server = self.start("-c", "beck.yaml")
        address = server.address()
        self.assertEqual(self.login(address, "ann", "one"), [200, 403])
        self.write("beck.yaml", users + admin + first.replace("one", "two"))
        server.kill(signal.SIGHUP)
        server.wait_for("user changed", user="ann", what="password")
        self.assertEqual(self.login(address, "ann", "one"), [401, 401])
        self.assertEqual(self.login(address, "ann", "two"), [200, 403])
        self.assertEqual(server.end(), DONE)
        self.write("beck.yaml", users + admin + "  ann: {password: two, rules: [{server: true, rights: [read, admin]}]}\n")
        server = self.start("-c", "beck.yaml")
        server.wait_for("user changed", user="ann", what="rights")
        address = server.address()
        self.assertEqual(self.login(address, "ann", "two"), [200, 200])
        self.write("beck.yaml", users + admin)
        server.kill(signal.SIGHUP)
        server.wait_for("a user is not declared any more, and stays: beck user delete ends that", user="ann")
        server.wait_for("reloaded")
        self.assertEqual(self.login(address, "ann", "two"), [200, 200])
        self.assertEqual(server.end(), DONE)

    def test_users_change_although_a_bus_cannot(self):
        users = "access: {scrypt_log_n: 10}\nusers:\n  ann: {password: PASSWORD, rules: [{bus: BUS, rights: [read]}]}\n"
        first = users.replace("PASSWORD", "one").replace("BUS", "orders")
        self.write("beck.yaml", "buses: {orders: {partitions: 2}}\n" + first)
        server = self.start("-c", "beck.yaml")
        address = server.address()
        self.assertEqual(self.login(address, "ann", "one"), [200, 403])
        second = users.replace("PASSWORD", "two").replace("BUS", "other")
        self.write("beck.yaml", "buses: {orders: {partitions: 1}}\n" + second)
        server.kill(signal.SIGHUP)
        server.wait_for("user changed", user="ann", what="password, rights")
        server.wait_for("not reloaded: everything but users stays as it was")
        self.assertEqual(self.login(address, "ann", "one"), [401, 401])
        self.assertEqual(self.login(address, "ann", "two"), [403, 403])
        self.assertEqual(server.end(), DONE)

    def test_what_is_in_memory_without_the_file_saying_so(self):
        first = "buses: {m: {storage: memory}}\nqueues: {q: {storage: memory, bindings: [{bus: m}]}}\n"
        self.write("beck.yaml", first)
        server = self.start("-c", "beck.yaml")
        address = server.address()
        self.write("beck.yaml", "buses: {m: {storage: memory}}\nqueues: {q: {bindings: [{bus: m, pattern: 'a.*'}]}}\n")
        server.kill(signal.SIGHUP)
        server.wait_for("reloaded")
        self.write("beck.yaml", "buses: {m: , other: }\nqueues: {q: {bindings: [{bus: m}]}, late: {bindings: [{bus: m}]}}\n")
        server.kill(signal.SIGHUP)
        self.assertIn("it is on disk and cannot be bound to bus 'm'",
                      server.wait_for("what the configuration declares cannot be had", queue="late")["error"])
        server.wait_for("not reloaded: everything but users stays as it was")
        for missing in ("buses/other", "queues/late"):
            self.assertEqual(self.get(address, f"/v1/{missing}")[0], 404)
        self.assertEqual(server.end(), DONE)

    def test_a_bus_that_a_binding_needs_must_be_there(self):
        self.write("beck.yaml", "queues: {billing: {bindings: [{bus: nowhere}]}}\n")
        server = self.start("-c", "beck.yaml")
        self.assertNotEqual(server.end(None), DONE)
        self.assertIn("nowhere", server.lines[-1]["message"])


class Tls(ServerTest):
    def certificate(self, name):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                        "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-keyout", "key.pem", "-out", "cert.pem"],
                       cwd=self.dir, check=True, capture_output=True)

    def name_of(self, address):
        """Whose certificate is served: the handshake succeeds only for that name."""
        context = ssl.create_default_context(cafile=os.path.join(self.dir, "cert.pem"))
        for name in ("first", "second"):
            try:
                with socket.create_connection(address) as raw, context.wrap_socket(raw, server_hostname=name) as secure:
                    secure.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    self.assertIn(b"200 OK", secure.recv(4096))
                    return name
            except ssl.SSLError:
                pass
        return None

    def test_certificates_are_served_and_read_again(self):
        self.certificate("first")
        server = self.start("--http.tls_listen", "127.0.0.1:0", "--http.tls_certificate", "cert.pem", "--http.tls_key", "key.pem")
        address = server.address(protocol="https")
        self.assertEqual(self.name_of(address), "first")
        self.certificate("second")
        server.kill(signal.SIGHUP)
        server.wait_for("reloaded")
        self.assertEqual(self.name_of(address), "second")
        self.write("key.pem", "no key at all")
        server.kill(signal.SIGHUP)
        server.wait_for("the certificate goes on as before", level="error")
        server.wait_for("reloaded with errors: what is wrong stays as it was")
        self.assertEqual(self.name_of(address), "second")
        self.assertEqual(server.end(), DONE)


if __name__ == "__main__":
    main()
