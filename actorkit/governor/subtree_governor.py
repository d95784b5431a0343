"""A governor of one subtree: the ladder of a node, for those below one supervisor, with a limit of their own.

Where ``memory_quota`` takes from a family what is too much, once it is too much, this goes up a ladder first: members
that opted in are asked to free something, sheddable messages are given up, then the least important, largest are ended,
and come back only when what they held fits again. The machine is the node's; a sample of a subtree is what its members
hold as one root set, measured anew at each look, which may take a twentieth of the time.

What concerns the process as a whole (collecting, trimming, the reserve, refusing new work, stopping) is not done here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import attrs
import trio

from ..heap import walk
from ..log import log
from ..policy.memory import governor_events as ev
from ..policy.memory.fill_rate import LookSettings
from ..policy.memory.governor import Governor as Machine
from ..policy.memory.governor_settings import SUBTREE_ACTIONS, GovernorSettings
from ..policy.memory.heap_limit import bytes_of
from ..policy.memory.memory_pressure import MemoryPressure
from ..policy.memory.memory_sample import MemoryLevel, MemorySample
from ..policy.memory.restart_queue import GateSettings
from ..policy.memory.victims import Census
from ..runtime.actor.doors import PendingRestart
from ..runtime.actor.events import KilledForMemory, MemoryLevelChanged, MemoryReport, SystemEvent
from ..runtime.actor.memory_data import MemoryData, Receipt, Receipts
from ..runtime.actor.record import DEAD, Record
from ..runtime.actor.ref import Ref
from ..runtime.base.interrupts import protected_context
from ..runtime.budgets.roots import mailbox_of, roots_of
from ..runtime.node import Node
from .census import count, measured_radius
from .kills import Kills
from .radius import below
from .restart_gate import MemoryGate
from .shed import shed_records

if TYPE_CHECKING:
    from ..policy.supervision.child_spec import ChildSpec

__all__ = ["SubtreeGovernor", "govern_subtree"]

SHARE: Final = 0.05
"""Looks take no more than this part of the time."""
RECEIPTS: Final = 200
LOOKS: Final = LookSettings(shortest=0.05, assumed=0.0)
"""Of the quiet family nothing is assumed, and it is looked at once a second: a look measures everybody."""


class _Gate:
    """Holds the family's restarts, and passes all others on."""

    def __init__(self, governor: SubtreeGovernor, settings: GateSettings) -> None:
        self._governor = governor
        self.own = MemoryGate(governor.node, settings)
        self.outer = governor.node.restart_gate

    def hold(
        self,
        spec: ChildSpec[Any] | None,
        delay: float,
        go: Callable[[], None],
        counts: bool = True,
        key: Hashable = None,
    ) -> PendingRestart:
        """See ``runtime.gate.RestartGate``."""
        return (self.own if self._is_ours(key) else self.outer).hold(spec, delay, go, counts, key)

    def _is_ours(self, key: Hashable) -> bool:
        """A child's key begins with its supervisor's number."""
        governor = self._governor
        if governor.over or not isinstance(key, tuple):
            return False
        supervisor = governor.node.engine.actors.get(key[0])
        return supervisor is governor.supervisor or supervisor in below(governor.supervisor)


