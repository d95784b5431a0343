"""How much work something is, on any machine: lines of actorkit's own code are counted, not
seconds.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Lines:
    """How many lines have run."""

    def __init__(self) -> None:
        self.count = 0


@contextmanager
def lines_run() -> Iterator[Lines]:
    """Counts the lines of actorkit's functions, and each resumption of its coroutines, that begin
    within.

    Slices end by the clock, and each end is a few lines: give the node ``slice_seconds``. What C
    does in one line, such as a copy of a list, is one line.
    """
    lines = Lines()

    def within(frame: FrameType, event: str, arg: Any) -> Any:
        if event == "line":
            lines.count += 1
        return within

    def begin(frame: FrameType, event: str, arg: Any) -> Any:
        name = frame.f_globals.get("__name__")
        return within if isinstance(name, str) and name.startswith("actorkit.") else None

    before = sys.gettrace()
    sys.settrace(begin)
    try:
        yield lines
    finally:
        sys.settrace(before)
