"""Looks between two steps of trio's tasks: the governor does not wait for its turn.

A task that looks at memory is one of ten thousand. When ten thousand sockets are readable, trio runs a step of each
of their readers before it comes round, and each may take memory: the node can go from plenty to dead within one pass of
the loop. So the governor does not rely on its task. trio tells an instrument of the end of every step, and when a look
is due by then, it is taken there and acted upon there: nobody's code runs at that moment, an idle victim is cleared at
once, and the step after it finds the memory.

That costs a reading of the clock a step, a fraction of a microsecond, while a governor runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import trio
from trio.lowlevel import Task

if TYPE_CHECKING:
    from .node_governor import Governor

from ..log import log

__all__ = ["BetweenSteps"]

RETRY_SECONDS: Final = 1.0


class BetweenSteps(trio.abc.Instrument):
    """Takes the looks that are due. Added to trio's run while the governor runs.

    Args:
        governor: whose looks they are.
    """

    def __init__(self, governor: Governor) -> None:
        self._governor = governor
        self._now: Callable[[], float] = trio.lowlevel.current_clock().current_time
        self.due = 0.0
        """When the next look is to be taken, on trio's clock."""

    def close(self) -> None:
        """The governor has ended."""

    def after_task_step(self, task: Task) -> None:
        """trio has run a step of some task, ours or not."""
        if self._now() >= self.due:
            self.look()

    def look(self) -> None:
        """Take a look now. Never raises: trio would go on without its instrument."""
        try:
            self._governor.look()
            self.due = self._governor.machine.look_at
        except Exception:
            log.exception("governor: a look at the node's memory failed; the next one in %g s", RETRY_SECONDS)
            self.due = self._now() + RETRY_SECONDS
