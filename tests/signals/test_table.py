"""A part of the table of signals: every script at a spot or two. ``python -m tests.signals`` runs
all of it.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.signals.cases import PART, SCRIPTS, SPOTS, Case, cases, pairs
from tests.signals.driver import ROOT, run_one
from tests.signals.programs import SPOTS as PROGRAMS


@pytest.mark.parametrize("case", PART[:3], ids=str)
def test_it_ends_as_promised(case: Case) -> None:
    """The program ends in time, in order where there is time for it, and with nothing but what was
    promised.
    """
    ending, wrong = run_one(case)
    assert not wrong, f"{wrong}\n{ending.lines}\n{ending.errors[-4000:]}"


def test_a_part_of_the_table() -> None:
    """The same in forks of one interpreter, some at a time."""
    command = [sys.executable, "-W", "error", "-m", "tests.signals", "--part", "--verbose"]
    # A program that hangs is killed long before this test is.
    run = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True
    )
    assert run.returncode == 0, run.stdout[-20_000:]


def test_a_signal_at_many_points() -> None:
    """A signal may come wherever Python looks for signals; ``python -m tests.signals.sweep`` tries
    more of these points.
    """
    command = [sys.executable, "-W", "error", "-m", "tests.signals.sweep", "--step", "800"]
    run = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True
    )
    assert run.returncode == 0, run.stdout[-20_000:]


def test_the_table_is_whole() -> None:
    """Every spot has a program, every pair of a spot and a script is run, and no two cases have the
    same name.
    """
    assert {spot.name for spot in SPOTS} == set(PROGRAMS)
    table = list(cases())
    assert {(case.spot, case.script, case.runner) for case in table} == set(pairs())
    assert len({str(case) for case in table}) == len(table)
    assert {case.script for case in PART} == set(SCRIPTS)
