"""The governor of a node: looks at the process's memory, asks its machine what to do, and does it.

One governor serves all nodes of a trio run, since they share one resident set. It looks as often as
the fill rate requires, and when the kernel says that memory is short: between the steps of whatever
tasks are running (``steps``), and, when none are, from a task of its own. That task lives in the
nursery of one of its nodes, and moves to another's when that one closes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar

import trio

from ..errors import NodeOutOfMemory
from ..policy.memory import governor_events as ev
from ..policy.memory.governor import GovernorMachine
from ..policy.memory.memory_sample import MemoryLevel, MemorySample
from ..pressure.sources import MemorySource
from ..runtime.actor.events import MemoryAlarm, SystemEvent
from ..runtime.actor.record import Record
from ..runtime.budgets.findings import Looks
from ..runtime.node import Node
from . import report
from .governor_base import Answer, GovernorBase
from .reclaim import Reserve, collect_garbage, trim_allocator
from .restart_gate import MemoryGate
from .steps import BetweenSteps, StepFence, can_fence

if TYPE_CHECKING:
    from .admission import NodeAdmission

__all__ = ["NodeGovernor"]


class NodeGovernor(GovernorBase):
    """See the module's docstring. ``node.memory`` is this object.

    Args:
        machine: what decides.
        source: where samples come from; closed with the governor.
        reserve: bytes of ballast, released when nothing else is left.
        report_path: a file to be written before the node stops itself; None: only the log gets the
            report.
    """

    def __init__(
        self, machine: GovernorMachine, source: MemorySource, reserve: int, report_path: str | None = None
    ) -> None:
        self.source = source
        super().__init__(machine)
        self.reserve = Reserve(reserve)
        self.report_path = report_path
        #: The nodes that it serves, with the gate and the admission of each.
        self.nodes: list[Node] = []
        self.gates: dict[Node, MemoryGate] = {}
        self.admissions: dict[Node, NodeAdmission] = {}
        #: Is the alarm set?
        self.alarm = False
        #: The node in whose nursery its task runs, and what ends that task.
        self._host: Node | None = None
        self._scope = trio.CancelScope()
        fenced = machine.settings.step_fence and can_fence()
        self._steps = StepFence(self.look_now, self._headroom) if fenced else BetweenSteps(self.look_now)
        trio.lowlevel.add_instrument(self._steps)

    # --- What is governed -------------------------------------------------------------------------

    def take_sample(self, *, fresh: bool = False) -> MemorySample:
        return self.source.sample(trio.current_time(), fresh=fresh)

    def live_now(self) -> int | None:
        return self.take_sample(fresh=True).live

    def everybody(self) -> Iterable[Record[Any]]:
        return chain.from_iterable(node.engine.actors.values() for node in self.nodes)

    def looks(self) -> list[Looks]:
        return [node.engine.budgets.looks for node in self.nodes]

    def watchers(self) -> list[Record[Any]]:
        return [record for node in self.nodes for record in node.engine.memory_watchers]

    def gates_held(self) -> Iterable[MemoryGate]:
        return self.gates.values()

    def emit(self, kind: Callable[..., SystemEvent], *fields: Any) -> None:
        for node in self.nodes:
            if node.engine.events.wanted(kind):  # type: ignore[arg-type]
                node.engine.events.emit(kind(None, None, f"node {node.name!r}", *fields))

    def _headroom(self) -> int:
        return self.sample.headroom

    # --- Nodes ------------------------------------------------------------------------------------

    def attach(self, node: Node, gate: MemoryGate, admission: NodeAdmission) -> None:
        """Serve this node too, until ``detach``."""
        self.nodes.append(node)
        self.gates[node] = gate
        self.admissions[node] = admission
        engine = node.engine
        engine.memory, engine.admission, engine.restart_gate = self, admission, gate
        if self.level > MemoryLevel.NORMAL:
            engine.budgets.watch_growth(True)
        if self._host is None:
            self._run_on(node)

    def detach(self, node: Node) -> bool:
        """Serve this node no more. False: it was the last one, and the governor has ended."""
        self.nodes.remove(node)
        del self.gates[node], self.admissions[node]
        if self._host is node:
            self._scope.cancel(reason="the governor's node has closed")
            self._host = None
            if self.nodes:
                self._run_on(self.nodes[0])
        if self.nodes:
            return True
        self.over = True
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

    async def _run(self, scope: trio.CancelScope) -> None:
        """Wake up when a look is due, or when the kernel says so: the step that ends then is
        followed by a look."""
        with scope:
            steps = self._steps
            while True:
                woken = await self.source.wait_for_wake(max(0.0, steps.due - trio.current_time()))
                if woken is not None:
                    steps.due = 0.0

    def look(self, *, fresh: bool = False) -> None:
        super().look(fresh=fresh)
        for admission in self.admissions.values():
            admission.sampled(self.sample, self.level)

    # --- Actions that concern the process as a whole ----------------------------------------------

    def _change_level(self, action: ev.LevelChanged) -> Answer:
        for node in self.nodes:
            node.engine.budgets.watch_growth(action.level > MemoryLevel.NORMAL)
        return super()._change_level(action)

    def _set_alarm(self, action: ev.SetAlarm | ev.ClearAlarm) -> Answer:
        self.alarm = isinstance(action, ev.SetAlarm)
        self.emit(MemoryAlarm, self.alarm, action.because)
        return None

    def _collect(self, action: ev.CollectGarbage) -> Answer:
        freed, seconds = collect_garbage(self.live_now)
        return self._done(action, realised=freed, duration=seconds)

    def _trim(self, action: ev.TrimAllocator) -> Answer:
        freed, seconds = trim_allocator(lambda: self.take_sample(fresh=True).resident)
        return self._done(action, realised=freed, duration=seconds)

    def _set_admission(self, action: ev.RefuseAdmission | ev.AllowAdmission) -> Answer:
        for admission in self.admissions.values():
            admission.refuse(action.because if isinstance(action, ev.RefuseAdmission) else None)
        return None

    def _release_reserve(self, action: ev.ReleaseReserve) -> Answer:
        return self._done(action, realised=self.reserve.release())

    def _rebuild_reserve(self, action: ev.RebuildReserve) -> Answer:
        return self._done(action, failure="" if self.reserve.rebuild() else "no memory for it")

    def _stop_all_but_critical(self, action: ev.StopAllButCritical) -> Answer:
        self.kills.stop_all_but_critical(self.everybody(), action, self.level)
        return None

    def _stop_nodes(self, action: ev.StopNode) -> Answer:
        try:
            left = sum(len(node.engine.actors) for node in self.nodes)
            text = report.last_report(action, self.data(), self.receipts(), left, self.kills.killed)
            report.write(text, self.report_path)
        finally:  # a node that cannot write its report stops all the same
            for node in self.nodes:
                node.engine.out_of_memory = NodeOutOfMemory(
                    f"node {node.name!r} stopped itself: {action.because}", action.exit_status
                )
                node.shutdown()
        return None

    ACTIONS: ClassVar = {
        **GovernorBase.ACTIONS,
        ev.LevelChanged: _change_level,
        ev.SetAlarm: _set_alarm,
        ev.ClearAlarm: _set_alarm,
        ev.CollectGarbage: _collect,
        ev.TrimAllocator: _trim,
        ev.RefuseAdmission: _set_admission,
        ev.AllowAdmission: _set_admission,
        ev.ReleaseReserve: _release_reserve,
        ev.RebuildReserve: _rebuild_reserve,
        ev.StopAllButCritical: _stop_all_but_critical,
        ev.StopNode: _stop_nodes,
    }
