"""What all tests share: a clock that stands still; ``@pytest.mark.own_process``, for a test that
depends on whatever else has run in its process; and the hypothesis profile ``prove``, which must be
known before it is asked for.

**Time stands still** in a test that asks for no clock. Calls, starts and stops have deadlines of 5
s, and restarts are counted within 5 s. On a machine that is slow, or stopped for a while, each
deadline that passes is a verdict about the machine; with no time, none passes. A test that needs
time takes ``autojump_clock``, or ``mock_clock`` and moves it. A module whose tests all need time
has ``pytestmark = pytest.mark.autojump``. A test that waits for something outside our clocks says
so with ``real_clock(why)``. Searches of heaps, too, seem to take no time, so their pace is the same
on every machine. A test that hangs is ended by pytest-timeout.
"""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

import tests.effort  # noqa: F401
from actorkit.runtime.budgets.searching import PACING
from tests.ctrl_c import as_in_a_terminal

as_in_a_terminal()
PACING.now = lambda: 0

TESTS = Path(__file__).parent
INSIDE = "ACTORKIT_TEST_IN_ITS_PROCESS"


def run_without_time(main: Any, *, clock: Any = None, **options: Any) -> Any:
    """``trio.run`` with the clock that the test asks for, or else with one that stands still."""
    return trio.run(main, clock=MockClock() if clock is None else clock, **options)


def run_jumping(main: Any, *, clock: Any = None, **options: Any) -> Any:
    """``trio.run`` with a clock that jumps when nothing runs."""
    return trio.run(main, clock=MockClock(autojump_threshold=0) if clock is None else clock, **options)


EVERY_VERSION = ("heap/", "budgets/", "runtime/", "messaging/test_modes.py", "faults/test_sweep.py")
"""Paths below tests/ that depend on the version of Python or on the C extension. Single tests have
the marker. The suite promises/ belongs here too, but on 3.12 and 3.13 some of its cells fail in a
process that has run thousands of other tests, and pass alone; that is not explained yet.
"""


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark what ``.ci/run`` runs on every version, and give pytest-trio, by its own marker, the
    function that runs the test.
    """
    if item.path.relative_to(TESTS).as_posix().startswith(EVERY_VERSION):
        item.add_marker(pytest.mark.every_version)
    if inspect.iscoroutinefunction(getattr(item, "obj", None)) and item.get_closest_marker("real_clock") is None:
        run = run_without_time if item.get_closest_marker("autojump") is None else run_jumping
        item.add_marker(pytest.mark.trio(run=run))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test with the marker ``own_process`` in a fresh interpreter, with nothing before it."""
    if pyfuncitem.get_closest_marker("own_process") is None or INSIDE in os.environ:
        return None
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", pyfuncitem.nodeid]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    run = subprocess.run(
        command,
        cwd=pyfuncitem.config.rootpath,
        env=environ | {INSIDE: "1"},
        capture_output=True,
        text=True,
        timeout=170,
    )
    assert run.returncode == 0, run.stdout[-5_000:] + run.stderr[-2_000:]
    assert "1 passed" in run.stdout, run.stdout[-1_000:]
    return True
