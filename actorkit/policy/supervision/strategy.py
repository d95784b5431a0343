"""Which children a failing one takes along, and what its end means for the supervisor.

Each rule of the restart types and the strategies is a function of plain data. The machines ask
them. To add a strategy, add its name to ``Strategy`` in ``supervisor_flags`` and its rule to
``taken_along``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar, assert_never

from ...reasons import ExitReason, Killed, Normal, Shutdown, text_of
from .child_spec import Restart, ShutdownTime
from .supervisor_flags import Strategy

__all__ = ["fell_short_of_orderly", "is_restarted", "is_reported", "shown", "taken_along"]

C = TypeVar("C")


def taken_along(strategy: Strategy, children: Sequence[C], failed: C) -> Sequence[C]:
    """The children to restart when ``failed`` fails, itself included, in start order.

    ``children`` are all of the supervisor's, in start order. Those that run are stopped first, in
    reverse order.
    """
    match strategy:
        case "one_for_one":
            return (failed,)
        case "one_for_all":
            return children
        case "rest_for_one":
            return children[children.index(failed) :]
        case _:
            assert_never(strategy)


def is_restarted(restart: Restart, reason: ExitReason) -> bool:
    """Whether a child that has ended by itself with ``reason`` is restarted."""
    return restart == "permanent" or (restart == "transient" and reason.abnormal)


def is_reported(restart: Restart, reason: ExitReason) -> bool:
    """Whether a child's end by itself is worth a report: every abnormal end is, and every end of a
    child that should never end."""
    return restart == "permanent" or reason.abnormal


def fell_short_of_orderly(restart: Restart, shutdown: ShutdownTime, reason: ExitReason) -> bool:
    """Whether a child that was asked to stop has ended otherwise than it should.

    Shutdown is always right. Killed is right for a child that was to be killed from the start.
    Normal is right, unless the child is permanent: that has no business to end of its own accord
    just then.
    """
    if isinstance(reason, Shutdown):
        return False
    if isinstance(reason, Normal):
        return restart == "permanent"
    return not (isinstance(reason, Killed) and shutdown == "brutal_kill")


def shown(reason: ExitReason) -> str:
    """``reason`` as a short text for a ``because``."""
    return text_of(reason, 200)
