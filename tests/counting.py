"""Counts work the same way on any machine: in lines of actorkit's own code, not in seconds."""

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
    """Count the lines of actorkit's functions, and each resumption of its coroutines, that begin
    within the block.

    The clock ends time slices, and each end costs a few lines, so give the node ``slice_seconds``.
    What C does in one line, such as copying a list, is one line.
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
