"""A governor of one subtree: the ladder of a node, for all actors below one supervisor, with a
limit of their own.

A ``memory_quota`` takes from a family what is too much, once it is too much. This governor goes up
a ladder first: members that opted in are asked to free something, sheddable messages are given up,
then the least important, largest members are ended, and come back only when what they held fits
again. The machine is the node's. A sample of a subtree is what its members hold as one root set,
measured anew at each look, which may take a twentieth of the time.

What concerns the process as a whole (collecting, trimming, the reserve, refusing new work,
stopping) is not done here.

It is over when its block is left, or when its supervisor ends, whichever comes first. Then it is at
NORMAL, and says so if it was not; a dead supervisor has nobody below it, so its figures are 0.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Hashable, Iterable
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Any, Final

import attrs
import trio

from ..log import log
from ..policy.memory.fill_rate import LookSettings
from ..policy.memory.governor import GovernorMachine
from ..policy.memory.governor_settings import SUBTREE_ACTIONS, GovernorSettings, LevelAction
from ..policy.memory.heap_limit import bytes_of
from ..policy.memory.memory_sample import MemoryLevel, MemorySample
from ..policy.memory.restart_queue import GateSettings
from ..reasons import ExitReason, shown, text_of
from ..runtime.actor.events import MemoryLevelChanged, SystemEvent
from ..runtime.actor.record import Record
from ..runtime.actor.ref import Ref
from ..runtime.actor.states import DEAD
from ..runtime.base.interrupts import protected_context
from ..runtime.budgets.findings import Looks
from ..runtime.budgets.holdings import heap_of_all
from ..runtime.node import Node
from .census import cycles_of
from .governor_base import GovernorBase
from .radius import below
from .restart_gate import FamilyGate, MemoryGate

__all__ = ["SubtreeGovernor", "govern_subtree"]

ALLOWED: Final = frozenset[LevelAction]().union(*SUBTREE_ACTIONS.values())
"""What the settings of a subtree's governor may name."""

SHARE: Final = 0.05
"""Looks take no more than this part of the time."""

LOOKS: Final = LookSettings(shortest=0.05, assumed=0.0)
"""A quiet family is looked at once a second: a look measures everybody. Growth that was not seen is
not assumed."""


class SubtreeGovernor(GovernorBase):
    """What ``govern_subtree`` gives: ask it how the subtree stands. As ``node.memory``, for all
    actors below one supervisor.

    Once it is ``over``, its level is NORMAL. ``data()`` still has the last figures, or 0 if the
    supervisor has ended."""

    def __init__(self, node: Node, supervisor: Record[Any], limit: int, settings: GovernorSettings) -> None:
        self.node = node
        self.supervisor = supervisor
        self.limit = limit
        super().__init__(GovernorMachine(settings))
        #: Where restarts of its members wait, while it governs.
        self.gate: MemoryGate | None = None
        #: Where that gate stands in the node's chain.
        self._link: FamilyGate | None = None
        #: Ends its task.
        self._scope = trio.CancelScope()

    @property
    def level(self) -> MemoryLevel:
        """How short memory is; NORMAL when it governs no more."""
        return MemoryLevel.NORMAL if self.over else self.machine.level

    # --- What is governed -------------------------------------------------------------------------

    def take_sample(self, *, fresh: bool = False) -> MemorySample:
        return self._sample_of(self.live_now())

    def _sample_of(self, used: int) -> MemorySample:
        source = f"the memory limit of {self.supervisor.describe()}"
        return MemorySample(trio.current_time(), self.limit, used, source, used, used)

    def live_now(self) -> int:
        """Bytes that the members hold together. What only they share counts once."""
        family = self.everybody()
        return heap_of_all(family).charged + cycles_of(family, self.node.engine.budgets.looks)

    def everybody(self) -> list[Record[Any]]:
        return below(self.supervisor)

    def looks(self) -> list[Looks]:
        return [self.node.engine.budgets.looks]

    def watchers(self) -> list[Record[Any]]:
        family = set(self.everybody())
        return [record for record in self.node.engine.memory_watchers if record in family]

    def gates_held(self) -> Iterable[MemoryGate]:
        return () if self.gate is None or self.over else (self.gate,)

    def emit(self, kind: Callable[..., SystemEvent], *fields: Any) -> None:
        events, supervisor = self.node.engine.events, self.supervisor
        if events.wanted(kind):  # type: ignore[arg-type]
            events.emit(kind(supervisor, supervisor.pid, supervisor.started_as, *fields))

    # --- Begin and end ----------------------------------------------------------------------------

    def begin(self, gate: GateSettings) -> None:
        """Stand at the gate, and look from now on."""
        node = self.node
        assert node.engine.nursery is not None
        self.supervisor.need_relations().call_at_exit(self._supervisor_ended)
        self._link = FamilyGate(node, self._is_ours, gate)
        self.gate = self._link.own
        node.engine.nursery.start_soon(self._run, name=f"actorkit {node.name}: governor of {self.supervisor.pid}")

    def end(self, because: str = "its governor has ended") -> None:
        """Govern no more: fall to NORMAL. Restarts that wait at its gate go on to the next one: the
        node's, or that of another governor."""
        if self.over:
            return
        previous = self.level
        self.over = True
        relations = self.supervisor.relations
        if relations is not None:
            relations.forget_at_exit(self._supervisor_ended)
        self._scope.cancel(reason="the governor of a subtree has ended")
        if self._link is not None:
            self._link.unlink()
        if previous != MemoryLevel.NORMAL:
            log.info("governor: memory NORMAL, was %s: %s", previous.name, because)
            self.emit(MemoryLevelChanged, MemoryLevel.NORMAL, previous, because)

    def _supervisor_ended(self, _: Record[Any], reason: ExitReason) -> None:
        self.sample, self.worst = self._sample_of(0), None
        self.end(f"{self.supervisor.describe()} has ended, and all actors below it: {text_of(reason)}")

    async def _run(self) -> None:
        with self._scope:
            while not self.over:
                began = perf_counter()
                due = self.look_now()
                took = perf_counter() - began
                await trio.sleep(max(due - trio.current_time(), took / SHARE, LOOKS.shortest))

    def _is_ours(self, key: Hashable) -> bool:
        """Is this the key of a child in the subtree? A child's key begins with its supervisor's
        number."""
        if self.over or not isinstance(key, tuple):
            return False
        supervisor = self.node.engine.actors.get(key[0])
        return supervisor is self.supervisor or supervisor in below(self.supervisor)


