"""The tools under which actorkit works: allocators, debuggers, profilers, tracers, interpreter
options.

``python -m tests.prove.tools [NAME …]``: each combination runs ``tools_program`` in a process of
its own, with and without the C extensions, and is right, wrong, or not available here. The last
line sums up.
"""

from __future__ import annotations

import os
import subprocess
import sys
from ctypes.util import find_library
from importlib.util import find_spec
from pathlib import Path

import attrs

from tests.prove.tools_program import TOOLS

ROOT = Path(__file__).parent.parent.parent
PROGRAM = "tests.prove.tools_program"
SECONDS = 600
"""Seconds after which a combination counts as hung."""


@attrs.frozen
class Combination:
    """How the program is run."""

    name: str
    options: tuple[str, ...] = ()
    """Options for the interpreter."""
    module: tuple[str, ...] = (PROGRAM,)
    """What ``-m`` runs; the program comes last."""
    tools: str = ""
    """Tools put in force within the process."""
    environ: dict[str, str] = attrs.field(factory=dict)
    missing: str = ""
    """Why the combination cannot be tried here."""


def preloaded(library: str) -> Combination:
    """Another malloc for the whole process."""
    found = find_library(library)
    why = "" if found else f"lib{library} is not installed"
    environ = {"LD_PRELOAD": found or "", "PYTHONMALLOC": "malloc"}
    return Combination(f"malloc: {library}", environ=environ, missing=why)


def needs(module: str) -> str:
    return "" if find_spec(module) else f"{module} is not installed"


def since(*version: int) -> str:
    return "" if sys.version_info >= version else f"needs Python {'.'.join(map(str, version))}"


def combinations() -> list[Combination]:
    """All combinations that are tried, each once with the extensions and once without."""
    found = [Combination("plain")]
    for allocator in ("pymalloc", "malloc", "debug", "malloc_debug", "pymalloc_debug"):
        found.append(Combination(f"PYTHONMALLOC={allocator}", environ={"PYTHONMALLOC": allocator}))
    found += [preloaded(library) for library in ("jemalloc", "tcmalloc_minimal", "mimalloc")]
    found.append(Combination("one malloc arena", environ={"MALLOC_ARENA_MAX": "1", "PYTHONMALLOC": "malloc"}))
    found.append(Combination("malloc fills", environ={"MALLOC_PERTURB_": "165", "PYTHONMALLOC": "malloc"}))

    for options in (
        ("-X", "dev"), ("-O",), ("-OO",), ("-W", "error"), ("-bb",), ("-u",), ("-P",), ("-B",),
        ("-X", "tracemalloc=10"), ("-X", "faulthandler"), ("-X", "no_debug_ranges"), ("-X", "utf8"),
        ("-X", "frozen_modules=off"), ("-X", "importtime"), ("-X", "dev", "-W", "error", "-bb"),
    ):  # fmt: skip
        found.append(Combination(" ".join(options), options))
    found.append(Combination("-X perf", ("-X", "perf"), missing=since(3, 12)))
    found.append(Combination("-R, hashes vary", environ={"PYTHONHASHSEED": "random"}))

    for tool in TOOLS:
        missing = since(3, 12) if tool == "monitoring" else ""
        found.append(Combination(f"inside: {tool}", tools=tool, missing=missing))
    for pair in ("tracemalloc+settrace", "cprofile+switches", "sigprof+settrace", "gc-at-once+tracemalloc"):
        found.append(Combination(f"inside: {pair}", tools=pair))
    found.append(Combination("-X dev, pdb", ("-X", "dev"), tools="pdb"))
    found.append(Combination("debug, tracemalloc", tools="tracemalloc", environ={"PYTHONMALLOC": "debug"}))

    found.append(Combination("python -m cProfile", module=("cProfile", "-o", os.devnull, "-m", PROGRAM)))
    found.append(Combination("python -m profile", module=("profile", "-o", os.devnull, "-m", PROGRAM)))
    found.append(Combination("python -m pdb", module=("pdb", "-c", "continue", "-m", PROGRAM)))
    listing = ("trace", "--count", "--summary", "--missing", "-C", os.devnull, "--module", PROGRAM)
    found.append(Combination("python -m trace", module=listing))
    for options in ((), ("--branch",), ("--concurrency=thread", "--timid")):
        module = ("coverage", "run", "--data-file", os.devnull, *options, "-m", PROGRAM)
        name = " ".join(("coverage", *options))
        found.append(Combination(name, module=module, missing=needs("coverage")))
    return found


SAMPLE = ("PYTHONMALLOC=malloc_debug", "inside: pdb", "-X dev -W error -bb")
"""The combinations that ``make test`` tries."""


def tried(combination: Combination, *, pure: bool = False) -> str:
    """The empty string if the combination is right, otherwise what it said."""
    environ = {name: value for name, value in os.environ.items() if name != "ACTORKIT_PURE"}
    environ |= {"PYTHONPATH": str(ROOT)} | combination.environ | ({"ACTORKIT_PURE": "1"} if pure else {})
    command = [sys.executable, *combination.options, "-m", *combination.module]
    if combination.tools:
        command.append(combination.tools)
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"hangs, or takes more than {SECONDS} s"
    if "right" in done.stdout.splitlines() and done.returncode == 0:
        return ""
    lines = [*done.stdout.splitlines()[-3:], *done.stderr.splitlines()[-3:]]
    return f"exit status {done.returncode}: {' | '.join(lines)[-500:]}"


def main(names: list[str]) -> int:
    counts = {"right": 0, "wrong": 0, "not available": 0}
    chosen = [each for each in combinations() if not names or each.name in names]
    for combination in chosen:
        for pure in (False, True):
            label = f"{combination.name}{', pure' if pure else ''}"
            said = "" if combination.missing else tried(combination, pure=pure)
            verdict = "not available" if combination.missing else "wrong" if said else "right"
            counts[verdict] += 1
            print(f"{verdict:<14} {label:<44} {combination.missing or said}", flush=True)
    print("tools: " + ", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    return 1 if counts["wrong"] or not chosen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
