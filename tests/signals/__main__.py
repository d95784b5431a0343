"""``python -m tests.signals``: the table of signals, run.

Every spot with every script that fits it, in some of the arrangements (nodes one, nested and side
by side, or with a governor; the host in the main task or another, with a nursery around or not;
KeyboardInterrupt caught or not): in four of them, in turn.

* ``--all``: in each of them; ``--quick``: in one.
* ``--part``: what ``make test`` runs.
* ``--only "TERM, INT: loop"``: those whose names have these words.
* ``--hang 10``: a program counts as hung after 10 seconds rather than 60.
* ``--verbose``: what those that are wrong have said.
* ``--markdown``: the table for docs/reliability.md.
"""

from __future__ import annotations

import sys
import time
from collections import Counter

# Everything that a program imports, before the forks.
from tests.ctrl_c import as_in_a_terminal
from tests.signals import driver, programs
from tests.signals.cases import ARRANGEMENTS, PART, SCRIPTS, Case, Ending, cases
from tests.signals.driver import InChild, fork, run

AT_ONCE = 8


def main(words: list[str]) -> int:
    each = len(ARRANGEMENTS) if "--all" in words else 1 if "--quick" in words else 4
    only = words[words.index("--only") + 1] if "--only" in words else ""
    if "--hang" in words:
        driver.HANG = float(words[words.index("--hang") + 1])
    as_in_a_terminal()
    table = [case for case in (PART if "--part" in words else cases(each)) if only in str(case)]
    begun = time.monotonic()
    bad: list[tuple[Case, Ending, list[str]]] = []
    counts: Counter[tuple[str, str, bool]] = Counter()
    for case, ending, wrong in run(table, fork, AT_ONCE):
        counts[case.script.name, case.runner, not wrong] += 1
        if wrong:
            bad.append((case, ending, wrong))
            print(f"BAD {case}: {'; '.join(wrong)}", flush=True)
            if "--verbose" in words:
                print("  ", ending.lines, ending.errors[-2000:])
    print(f"{time.monotonic() - begun:.0f} s")
    if "--markdown" in words:
        print(markdown(counts))
    print(f"{len(table)} programs, {len(table) - len(bad)} ended as promised")
    return 1 if bad else 0


def markdown(counts: Counter[tuple[str, str, bool]]) -> str:
    """How many of how many cases ended as promised, by what was sent."""
    lines = ["| sent | under `trio.run` | under `ak.run` |", "|---|---|---|"]
    for script in SCRIPTS:
        row = [script.name]
        for runner in ("trio", "ak"):
            good = counts[script.name, runner, True]
            number = good + counts[script.name, runner, False]
            row.append(f"{good} of {number}" if number else "-")
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    try:
        status = main(sys.argv[1:])
    except InChild as child:
        text = child.case.dump()
    else:
        sys.exit(status)
    programs.run(text)
