#!/usr/bin/env python3
"""Runs one suite of AMQP clients, as it comes, against `beck serve` on an empty directory, at the usual ports of a network of its own.

usage: run_suite.py SUITE PROGRAM FETCHED [WORD]
SUITE: behaviour, amqplib, amqp091-go, amqp-tools, celery, bunny, orders, lasting or model. PROGRAM: beck, or `rabbitmq` for the oracle.
FETCHED: the folder in which tools/fetch_amqp_*.sh have put amqp-python, amqp-node, amqp-go and amqp-debian.
What is left out of a suite stands in exclusions/SUITE.txt, as `test: reason`; what is a race by itself in exclusions/SUITE.races.txt. Exits with 77 when what the suite needs is missing.
"""
import contextlib
import glob
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "support"))
import suite as suites  # pylint: disable=wrong-import-position

PORT, MANAGEMENT_PORT = 5672, 15672
TRIES = 20


@contextlib.contextmanager
def broker(program):
    if program != "rabbitmq":
        with suites.beck(program) as server:
            yield server
        return
    import rabbitmq  # pylint: disable=import-outside-toplevel
    try:
        with rabbitmq.rabbitmq(PORT, MANAGEMENT_PORT, address=None) as server:
            yield server
    except rabbitmq.NotInstalled as why:
        suites.missing(why)


# --- the suites: each gives the command, its folder and what is added to the environment


def python_world(fetched):
    return {"PYTHONPATH": suites.need(fetched, "amqp-python", "python"), "PYTHONDONTWRITEBYTECODE": "1"}


def debian_world(fetched):
    root = suites.need(fetched, "amqp-debian", "root")
    libraries = glob.glob(f"{root}/usr/lib/*-linux-gnu")
    return root, {"PATH": f"{root}/usr/bin:{os.environ['PATH']}", "LD_LIBRARY_PATH": ":".join(libraries),
                  "C_INCLUDE_PATH": f"{root}/usr/include", "LIBRARY_PATH": ":".join(libraries)}


def behaviour(fetched, oracle, word):
    command = [sys.executable, os.path.join(HERE, "behaviour.py"), "--port", str(PORT), "--management-port", str(MANAGEMENT_PORT)]
    lists = [os.path.join(HERE, "differences.md")] if oracle else [os.path.join(HERE, "exclusions", "behaviour.txt")]
    for path in lists:
        command += ["--skip", path] if os.path.exists(path) else []
    return command + (["--only", word] if word else []), HERE, python_world(fetched)


def amqplib(fetched, oracle, word):
    folder = suites.need(fetched, "amqp-node", "package")
    left_out = [] if oracle else suites.exclusions(HERE, "amqplib")
    grep = ["--grep", "|".join(f"^{re.escape(name)}$" for name in left_out), "--invert"] if left_out else []
    grep = ["--grep", word] if word else grep
    return [suites.command_of("node"), "../node_modules/mocha/bin/mocha", "--check-leaks", "-u", "tdd", "--exit", "--timeout", "120000", *grep, "test/"], folder, {}


def amqp091_go(fetched, oracle, word):
    program = suites.need(fetched, "amqp-go", "amqp091.test")
    left_out = ([] if oracle else suites.exclusions(HERE, "amqp091-go")) + suites.listed(HERE, "amqp091-go.races.txt")
    skip = ["-test.skip", "|".join(f"^{name}$" for name in left_out)] if left_out else []
    return [program, "-test.v", "-test.timeout", "25m", *skip, *(["-test.run", word] if word else [])], os.path.dirname(program), {
        "AMQP_URL": f"amqp://guest:guest@127.0.0.1:{PORT}/"}


def amqp_tools(fetched, _oracle, _word):
    _, world = debian_world(fetched)
    return ["sh", os.path.join(HERE, "amqp_tools.sh")], HERE, world


def celery(fetched, _oracle, _word):
    return [sys.executable, os.path.join(HERE, "celery_suite.py")], HERE, python_world(fetched)


def bunny(fetched, _oracle, _word):
    root, _ = debian_world(fetched)
    folders = glob.glob(f"{root}/usr/share/rubygems-integration/*/gems/*/lib") + glob.glob(f"{root}/usr/lib/ruby/vendor_ruby") + glob.glob(
        f"{root}/usr/lib/*/rubygems-integration/*/gems/*/lib") + glob.glob(f"{root}/usr/lib/*/rubygems-integration/*/extensions/*/*/*")
    return [suites.command_of("ruby"), "-W0", *(part for folder in folders for part in ("-I", folder)), os.path.join(HERE, "bunny_suite.rb")], HERE, {}


def orders(fetched, _oracle, _word):
    suites.command_of("cc")
    root, world = debian_world(fetched)
    packages = glob.glob(f"{root}/usr/lib/*/pkgconfig")
    modules = suites.need(fetched, "amqp-node", "node_modules")
    return [os.path.join(ROOT, "examples", "orders-amqp", "run")], HERE, {
        **world, **python_world(fetched), "NODE_PATH": modules, "PKG_CONFIG_PATH": ":".join(packages), "PYTHON": sys.executable}


def lasting(fetched, oracle, word):
    if oracle:
        suites.missing("it is about beck")
    return [sys.executable, os.path.join(HERE, "lasting_suite.py"), os.path.abspath(sys.argv[2]), *([word] if word else [])], HERE, python_world(
        fetched)


def model(fetched, oracle, word):
    command, folder, world = lasting(fetched, oracle, None)
    command[1:] = [os.path.join(HERE, "model_suite.py"), command[2], word or "1", "800"]
    return command, folder, world


SUITES = {"behaviour": behaviour, "amqplib": amqplib, "amqp091-go": amqp091_go, "amqp-tools": amqp_tools, "celery": celery, "bunny": bunny,
          "orders": orders, "lasting": lasting,
          "model": model}
OWN_SERVERS = {"lasting", "model"}  # suites that start and end their servers themselves


def run_races(suite, command, folder, environment):
    """Tests that are races by themselves: each has passed once it did in one of some tries."""
    code = 0
    for name in suites.listed(HERE, f"{suite}.races.txt"):
        alone = [command[0], "-test.v", "-test.run", f"^{name}$"]
        passed = any(subprocess.run(alone, cwd=folder, env=environment, check=False).returncode == 0 for _ in range(TRIES))
        print(f"{'passed' if passed else 'FAILED'} in one of {TRIES} tries: {name}", flush=True)
        code = code if passed else 1
    return code


def main():
    if len(sys.argv) not in (4, 5) or sys.argv[1] not in SUITES:
        sys.exit(__doc__)
    suite, program, fetched = sys.argv[1:4]
    word = sys.argv[4] if len(sys.argv) > 4 else None
    os.environ.pop("http_proxy", None)
    command, folder, world = SUITES[suite](os.path.abspath(fetched), program == "rabbitmq", word)
    kept = None if suites.own_network() else suites.usual_ports("amqp", (PORT, MANAGEMENT_PORT))
    sys.stdout.flush()
    with contextlib.nullcontext() if suite in OWN_SERVERS else broker(program) as server:
        code = subprocess.run(command, cwd=folder, env={**os.environ, **world}, check=False).returncode
        if not word:
            code = run_races(suite, command, folder, {**os.environ, **world}) or code
    if kept:
        kept.close()
    sys.exit(1 if getattr(server, "fault", False) else code)


if __name__ == "__main__":
    main()
