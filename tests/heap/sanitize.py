"""A program: the heap's own tests with the extensions under AddressSanitizer and
UndefinedBehaviorSanitizer.

    python -m tests.heap.sanitize [PYTEST ARGUMENT ...]

The package and its tests are copied to a temporary directory, the extensions are built there with
the sanitizers (the fault injector of the tests too), and the tests are run by the same interpreter.
With ``PYTHONMALLOC=malloc`` every object is a block that AddressSanitizer knows, so a walk that
looks at freed memory, or past the end of an object, ends the process. The tests of the clock run
once more on the interpreter's own allocator, since that is what the clock stands on in production.
Leaks are not checked: an interpreter keeps many objects until its end.

Linux, gcc. The exit status is 0 if everything passed.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
COPIED = ("actorkit", "tests", "bench", "pyproject.toml")
EXTENSIONS = ("_walk", "_clock")
FLAGS = (
    "-O1",
    "-g",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=undefined",
    "-fno-omit-frame-pointer",
)
LIBRARIES = ("libasan.so", "libubsan.so")

# By allocator. The sanitizer's malloc has other block sizes than the truth tests compare with, and
# it keeps freed blocks for a while, which the tests of leaks would see. The doctor limits the
# address space of what it starts, and the sanitizer's shadow needs more than there is.
RUNS = {
    "malloc": (
        "tests/heap",
        "--ignore=tests/heap/test_truth.py",
        "--ignore=tests/heap/test_leaks.py",
        "--ignore=tests/heap/test_doctor.py",
    ),
    "default": (
        "tests/heap/test_clock.py",
        "tests/heap/test_clock_layers.py",
        "tests/heap/test_collect_own.py",
        "tests/heap/test_guards.py",
        "tests/heap/test_live_bytes.py",
        "tests/heap/test_slabs.py",
        "tests/fault_injector/test_refusal.py",
    ),
}

IN_FORCE = """
import ctypes
from actorkit.heap.c import _clock, _walk
from tests.fault_injector import build
for path in (_walk.__file__, _clock.__file__, str(build.built())):
    assert path.startswith(TREE), f"{path} was loaded, which is not the one with the sanitizers"
    assert b"__asan_init" in open(path, "rb").read(), f"{path} was built without AddressSanitizer"
ctypes.CDLL(None).__asan_init
"""


def compiler() -> list[str]:
    return shlex.split(sysconfig.get_config_var("CC") or "cc")


def build(tree: Path) -> None:
    """Build the extensions in place, in a copy of the sources."""
    heap = tree / "actorkit" / "heap" / "c"
    for name in EXTENSIONS:
        target = heap / f"{name}{sysconfig.get_config_var('EXT_SUFFIX')}"
        include = f"-I{sysconfig.get_paths()['include']}"
        flags = ("-shared", "-fPIC", *FLAGS, include)
        subprocess.run([*compiler(), *flags, str(heap / f"{name}.c"), "-o", str(target)], check=True)


def environment(tree: Path, allocator: str) -> dict[str, str]:
    found = [
        subprocess.run([*compiler(), f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout
        for name in LIBRARIES
    ]
    return dict(
        os.environ,
        LD_PRELOAD=":".join(path.strip() for path in found),
        ASAN_OPTIONS="detect_leaks=0:abort_on_error=1:allocator_may_return_null=1",
        UBSAN_OPTIONS="print_stacktrace=1:abort_on_error=1",
        CFLAGS=shlex.join(FLAGS),
        PYTHONMALLOC=allocator,
        PYTHONPATH=str(tree),
    )


def main(arguments: list[str]) -> int:
    failed = 0
    with tempfile.TemporaryDirectory() as directory:
        tree = Path(directory)
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
            else:
                shutil.copy(ROOT / name, tree)
        build(tree)
        for allocator, tests in RUNS.items():
            variables = environment(tree, allocator)
            check = IN_FORCE.replace("TREE", repr(directory))
            subprocess.run([sys.executable, "-c", check], cwd=tree, env=variables, check=True)
            command = [
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-p",
                "no:cacheprovider",
                "--timeout=900",
                *tests,
                *arguments,
            ]
            status = subprocess.run(command, cwd=tree, env=variables, check=False).returncode
            print(f"{sys.version.split()[0]}, PYTHONMALLOC={allocator}: exit status {status}", flush=True)
            failed |= status
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
