"""The sweep: once a second every actor with a budget is looked at, whatever its account says.

An account does not know what became private because another holder let go, nor what came from the
interpreter's freelists. Most of these looks find an actor within its limit, so they are made as a
census, a chunk of actors at a time, which costs a few nanoseconds an object. Only those are walked
on their own who are over their limits, or may be by their accounts, and suspects of the census, who
may hold much in cycles (``own_passes``).
"""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import Any, Final

import trio

from ...heap import clock, own_heaps
from ...log import log
from ..actor.record import Record
from ..actor.states import DEAD
from .budget import Budget
from .findings import Looks
from .footprints import Footprints
from .holdings import CHUNK, on_stack
from .own_passes import OwnPasses, suspects_of

__all__ = ["Sweep"]

SECONDS: Final = 1.0
"""Between two sweeps."""
SHARE: Final = 0.05
"""Sweeps take no more than this share of the time: with very many actors, or on a slow machine,
they come less often."""


class Sweep:
    """Sweeps the budgets of one node, and teaches its footprints.

    Args:
        budgets: those in force.
        learned: where samples of living actors go.
        looks: where findings go.
    """

    def __init__(self, budgets: Mapping[Record[Any], Budget], learned: Footprints, looks: Looks) -> None:
        self._budgets = budgets
        self._learned = learned
        self._looks = looks
        self._found = looks.sweep
        self.own_passes = OwnPasses(looks)
        self._scope = trio.CancelScope()

    async def run(self, node: str) -> None:
        """Sweep until ``cancel``. ``node``: its name, for the log."""
        with self._scope:
            pause = SECONDS
            while True:
                await trio.sleep(pause)
                began = perf_counter()
                try:
                    await self.look_at_all()
                except MemoryError:
                    log.error(
                        "node %r has no memory to look at all of its %d budgets: it tries again",
                        node,
                        len(self._budgets),
                    )
                own_heaps.decay()
                pause = max(SECONDS, (perf_counter() - began) / SHARE)

    def cancel(self) -> None:
        """The node has ended."""
        self._scope.cancel(reason="the node has stopped")

    async def look_at_all(self) -> None:
        """One sweep. Others run between its chunks."""
        if not clock.verify():
            clock.reinstall()
        budgets = sorted(self._budgets.values(), key=_number)
        learned = self._learned
        learned.begin_pass()
        self._found.begin()
        suspects: dict[Record[Any], int] = {}
        cycles = self._looks.all_cycles()
        for first in range(0, len(budgets), CHUNK):
            chunk = [b for b in budgets[first : first + CHUNK] if b.record.state != DEAD and not on_stack(b.record)]
            simple = [b for b in chunk if not b.limit.include_shared]
            records = [b.record for b in simple]
            found = self._found.count(records, [record.number for record in records])
            doubtful = suspects_of(records, found)
            suspects.update(doubtful)
            for budget, size, leftovers in zip(simple, found.held, found.leftovers, strict=True):
                record = budget.record
                if record in cycles:
                    size += self._looks.cycles(record, size)
                if size > budget.limit.size:
                    budget.at_boundary()
                elif not (leftovers and _is_uncertain(budget, doubtful)):
                    if size != budget.known or budget.account.bytes:
                        budget.note(size)
                    learned.living(record, size)
            for budget in chunk:
                if budget.limit.include_shared:
                    budget.at_boundary()
            await trio.lowlevel.checkpoint()
        self._found.end()
        self.own_passes.line_up(self._looks.unexplained(suspects))
        for record, usage in self.own_passes.round().items():
            if record not in self._budgets:
                continue  # a look at another one has ended it
            budget = self._budgets[record]
            charged = budget.charged(usage)
            if charged > budget.limit.size:
                budget.at_boundary()
            else:
                budget.note(charged)
                learned.living(record, usage.held)


def _is_uncertain(budget: Budget, suspects: Mapping[Record[Any], int]) -> bool:
    """May it hold so much more than the first pass has found that this settles nothing?"""
    return clock.COUNTS_ALLOCATIONS and (budget.record in suspects or budget.account.held_at_most > budget.limit.size)


def _number(budget: Budget) -> int:
    return budget.record.number