class SubtreeGovernor:
    """What ``govern_subtree`` gives: ask it how the subtree stands. As ``node.memory``, for those below one
    supervisor."""

    def __init__(self, node: Node, supervisor: Record[Any], limit: int, settings: GovernorSettings) -> None:
        self.node = node
        self.supervisor = supervisor
        self.limit = limit
        self.machine = Machine(settings)
        self.kills = Kills(self)
        self.sample = self._sampled()
        self.worst: tuple[Record[Any], int] | None = None
        self._receipts: Receipts = deque(maxlen=RECEIPTS)
        self._queue: deque[ev.Event] = deque()
        self._busy = False
        self.gate: MemoryGate | None = None
        self.over = False
        """It governs no more."""
        self._family: _Gate | None = None
        self._scope = trio.CancelScope()

    # --- what one may ask ---------------------------------------------------------------------

    @property
    def level(self) -> MemoryLevel:
        """How short of memory the subtree is."""
        level: MemoryLevel = self.machine.level
        return level

    def data(self) -> MemoryData:
        """How it stood at the last look: of ``limit``, what its members held as one root set."""
        worst = self.worst
        return MemoryData.of(self.sample, self.level, worst if worst is not None and worst[0].alive else None)

    def receipts(self) -> tuple[Receipt, ...]:
        """The last acts, the newest last."""
        return tuple(self._receipts)

    # --- what is governed ---------------------------------------------------------------------

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Its node, while there is somebody to govern."""
        return (self.node,) if self.supervisor.state != DEAD else ()

    def everybody(self) -> list[Record[Any]]:
        """All below the supervisor."""
        return below(self.supervisor)

    def live_now(self) -> int:
        """Bytes that they hold together; what they share with each other only is counted once."""
        family = self.everybody()
        roots = [root for record in family for root in roots_of(record)]
        queues = [queue for record in family for queue in mailbox_of(record)]
        return walk.measure(roots, queues).charged

    def _sampled(self) -> MemorySample:
        used = self.live_now()
        source = f"the memory limit of {self.supervisor.describe()}"
        return MemorySample(trio.current_time(), self.limit, used, source, used, used)

    # --- look, decide, act --------------------------------------------------------------------

    def begin(self, gate: GateSettings) -> None:
        """Stand at the gate, and look from now on."""
        assert self.node.engine.nursery is not None
        self._family = _Gate(self, gate)
        self.gate = self._family.own
        self.node.engine.restart_gate = self._family
        name = f"actorkit {self.node.name}: governor of {self.supervisor.pid}"
        self.node.engine.nursery.start_soon(self._run, name=name)

    def end(self) -> None:
        """Govern no more: whoever waits at the gate may go."""
        if self.over:
            return
        self.over = True
        self._scope.cancel(reason="the governor of a subtree has ended")
        assert self._family is not None
        if self.node.restart_gate is self._family:  # else somebody stands before it, and it only passes on
            self.node.engine.restart_gate = self._family.outer
        self._family.own.close()

    async def _run(self) -> None:
        with self._scope:
            while self.supervisor.state != DEAD:
                began = perf_counter()
                try:
                    self.look()
                except Exception:
                    log.exception("the governor of %s: a look failed", self.supervisor.describe())
                took = perf_counter() - began
                await trio.sleep(max(self.machine.look_at - trio.current_time(), took / SHARE, LOOKS.shortest))
        self.end()

    def look(self) -> None:
        """Measure everybody, and act on it."""
        self.sample = sample = self._sampled()
        self.tell(ev.Sampled(sample))
        if self.gate is not None:
            self.gate.sampled(sample, self.level)

    def tell(self, event: ev.Event) -> None:
        """Let the machine know, and do what it says."""
        self._queue.append(event)
        if self._busy:
            return
        self._busy = True
        try:
            while self._queue:
                for action in self.machine.handle(self._queue.popleft()):
                    if action.dry_run and not isinstance(action, ev.Kill):
                        log.warning("governor (dry run): would %s: %s", type(action).__name__, action.because)
                    else:
                        self._act(action)
        finally:
            self._busy = False

    def done(self, action: Any, *, realised: int | None = None, duration: float = 0.0, **more: Any) -> None:
        """An action has been performed."""
        now = trio.current_time()
        self._receipts.append(
            Receipt(now, type(action).__name__, action.because, more.get("predicted"), realised, duration)
        )
        self.tell(ev.ActionDone(now, action.number, realised, duration))

    def _act(self, action: ev.Action) -> None:
        match action:
            case ev.LevelChanged():
                log.warning("governor: memory %s, was %s: %s", action.level.name, action.previous.name, action.because)
                self._emit(MemoryLevelChanged, action.level, action.previous, action.because)
            case ev.TellActors(level=level, please_free=please_free):
                family = set(self.everybody())
                for record in [one for one in self.node.engine.memory_watchers if one in family]:
                    record.post_info(MemoryPressure(level, please_free, action.because))
            case ev.ShedMailboxes(wanted=wanted):
                began = perf_counter()
                given_up = shed_records([(self.node.engine, one) for one in self.everybody()], wanted, action.because)
                self.done(action, realised=given_up.bytes, duration=perf_counter() - began, predicted=wanted)
            case ev.CloseGate() | ev.OpenGate():
                if self.gate is not None:
                    self.gate.set_open(isinstance(action, ev.OpenGate))
            case ev.TakeCensus(wanted=wanted, caps=caps):
                census = Census()
                count(census, self.everybody(), caps, wanted)
                largest = census.largest
                if largest is not None:
                    who, *_ = largest
                    assert isinstance(who, Record)
                    self.worst = (who, largest[4])
                self.tell(ev.CensusTaken(trio.current_time(), action.number, census, measured_radius))
            case ev.Kill():
                self.kills.kill(action, self.level)
            case ev.Report(kind=kind, level=level):
                log.warning("governor: %s", action.because)
                self._emit(MemoryReport, kind, level, action.because)
            case _:
                raise ValueError(f"{type(action).__name__} concerns the process as a whole: not for one subtree")

    def _emit(self, kind: Callable[..., SystemEvent], *fields: Any) -> None:
        events, supervisor = self.node.engine.events, self.supervisor
        if events.wanted(kind):  # type: ignore[arg-type]
            events.emit(kind(supervisor, supervisor.pid, supervisor.started_as, *fields))

    def emit_kill(self, record: Record[Any], *fields: Any) -> None:
        """Tell of one victim."""
        if self.node.engine.events.wanted(KilledForMemory):
            self.node.engine.events.emit(KilledForMemory(record, record.pid, record.started_as, *fields))


@protected_context
@asynccontextmanager
async def govern_subtree(
    supervisor: Ref[Any],
    limit: int | str,
    *,
    settings: GovernorSettings | None = None,
    gate: GateSettings | None = None,
) -> AsyncIterator[SubtreeGovernor]:
    """Put a governor in charge of all below one supervisor, and of nobody else, for the length of a ``with`` block.

    For a part of a program that must not take more than its share (one tenant, one cache, an embedded library), with or
    without a governor of the whole node. To have a family simply lose what is too much, a ``memory_quota`` in its
    supervisor's spec is enough.

    Args:
        supervisor: the supervisor's ref. It is never killed itself, nor are supervisors below it.
        limit: bytes that those below it may hold together, or text such as ``"64 MiB"``.
        settings: thresholds, ranking and other knobs; ``actions`` may name what concerns a subtree only
            (``tell``, ``shed``, ``close_gate``, ``kill``), which is the default.
        gate: how restarts of its members are let through while memory is short.

    Raises:
        ValueError: ``limit`` is no size, or ``settings`` has actions that concern the whole process.

    Example::

        tenants = node.whereis("tenants")
        async with ak.govern_subtree(tenants, "64 MiB") as memory:
            await trio.sleep_forever()      # memory.level, memory.data(), memory.receipts()
    """
    size = bytes_of(limit)
    if size == 0:
        raise ValueError("a memory limit of 0 bytes leaves nothing to hold; give more")
    assert isinstance(supervisor, Record)
    if settings is None:
        settings = GovernorSettings(actions=_ACTIONS, looks=LOOKS)
    wrong = {deed for deeds in settings.actions.values() for deed in deeds} - _DEEDS
    if wrong:
        raise ValueError(
            f"actions {', '.join(sorted(wrong))} of settings concern the process as a whole: a subtree's governor may "
            f"do {', '.join(sorted(_DEEDS))}"
        )
    if settings.reserve:
        settings = attrs.evolve(settings, reserve=0)
    governor = SubtreeGovernor(supervisor.scheduler.node, supervisor, size, settings)  # type: ignore[attr-defined]
    governor.begin(gate or GateSettings())
    try:
        yield governor
    finally:
        governor.end()


_ACTIONS: Final = {level: deeds - {"refuse"} for level, deeds in SUBTREE_ACTIONS.items()}
_DEEDS: Final = frozenset().union(*_ACTIONS.values())
