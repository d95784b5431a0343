"""What is in force on this machine: what is claimed, tried, and put into rows."""

from __future__ import annotations

import enum
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import attrs

from ..heap.capabilities import remedies
from ..heap.capability_terms import TABLE

__all__ = ["AT_ONCE", "IN_THREAD", "MARK", "SECONDS", "Row", "Verdict", "examine"]

SECONDS: Final = 30.0
"""How long one trial may take. None needs more than a second, unless the machine is loaded."""

AT_ONCE: Final = 4
"""So many trials are made at the same time."""

IN_THREAD: Final = "--thread"
"""The argument that makes all trials run in another thread than the main one."""

MARK: Final = b"tried: "
"""What a line of the report begins with; start-up files may print what they like."""

REMEDY: Final = "install actorkit again; if that does not help, report it, with this line"


class Verdict(enum.Enum):
    """What became of one capability."""

    WORKS = "works"
    MISSING = "no"
    BROKEN = "broken"


@attrs.frozen
class Row:
    """One line of the report.

    Args:
        name: of the capability.
        verdict: ``MISSING`` is said beforehand, and why. ``BROKEN`` should work and did not.
        why: what is in the way, and the remedy; "" if it works.
    """

    name: str
    verdict: Verdict
    why: str = ""


def examine() -> list[Row]:
    """Try everything that is claimed, as seen from the calling thread. Takes a few seconds."""
    missing = remedies()
    claimed = [name for name in TABLE if name not in missing]
    wrong = try_out(claimed)
    return [
        Row(name, Verdict.MISSING, missing[name])
        if name in missing
        else Row(name, Verdict.BROKEN, f"{wrong[name]}; {REMEDY}")
        if wrong[name]
        else Row(name, Verdict.WORKS)
        for name in TABLE
    ]


def try_out(names: Iterable[str]) -> dict[str, str]:
    """By name: "" if its trial went well, otherwise what is wrong."""
    wanted = list(names)
    if not wanted:
        return {}
    root = str(Path(__file__).parent.parent.parent)
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    flags: list[str] = getattr(subprocess, "_args_from_interpreter_flags", list)()
    command = [sys.executable, *flags, "-m", "actorkit.doctor.trials", *wanted]
    if threading.current_thread() is not threading.main_thread():
        command.append(IN_THREAD)
    try:
        done = subprocess.run(
            command,
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=(len(wanted) // AT_ONCE + 2) * SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return dict.fromkeys(wanted, f"it could not be tried: {error}")
    last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
    wrong = dict.fromkeys(wanted, f"it could not be tried: the process ended with {done.returncode}: {''.join(last)}")
    for line in done.stdout.splitlines():
        if line.startswith(MARK):
            told = json.loads(line.removeprefix(MARK))
            wrong[told["name"]] = told["wrong"]
    return wrong
