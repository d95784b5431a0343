"""Who is growing? While memory is short, actors without a limit that allocate much are watched.

An actor without a limit has no account, so nothing tells what it has allocated, and its private
cycles stay unseen. Accounts for everybody cost too much (design/0041). So while a governor asks for
it, all actors without an account share one. Each time that this has counted ``SAMPLE`` bytes more,
the clock's alarm comes, and the actor whose code is running is *watched* from then on: it gets a
budget that limits nothing, and with that an account, pages of its own, and the looks of the sweep.
So whoever grows by some ``SAMPLE`` bytes is probably watched, and whoever is idle costs nothing.

When memory is short no longer, nobody is watched any more. Nodes outside the main thread get no
alarms, so there nobody is.
"""

from __future__ import annotations

from threading import get_ident
from types import FrameType
from typing import Any, Final, Protocol

from ...heap import clock
from .budget import AccountOwner

__all__ = ["MOST_WATCHED", "SAMPLE", "find_growth", "ignore_growth"]

SAMPLE: Final = 128 * 1024
"""Bytes that actors without a limit allocate between two samples."""

MOST_WATCHED: Final = 1_000
"""On one node. When there are so many, those that hold little are not watched any more."""


class Watching(Protocol):
    """The budgets of a node, as the sampler sees them."""

    engine: Any
    """Their node's."""

    def install(self) -> None:
        """Start the clock."""

    def watch(self, record: Any) -> None:
        """Give an actor without a limit an account."""


class _Sampler(AccountOwner):
    """The owner of the account that actors without one share."""

    def __init__(self) -> None:
        self.account = clock.Account(self)
        #: The nodes whose growth is to be found.
        self.nodes: dict[Watching, None] = {}

    def at_boundary(self) -> None:
        self._wait()

    def alarmed(self, top: FrameType | None) -> bool:
        self._wait()
        for budgets in self.nodes:
            engine = budgets.engine
            record = engine.current
            if record is not None and record.account is None and engine.thread == get_ident():
                budgets.watch(record)
        return False

    def _wait(self) -> None:
        self.account.reset()
        self.account.soft = SAMPLE

    def turn(self, on: bool) -> None:
        """Count for everybody without an account, or for nobody."""
        self._wait()
        clock.others_in(self.account if on else None)


_sampler: Final = _Sampler()


def find_growth(budgets: Watching) -> None:
    """From now on watch who grows on this node."""
    if clock.COUNTS_ALLOCATIONS and budgets not in _sampler.nodes:
        budgets.install()
        _sampler.nodes[budgets] = None
        _sampler.turn(True)


def ignore_growth(budgets: Watching) -> None:
    """Watch nobody on this node any more."""
    if budgets in _sampler.nodes:
        del _sampler.nodes[budgets]
        if not _sampler.nodes:
            _sampler.turn(False)
