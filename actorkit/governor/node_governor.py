"""The governor: looks at the node's memory, asks its machine what to do, and does it.

One governor serves all nodes of a trio run, since they share one resident set. It looks as often as the fill rate
asks for, and when the kernel says that memory is short: *between the steps* of whatever tasks are running (see
``between_steps``), and, when none are, from a task of its own, in the nursery of one of its nodes (of another, when
that one closes). All decisions are ``policy.governor``'s; every act is answered with what came of it. Nothing here
may fail the node: an act that raises is logged, and told to the machine as failed.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import trio

from ..errors import NodeOutOfMemory
from ..log import log
from ..policy.memory import governor_events as ev
from ..policy.memory.governor import Governor as Machine
from ..policy.memory.memory_pressure import MemoryPressure
from ..policy.memory.memory_sample import MemoryLevel, MemorySample
from ..policy.memory.victims import Census
from ..pressure.sources import MemorySource
from ..runtime.actor.events import KilledForMemory, MemoryAlarm, MemoryLevelChanged, MemoryReport, SystemEvent
from ..runtime.actor.memory_data import MemoryData, Receipt, Receipts
from ..runtime.actor.record import Record
from ..runtime.node import Node
from . import report as last_report
from .between_steps import BetweenSteps
from .census import measured_radius, take_census
from .kills import Kills
from .reclaim import Reserve, collect_garbage, trim_allocator
from .shed import shed_mailboxes
from .step_fence import StepFence, can_fence

if TYPE_CHECKING:
    from .admission import NodeAdmission
    from .restart_gate import MemoryGate

__all__ = ["Governor"]

RECEIPTS: Final = 200


class Governor:
    """See the module's docstring. ``node.memory`` is this object.

    Args:
        machine: what decides.
        source: where samples come from; closed with the governor.
        reserve: bytes of ballast, released when nothing else is left.
        report_path: a file to be written before the node stops itself; None: only the log is told.
    """

    def __init__(self, machine: Machine, source: MemorySource, reserve: int, report_path: str | None = None) -> None:
        self.machine = machine
        self.source = source
        self.reserve = Reserve(reserve)
        self.report_path = report_path
        self.nodes: list[Node] = []
        self.gates: dict[Node, MemoryGate] = {}
        self.admissions: dict[Node, NodeAdmission] = {}
        self.kills = Kills(self)
        self.sample: MemorySample = source.sample(trio.current_time())
        self.worst: tuple[Record[Any], int] | None = None
        self.alarm = False
        self._receipts: Receipts = deque(maxlen=RECEIPTS)
        self._queue: deque[ev.Event] = deque()
        self._busy = False
        self._host: Node | None = None
        self._scope = trio.CancelScope()
        self._steps = StepFence(self) if machine.settings.step_fence and can_fence() else BetweenSteps(self)
        trio.lowlevel.add_instrument(self._steps)

    # --- what one may ask ---------------------------------------------------------------------

    @property
    def level(self) -> MemoryLevel:
        """How short of memory the node is."""
        level: MemoryLevel = self.machine.level
        return level

    def data(self) -> MemoryData:
        """How it stood when the governor last looked."""
        worst = self.worst
        return MemoryData.of(self.sample, self.level, worst if worst is not None and worst[0].alive else None)

    def receipts(self) -> tuple[Receipt, ...]:
        """The last acts, the newest last."""
        return tuple(self._receipts)

    def everybody(self) -> list[Record[Any]]:
        """All actors of all its nodes."""
        return [record for node in self.nodes for record in node.engine.actors.values()]

    # --- nodes --------------------------------------------------------------------------------

    def attach(self, node: Node, gate: MemoryGate, admission: NodeAdmission) -> None:
        """Serve this node too, until ``detach``."""
        self.nodes.append(node)
        self.gates[node] = gate
        self.admissions[node] = admission
        engine = node.engine
        engine.memory, engine.admission, engine.restart_gate = self, admission, gate
        if self._host is None:
            self._run_on(node)

    def detach(self, node: Node) -> bool:
        """No longer. False: it was the last one, and the governor has ended."""
        self.nodes.remove(node)
        del self.gates[node], self.admissions[node]
        if self._host is node:
            self._scope.cancel(reason="the governor's node has closed")
            self._host = None
            if self.nodes:
                self._run_on(self.nodes[0])
        if self.nodes:
            return True
        trio.lowlevel.remove_instrument(self._steps)
        self._steps.close()
        self.reserve.release()
        self.source.close()
        return False

    def _run_on(self, node: Node) -> None:
        assert node.engine.nursery is not None
        self._host = node
        self._scope = trio.CancelScope()
        node.engine.nursery.start_soon(self._run, self._scope, name="actorkit: governor")

    # --- the loop -----------------------------------------------------------------------------

    async def _run(self, scope: trio.CancelScope) -> None:
        with scope:
            steps = self._steps
            while True:
                woken = await self.source.wait_for_wake(max(0.0, steps.due - trio.current_time()))
                if woken is not None:
                    steps.due = 0.0  # the step that ends here is followed by a look

    def look(self, *, fresh: bool = False) -> None:
        """Take a sample and act on it, now."""
        self.sample = sample = self.source.sample(trio.current_time(), fresh=fresh)
        self.tell(ev.Sampled(sample))
        for gate in self.gates.values():
            gate.sampled(sample, self.level)
        for admission in self.admissions.values():
            admission.sampled(sample, self.level)

    def tell(self, event: ev.Event) -> None:
        """Let the machine know, and do what it says."""
        self._queue.append(event)
        if self._busy:
            return
        self._busy = True
        try:
            while self._queue:
                for action in self.machine.handle(self._queue.popleft()):
                    self._perform(action)
        finally:
            self._busy = False

    def done(
        self, action: Any, *, realised: int | None = None, duration: float = 0.0, failure: str = "", **more: Any
    ) -> None:
        """An action has been performed: keep its receipt and tell the machine."""
        now = trio.current_time()
        predicted = more.get("predicted")
        self._receipts.append(
            Receipt(now, type(action).__name__, action.because, predicted, realised, duration, action.dry_run)
        )
        self.tell(ev.ActionDone(now, action.number, realised, duration, failure))

    # --- acts ---------------------------------------------------------------------------------

    def _perform(self, action: ev.Action) -> None:
        if action.dry_run:
            log.warning("governor (dry run): would %s: %s", type(action).__name__, action.because)
            if not isinstance(action, ev.Kill):
                return
        try:
            self._act(action)
        except Exception as error:
            log.exception("governor: %s failed", type(action).__name__)
            self.done(action, failure=f"{type(error).__qualname__}: {error}")

    def _act(self, action: ev.Action) -> None:
        match action:
            case ev.LevelChanged():
                self._level_changed(action)
            case ev.SetAlarm() | ev.ClearAlarm():
                self.alarm = isinstance(action, ev.SetAlarm)
                self._emit(MemoryAlarm, self.alarm, action.because)
            case ev.TellActors(level=level, please_free=please_free):
                message = MemoryPressure(level, please_free, action.because)
                for node in self.nodes:
                    for record in list(node.engine.memory_watchers):
                        record.post_info(message)
            case ev.CollectGarbage():
                freed, seconds = collect_garbage(self.live_now)
                self.done(action, realised=freed, duration=seconds)
            case ev.TrimAllocator():
                freed, seconds = trim_allocator(lambda: self._now().resident)
                self.done(action, realised=freed, duration=seconds)
            case ev.ShedMailboxes(wanted=wanted):
                began = perf_counter()
                given_up = shed_mailboxes(
                    (node.engine for node in self.nodes), wanted, f"the node is short of memory ({action.because})"
                )
                if given_up.messages:
                    log.warning("governor: %d messages of about %d B were given up", given_up.messages, given_up.bytes)
                self.done(action, realised=given_up.bytes, duration=perf_counter() - began, predicted=wanted)
            case ev.RefuseAdmission() | ev.AllowAdmission():
                for admission in self.admissions.values():
                    admission.refuse(action.because if isinstance(action, ev.RefuseAdmission) else None)
            case ev.CloseGate() | ev.OpenGate():
                for gate in self.gates.values():
                    gate.set_open(isinstance(action, ev.OpenGate))
            case ev.TakeCensus(wanted=wanted, caps=caps):
                began = perf_counter()
                everybody = (node.engine.actors.values() for node in self.nodes)
                self._census_taken(action, take_census(everybody, caps, wanted), began)
            case ev.Kill():
                self.kills.kill(action, self.level)
            case ev.StopAllButCritical():
                self.kills.stop_all_but_critical(action, self.level)
            case ev.ReleaseReserve():
                self.done(action, realised=self.reserve.release())
            case ev.RebuildReserve():
                self.done(action, failure="" if self.reserve.rebuild() else "no memory for it")
            case ev.StopNode():
                self._stop_nodes(action)
            case ev.Report(kind=kind, level=level):
                log.warning("governor: %s", action.because)
                self._emit(MemoryReport, kind, level, action.because)

    def live_now(self) -> int | None:
        """Bytes that Python holds at this moment; None where that is not known."""
        return self._now().live

    def _now(self) -> MemorySample:
        return self.source.sample(trio.current_time(), fresh=True)

    def _census_taken(self, action: ev.TakeCensus, census: Census, began: float) -> None:
        largest = census.largest
        if largest is not None:
            who, *_ = largest
            assert isinstance(who, Record)
            self.worst = (who, largest[4])
        now = trio.current_time()
        self._receipts.append(Receipt(now, "TakeCensus", action.because, duration=perf_counter() - began))
        self.tell(ev.CensusTaken(now, action.number, census, measured_radius))

    def _level_changed(self, action: ev.LevelChanged) -> None:
        level = logging.WARNING if action.level > action.previous else logging.INFO
        log.say(level, "governor: memory %s, was %s: %s", action.level.name, action.previous.name, action.because)
        self._emit(MemoryLevelChanged, action.level, action.previous, action.because)

    def _stop_nodes(self, action: ev.StopNode) -> None:
        last_report.write(self, action)
        for node in self.nodes:
            node.engine.out_of_memory = NodeOutOfMemory(
                f"node {node.name!r} stopped itself: {action.because}", action.exit_status
            )
            node.shutdown()

    def _emit(self, kind: Callable[..., SystemEvent], *fields: Any) -> None:
        for node in self.nodes:
            if node.engine.events.wanted(kind):  # type: ignore[arg-type]
                node.engine.events.emit(kind(None, None, f"node {node.name!r}", *fields))

    def emit_kill(self, record: Record[Any], *fields: Any) -> None:
        """Tell of one victim."""
        events = record.scheduler.events
        if events.wanted(KilledForMemory):
            events.emit(KilledForMemory(record, record.pid, record.started_as, *fields))
