"""What all tests have: ``@pytest.mark.own_process``, for what depends on whatever else has run in its process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

INSIDE = "ACTORKIT_TEST_IN_ITS_PROCESS"


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test so marked in an interpreter of its own, with nothing before it."""
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
