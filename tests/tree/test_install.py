#!/usr/bin/env -S python3 -B
"""Installs into a directory of its own and uses what is there as somebody else would: programs in C and C++ that find the library
through pkg-config, shared and static.

usage: test_install.py BUILD_DIR C_COMPILER [CXX_COMPILER]
"""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent


def run(command, **more):
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **more)
    if result.returncode:
        sys.exit(f"{' '.join(map(str, command))}: exit status {result.returncode}\n{result.stdout}")
    return result.stdout


def one(root, pattern):
    found = sorted(root.rglob(pattern))
    if not found:
        sys.exit(f"'{pattern}' is not installed")
    return found[0]


def flags(root, *options):
    env = dict(os.environ, PKG_CONFIG_SYSROOT_DIR=str(root))
    env["PKG_CONFIG_PATH"] = str(one(root, "beck.pc").parent)
    return run(["pkg-config", *options, "beck"], env=env).split()


def try_program(root, scratch, compiler, language, static):
    program = scratch / "program"
    libraries = flags(root, "--static", "--libs") if static else flags(root, "--libs")
    run([*compiler, "-Wall", "-Wextra", "-Werror", *(["-std=c17"] if language == "c" else []), *flags(root, "--cflags"), "-x", language,
         str(HERE / "program.c"), "-x", "none", "-o", str(program), *libraries])
    needed = "libbeck.so" in run(["readelf", "-d", str(program)])
    if needed == static:
        sys.exit(f"{language}: the {'static' if static else 'shared'} library was asked for and not taken")
    env = dict(os.environ)
    if not static:
        env["LD_LIBRARY_PATH"] = str(one(root, "libbeck.so").parent)
    run([str(program)], env=env)


def main():
    build, compilers = sys.argv[1], {"c": sys.argv[2].split()}
    if len(sys.argv) > 3:
        compilers["c++"] = sys.argv[3].split()
    with tempfile.TemporaryDirectory() as folder:
        scratch = pathlib.Path(folder)
        root = scratch / "root"
        run(["meson", "install", "-C", build, "--no-rebuild", "--destdir", str(root)])
        one(root, "include/beck.h")
        env = dict(os.environ, LD_LIBRARY_PATH=str(one(root, "libbeck.so").parent))
        run([str(one(root, "bin/beck")), "--help"], env=env)
        for language, compiler in compilers.items():
            try_program(root, scratch, compiler, language, static=False)
        # The linker prefers a shared library: the static one alone is what is left.
        for path in root.rglob("libbeck.so*"):
            path.unlink()
        for language, compiler in compilers.items():
            try_program(root, scratch, compiler, language, static=True)
        shutil.rmtree(root)
    return 0


if __name__ == "__main__":
    sys.exit(main())