@protected_context
@asynccontextmanager
async def govern_subtree(
    supervisor: Ref[Any],
    limit: int | str,
    *,
    settings: GovernorSettings | None = None,
    gate: GateSettings | None = None,
) -> AsyncIterator[SubtreeGovernor]:
    """Put a governor in charge of all actors below one supervisor, and of no others, for the length
    of a ``with`` block.

    It governs that supervisor, not its successors: when it ends, the governor is over, at NORMAL,
    and one that is restarted in its place is not governed. For a limit that comes back with the
    supervisor, give its spec a ``memory_quota``.

    For a part of a program that must not take more than its share (one tenant, one cache, an
    embedded library), with or without a governor of the whole node. If it is enough that a family
    loses what is too much, a ``memory_quota`` does that.

    Args:
        supervisor: the supervisor's ref; a named ref means who holds the name now. It is never
            killed itself, and neither are supervisors below it.
        limit: bytes that the actors below it may hold together, or text such as ``"64 MiB"``.
        settings: thresholds, ranking and other knobs; ``actions`` may name only what concerns a
            subtree (``tell``, ``shed``, ``close_gate``, ``kill``), which is the default.
        gate: how restarts of its members are let through while memory is short.

    Raises:
        TypeError: ``supervisor`` is no ref, or the actor is no supervisor.
        ValueError: the supervisor is dead, or nobody has that name; ``limit`` is no size, or
            ``settings`` has actions that concern the whole process.

    Example::

        tenants = node.whereis("tenants")
        async with ak.govern_subtree(tenants, "64 MiB") as memory:
            await trio.sleep_forever()      # memory.level, memory.data(), memory.receipts()
    """
    size = bytes_of(limit)
    if size == 0:
        raise ValueError("a memory limit of 0 bytes leaves nothing to hold; give more")
    record = _supervisor_of(supervisor)
    if settings is None:
        settings = GovernorSettings(actions=SUBTREE_ACTIONS, looks=LOOKS)
    wrong = {action for actions in settings.actions.values() for action in actions} - ALLOWED
    if wrong:
        raise ValueError(
            f"actions {', '.join(sorted(wrong))} of settings concern the process as a whole: a subtree's governor may "
            f"do {', '.join(sorted(ALLOWED))}"
        )
    if settings.reserve:
        settings = attrs.evolve(settings, reserve=0)
    governor = SubtreeGovernor(record.engine.node, record, size, settings)  # type: ignore[attr-defined]
    governor.begin(gate or GateSettings())
    try:
        yield governor
    finally:
        governor.end()


def _supervisor_of(ref: Ref[Any]) -> Record[Any]:
    """The living supervisor behind a ref."""
    if not isinstance(ref, Ref):
        raise TypeError(f"cannot govern {shown(ref, 200)}: give the ref of a supervisor, as node.whereis(name) does")
    record: Record[Any] | None = ref.resolve()
    if record is None:
        raise ValueError(f"cannot govern {shown(ref, 200)}: nobody has that name; start the supervisor first")
    if record.state == DEAD:
        raise ValueError(
            f"cannot govern the actors below {record.describe()}: it is dead; give the ref of a living supervisor "
            "(node.whereis(name) has the one that was restarted in its place)"
        )
    if record.kind.role != "supervisor":
        raise TypeError(
            f"cannot govern the actors below {record.describe()}: it is no supervisor; give its supervisor's ref, or "
            "limit the actor itself: .with_(max_heap_size=…) of its spec"
        )
    return record
