"""All cells: ``python -m tests.promises [--here] [pattern …]``, some 20 minutes.

They are run with the extension and without it, each in a process of its own; with ``--here`` in
this one only. Patterns such as ``kept-*-tree-plain`` choose cells by their names. The last line
sums up.
"""

from __future__ import annotations

import fnmatch
import logging
import os
import subprocess
import sys
from collections import Counter

import trio
from trio.testing import MockClock

from actorkit.runtime.budgets.searching import PACING
from tests.promises.cells import all_cells, run, why_not


def leaf(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def run_here(patterns: list[str]) -> int:
    """Run the cells in this process. Returns how many promises were not kept."""
    logging.disable(logging.CRITICAL)
    sys.unraisablehook = lambda _: None  # of finalisers that were stopped
    PACING.now = lambda: 0  # as in tests/conftest.py: searches take no time
    counts: Counter[str] = Counter()
    for cell in all_cells():
        if patterns and not any(fnmatch.fnmatch(cell.name, pattern) for pattern in patterns):
            continue
        if why_not(cell) is not None:
            counts["do not apply"] += 1
            continue
        try:
            trio.run(run, cell, clock=MockClock())
        except Exception as error:
            counts["BROKEN"] += 1
            print(f"{cell.name}: {type(leaf(error)).__name__} {leaf(error)}".replace("\n", " ")[:300], flush=True)
        else:
            counts["kept"] += 1
    print(", ".join(f"{number} {what}" for what, number in sorted(counts.items())))
    return counts["BROKEN"]


def main(arguments: list[str]) -> int:
    if "--here" in arguments:
        return 1 if run_here([each for each in arguments if each != "--here"]) else 0
    command = [sys.executable, "-m", "tests.promises", "--here", *arguments]
    lines = []
    bad = False
    for mode, environ in (("with the extension", {}), ("without it", {"ACTORKIT_PURE": "1"})):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environ})
        assert process.stdout is not None
        line = ""
        for line in process.stdout:
            print(line, end="", flush=True)
        bad |= process.wait() != 0
        lines.append(f"{mode}: {line.strip()}")
    print("promises: " + "; ".join(lines))
    return int(bad)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
