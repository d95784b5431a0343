"""The degraded mode is degraded everywhere, on a trio that really lacks the private names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runtime.hidden_names import NAMES

PROGRAM = Path(__file__).with_name("hidden_names.py")
ROOT = PROGRAM.parent.parent.parent

HIDDEN = {
    "cancel status": (("_cancel_status",), {"cancel_status=False", "settable_coro=True"}),
    "run": (("GLOBAL_RUN_CONTEXT",), {"cancel_status=False", "open_nurseries=True"}),
    "nurseries of a task": (("_child_nurseries",), {"cancel_status=True", "open_nurseries=False"}),
    "steps": (("_next_send_fn",), {"settable_coro=False", "open_nurseries=True"}),
    "all": (
        NAMES,
        {"cancel_status=False", "open_nurseries=False", "lock_breaker=False", "settable_coro=False"},
    ),
}


@pytest.mark.parametrize("what", HIDDEN)
def test_every_door_without(what: str) -> None:
    """Each private name is renamed inside trio: what needs the name is off, and all doors work."""
    names, expected = HIDDEN[what]
    run = subprocess.run(
        [sys.executable, str(PROGRAM), *names],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr[-3_000:]
    for feature in expected:
        assert feature in run.stdout
