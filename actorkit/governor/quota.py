"""Memory quotas: all actors below a supervisor with a ``memory_quota`` may hold that much together.

Once a second each such family is measured as one root set: the sum of what each member holds alone
would miss what siblings share. A family over its quota loses its least important, largest members
until the rest fits. That is its own fault, and nobody else's. No governor need run, and the node
may have gigabytes left. Still the members die as victims of the node do, and their restarts do not
count: the supervisor did what it was told. So a permanent child that is over the quota all by
itself is ended and restarted again and again: give it a ``max_heap_size``, whose deaths do count.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any, Final

import trio

from ..log import log
from ..policy.memory.candidates import Candidate
from ..policy.memory.memory_pressure import MemoryPressure
from ..policy.memory.memory_sample import MemoryLevel
from ..policy.memory.victims import select_over_quota
from ..runtime.actor.record import Record, record_of
from ..runtime.actor.states import DEAD, IDLE
from ..runtime.budgets.holdings import heap_of_all
from ..runtime.node import Node
from .census import cycles_of, measured_radius, sizes_of
from .kills import emit_kill, shown_table
from .radius import below, is_critical

__all__ = ["QuotaKeeper"]

LOOK_SECONDS: Final = 1.0
SHARE: Final = 0.05
"""Looks take no more than this part of the time."""


class QuotaKeeper:
    """Watches over the quotas of one node. Its task runs while there are any."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._runs = False
        self._scope = trio.CancelScope()
        #: The supervisors whose families were over their quota at the last look with nobody to
        #: take. That has been logged.
        self._nobody_to_take: set[Record[Any]] = set()
        node.engine.quotas.on_another = self._start
        node.engine.at_close.append(self._close)

    def _start(self) -> None:
        if not self._runs and self._node.engine.nursery is not None:
            self._runs = True
            self._node.engine.nursery.start_soon(self._run, name=f"actorkit {self._node.name}: memory quotas")

    def _close(self) -> None:
        self._scope.cancel(reason="the node has stopped")

    async def _run(self) -> None:
        with self._scope:
            pause = LOOK_SECONDS
            while self._node.engine.quotas.all:
                await trio.sleep(pause)
                began = perf_counter()
                self.look_at_all()
                pause = max(LOOK_SECONDS, (perf_counter() - began) / SHARE)
        self._runs = False

    def look_at_all(self) -> None:
        """Measure every family, and take from those that are over."""
        self._nobody_to_take.intersection_update(self._node.engine.quotas.all)
        for supervisor, quota in list(self._node.engine.quotas.all.items()):
            if supervisor.state != DEAD:
                try:
                    self._look(supervisor, quota)
                except BaseException:  # no memory for the table, say: the others' quotas count all the same
                    log.exception(
                        "the memory quota of %s could not be looked at; the next look comes in %g s",
                        supervisor.describe(),
                        LOOK_SECONDS,
                    )

    def _look(self, supervisor: Record[Any], quota: int) -> None:
        family = below(supervisor)
        looks = self._node.engine.budgets.looks
        cycles = cycles_of(family, looks)
        if heap_of_all(family, limit=quota).charged + cycles <= quota:
            self._nobody_to_take.discard(supervisor)
            return
        used = heap_of_all(family).charged + cycles
        members = [record for record in family if not is_critical(record)]
        rows = [
            Candidate(record, record.memory_priority, record.state == IDLE, None, size, measured_radius(record))
            for record, size in zip(members, sizes_of(members, looks), strict=True)
        ]
        selected = select_over_quota(rows, used, quota)
        because = f"{supervisor.describe()} has a memory quota of {quota:,} B, and the actors below it hold {used:,} B"
        table = shown_table(selected.table)
        if not selected.victims:
            if supervisor not in self._nobody_to_take:
                self._nobody_to_take.add(supervisor)
                log.warning("%s: none of them may be ended for it; this is said once, until it changes", because)
            return
        self._nobody_to_take.discard(supervisor)
        log.warning("%s: it loses %d of them\n%s", because, len(selected.victims), table)
        for victim in selected.victims:
            record = record_of(victim.key)
            if record.state != DEAD:
                emit_kill(record, MemoryLevel.NORMAL, victim.predicted, because, False, table)
                self._node.engine.end_now(record, MemoryPressure(MemoryLevel.NORMAL, because=because))
