"""The shell around a supervision machine: it performs actions, and reports what came of them.

The machine (``policy.supervision``) decides everything. The shell knows how a child is started and
stopped, how time passes, and where answers and reports go.

``_feed`` is the way in. It hands one event to the machine and performs the answer, until the
machine has no more to say. What happens meanwhile, such as the death of a child that is being told
to stop, queues behind. The shell runs as the supervisor, whoever's stack it is on, and holds no
task.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from functools import partial
from typing import Any, Final, Protocol, cast

import trio

from ..behaviours.actor import Actor
from ..errors import ActorDead, SpecError
from ..log import log
from ..policy.key_table import inert
from ..policy.memory.memory_pressure import MemoryPressure
from ..policy.supervision import supervision_events as ev
from ..policy.supervision.child_spec import ChildSpec, check_spec
from ..policy.supervision.supervision_events import ChildCounts, ChildInfo
from ..reasons import KILLED, SHUTDOWN, Crash, ExitReason
from ..runtime.actor.actor_base import NodesOwn
from ..runtime.actor.dispatch import call
from ..runtime.actor.doors import PendingRestart
from ..runtime.actor.events import ChildRestarted, SupervisorReport
from ..runtime.actor.later import Later
from ..runtime.actor.record import Record
from ..runtime.actor.reports import report_supervisor
from ..runtime.actor.states import DEAD, RUNNING
from ..runtime.base.timers import Timer
from ..runtime.base.trio_internals import is_fatal
from ..runtime.life.init_outcome import Stop, Watcher
from ..runtime.life.starter import Starter
from ..runtime.life.starter_cache import StarterCache

__all__ = ["Door", "SupervisionMachine", "SupervisionShell"]

TimeIsUp = type[ev.StopTimeout] | type[ev.GroupStopTimeout] | type[ev.KillTimeout]

LEVELS: Final[dict[ev.ReportKind, int]] = {
    "progress": logging.DEBUG,
    "child_terminated": logging.WARNING,
    "shutdown_error": logging.WARNING,
    "start_error": logging.ERROR,
    "unkillable": logging.ERROR,
    "reached_max_restart_intensity": logging.ERROR,
}


class SupervisionMachine(Protocol):
    """What the shell asks of a machine."""

    def handle(self, event: ev.Event) -> list[ev.Action]:
        """What is to be done now, in that order."""
        ...

    def companions(self, ref: object) -> list[Any]:
        """The refs of the siblings that go down if the child that runs as ``ref`` ends badly."""
        ...

    def spec_of_ticket(self, ticket: int) -> ChildSpec[Any] | None:
        """The spec of the child that is to be restarted."""
        ...


class Door:
    """Where news of children comes in: the owner of their kinds, and the supervisor's family.

    It outlives the supervisor, whose state is cleared when it dies. A child that is in an await
    when its supervisor is killed ends later, and then nobody wants to know.
    """

    __slots__ = ("shell",)

    def __init__(self, shell: SupervisionShell) -> None:
        #: None when the supervisor is dead.
        self.shell: SupervisionShell | None = shell

    def child_exited(self, record: Record[Any], reason: ExitReason) -> None:
        if self.shell is not None:
            self.shell.child_exited(record, reason)

    def companions(self, record: Record[Any]) -> list[Record[Any]]:
        """The siblings that go down with this child."""
        return [] if self.shell is None else self.shell.machine.companions(record)

    def children(self) -> list[Record[Any]]:
        """The children that run."""
        return [] if self.shell is None else list(self.shell.refs)

    def child_infos(self) -> tuple[ChildInfo, ...]:
        """All children, for snapshots of the tree."""
        return () if self.shell is None else self.shell.child_infos()

    def outcome(self, record: Record[Any], reason: ExitReason | None, ignored: bool) -> None:
        if self.shell is not None:
            self.shell._outcome(record, reason, ignored)

    def restart_due(self, key: object, ticket: int) -> None:
        # A child that is interrupted, or ends the program, ends its node too. Another life in the
        # moment before that would only have to be interrupted again.
        if self.shell is not None and self.shell.ctx.node.engine.left is None:
            self.shell._due(key, ticket)


class SupervisionShell(NodesOwn, Actor):
    """Base of the static and the dynamic supervisor."""

    trap_exit = True
    knows_ids = True
    """Does an id name the same child for good? Then that child's footprint is learned by itself."""

    def __init__(self, machine: SupervisionMachine) -> None:
        self.machine = machine
        self.door = Door(self)
        #: Events that came while the machine was being told of another one.
        self.queue: deque[ev.Event] = deque()
        #: Is the machine being told?
        self.busy = False
        #: The children that run, each with the instance that the machine knows it by.
        self.refs: dict[Record[Any], int] = {}
        #: The children that are in their init, both ways round.
        self.coming: dict[Record[Any], int] = {}
        self.inits: dict[int, Record[Any]] = {}
        #: Those of them that are restarts.
        self.restarted: set[int] = set()
        self.starters = StarterCache(self.make_starter)
        #: Timers by the event that they bring, and by whom that is about.
        self.timers: dict[tuple[TimeIsUp, Any], Timer] = {}
        #: Restarts that wait at the gate, by ticket.
        self.waiting: dict[int, PendingRestart] = {}
        #: The answer to its own ``init``; None when that was given.
        self.started: Later[Any] | None = Later()
        #: Set when the children are gone; there while ``terminate`` waits for that.
        self.ended: trio.Event | None = None
        #: Why it ends, as soon as the machine has said so.
        self.over: ExitReason | None = None

    # --- what may be asked of any supervisor --------------------------------------------------

    @call
    def which_children(self) -> tuple[ChildInfo, ...]:
        """All children, in start order; those of a dynamic supervisor have no ``id``. It is
        answered at any time, also in the middle of a restart. Source: supervisor:which_children/1
        (there the newest comes first)."""
        return self.child_infos()

    @call
    def count_children(self) -> ChildCounts:
        """How many children are known (``specs``), how many are active, and how many of the known
        ones are supervisors and workers. Source: supervisor:count_children/1."""
        counts: ChildCounts = self.ask(ev.CountChildren(trio.current_time(), None))
        return counts

    # --- callbacks ---------------------------------------------------------------

    def init(self) -> Any:
        """Start the children; the init has succeeded when all have."""
        relations = self.ctx.need_relations()
        relations.family = self.door
        relations.call_at_exit(self._abandon)
        quota = self.ctx.kind.options.memory_quota
        if quota is not None:
            self.ctx.node.engine.quotas.keep(self.ctx, quota)
        started = self.started
        self._feed(ev.Begin(trio.current_time()))
        return started

    async def terminate(self, reason: ExitReason) -> None:
        """Stop the children, in order, then end."""
        ended = self.ended = trio.Event()
        self._feed(ev.StopRequested(trio.current_time(), reason))
        await ended.wait()

    def handle_info(self, message: object) -> None:
        """Drop it: exit signals of strangers and stray messages change nothing."""

    def format_status(self) -> object:
        """Counts only: the report of a supervisor must not list its children."""
        return {"children": len(self.refs), "starting": len(self.coming), "restarting": len(self.waiting)}

    # --- events in ----------------------------------------------------------------------------

    def _feed(self, event: ev.Event) -> None:
        """Tell the machine, and do what it says. Any of that may end this supervisor (somebody's
        constructor may kill it), and then its state is gone. So what is needed afterwards is taken
        into local variables first."""
        queue, door, ctx = self.queue, self.door, self.ctx
        queue.append(event)
        if self.busy:
            return
        self.busy = True
        engine, machine = ctx.node.engine, self.machine
        previous, engine.current = engine.current, ctx
        try:
            while queue and door.shell is not None:
                for action in machine.handle(queue.popleft()):
                    if door.shell is not None:
                        self._perform(action)
        except BaseException as error:
            queue.clear()
            if is_fatal(error):
                engine.leave(error)
            if door.shell is not None:
                log.exception("supervisor %s failed and ends", ctx.describe())
                self.over = Crash.from_exception(error)
            elif not isinstance(error, ActorDead):
                log.exception("supervisor %s failed while it ended", ctx.describe())
        finally:
            engine.current = previous
            if door.shell is not None:
                self.busy = False
        if door.shell is not None and self.over is not None:
            self._finish(self.over)

    def start_asked(self, spec: Any) -> Later[Any]:
        """For ``start_child``."""
        later = Later[Any]()
        try:
            check_spec(spec)
        except SpecError as error:
            later.fail(error)
        else:
            self._feed(ev.StartChildCommand(trio.current_time(), later, spec))
        return later

    def child_exited(self, record: Record[Any], reason: ExitReason) -> None:
        """A child has died (called by the lifecycle, in the dying child's stack)."""
        instance = self.refs.pop(record, None)
        if instance is not None:
            if self.timers:
                self._cancel(ev.KillTimeout, instance)
                self._cancel(ev.StopTimeout, instance)
            counts = not isinstance(reason, MemoryPressure)
            self._feed(ev.ChildExited(trio.current_time(), instance, reason, counts))

    def _outcome(self, record: Record[Any], reason: ExitReason | None, ignored: bool) -> None:
        """A child's init has ended."""
        instance = self.coming.pop(record, None)
        if instance is None:
            return
        now = trio.current_time()
        self.inits.pop(instance, None)
        self._cancel(ev.KillTimeout, instance)
        if ignored or reason is not None:
            self.restarted.discard(instance)
            self._feed(ev.ChildIgnored(now, instance) if reason is None else ev.ChildStartFailed(now, instance, reason))
            return
        self.refs[record] = instance
        if instance in self.restarted:
            self.restarted.discard(instance)
            engine = self.ctx.node.engine
            if engine.events.wanted(ChildRestarted):
                engine.events.emit(
                    ChildRestarted(record, record.pid, record.started_as, record.kind.child_id, self.ctx.describe())
                )
        self._feed(ev.ChildStarted(now, instance, record))

    # --- actions out --------------------------------------------------------------------------

    def _perform(self, action: ev.Action) -> None:
        match action:
            case ev.StartChild():
                self._start(action)
            case ev.StopChild(instance=instance, ref=ref, shutdown=shutdown):
                self._stop(instance, ref, shutdown)
            case ev.StopChildren(group=group, shutdown=shutdown):
                self._stop_group(group, shutdown)
            case ev.KillChild(instance=instance, ref=ref):
                self._kill(instance, ref)
            case ev.CancelStart(instance=instance):
                record = self.inits.get(instance)
                if record is not None:
                    self._kill(instance, record)
            case ev.ScheduleRestart(key=key, ticket=ticket, delay=delay, counts=counts):
                spec = self.machine.spec_of_ticket(ticket)
                self.waiting[ticket] = self.ctx.node.engine.restart_gate.hold(
                    spec, delay, partial(self.door.restart_due, key, ticket), counts, (self.ctx.number, inert(key))
                )
            case ev.CancelRestart(ticket=ticket):
                pending = self.waiting.pop(ticket, None)
                if pending is not None:
                    pending.cancel()
            case ev.AnswerCall(call=call, value=value):
                cast("Later[Any]", call).set(value)
            case ev.FailCall(call=call, error=error):
                if getattr(error, "supervisor", "") is None:
                    error.supervisor = self.ctx.describe()  # type: ignore[attr-defined]
                cast("Later[Any]", call).fail(error)
            case ev.ReportChild():
                self._report(action)
            case ev.Ready():
                started, self.started = self.started, None
                if started is not None:
                    started.set(None)
            case ev.InitFailed(reason=reason) | ev.Finished(reason=reason):
                self.over = reason  # ``_feed`` ends it, when it has done everything else

    def _start(self, action: ev.StartChild) -> None:
        spec, instance = action.spec, action.instance
        engine = self.ctx.node.engine
        if action.restart:
            engine.restarts += 1
            self.restarted.add(instance)
        door = self.door
        known = False

        def know(record: Record[Any]) -> None:
            nonlocal known
            if not known:
                known = True
                self.coming[record] = instance
                self.inits[instance] = record

        def watcher(record: Record[Any], reason: ExitReason | None, ignored: bool) -> None:
            if door.shell is not None:  # this comes from within the start if the constructor was all of it
                know(record)
            door.outcome(record, reason, ignored)

        try:
            record = self.start_one(spec, watcher)
        except BaseException as error:
            if is_fatal(error):  # of its constructor; the machine must hear what became of the start
                engine.leave(error)
            self.restarted.discard(instance)
            self._feed(ev.ChildStartFailed(trio.current_time(), instance, Starter.failure(error)))
            return
        if door.shell is None:
            engine.shutdown_child(record, KILLED)  # its constructor has ended its supervisor
        else:
            know(record)

    def start_one(self, spec: Any, watcher: Watcher) -> Record[Any]:
        """Start the child of ``spec``."""
        return self.starters.of_spec(spec)(spec.args, spec.kwargs, watcher=watcher)

    def make_starter(self, spec: Any) -> Starter:
        """A starter of children of this supervisor, from whose sizes the node learns."""
        engine = self.ctx.node.engine
        return Starter(engine, spec, self.door, footprint=engine.learned.of_child(spec, by_id=self.knows_ids))

    def ask(self, query: ev.Query) -> Any:
        """The machine's answer to a query, at once: also while it is being told of something, and
        for a child that asks while it starts."""
        for action in self.machine.handle(query):
            if isinstance(action, ev.AnswerCall):
                return action.value
        return None

    def child_infos(self) -> tuple[ChildInfo, ...]:
        """For snapshots of the tree."""
        infos: tuple[ChildInfo, ...] = self.ask(ev.WhichChildren(trio.current_time(), None))
        return infos

    def _stop(self, instance: int, ref: Any, shutdown: Any) -> None:
        if shutdown == "brutal_kill":
            self._kill(instance, ref)
            return
        self.ctx.node.engine.shutdown_child(ref, SHUTDOWN)
        if shutdown != math.inf and ref.state != DEAD:
            self._arm(ev.StopTimeout, instance, shutdown)

    def _stop_group(self, group: Any, shutdown: Any) -> None:
        for instance, ref in group:
            if shutdown == "brutal_kill":
                self._kill(instance, ref)
            else:
                self.ctx.node.engine.shutdown_child(ref, SHUTDOWN)
        if shutdown not in ("brutal_kill", math.inf) and any(ref.state != DEAD for _, ref in group):
            self._arm(ev.GroupStopTimeout, shutdown, shutdown)

    def _kill(self, instance: int, ref: Any) -> None:
        engine = self.ctx.node.engine
        engine.end_now(ref, KILLED)
        if ref.state != DEAD:
            self._arm(ev.KillTimeout, instance, engine.kill_timeout)

    def _arm(self, event: TimeIsUp, whom: Any, seconds: float) -> None:
        """Have ``event`` about ``whom`` come after so many seconds."""
        self.timers[event, whom] = self.ctx.node.engine.timers.after(seconds, self._time_is_up, event, whom)

    def _time_is_up(self, event: TimeIsUp, whom: Any) -> None:
        self.timers.pop((event, whom), None)
        self._feed(event(trio.current_time(), whom))

    def _cancel(self, event: TimeIsUp, whom: Any) -> None:
        timer = self.timers.pop((event, whom), None)
        if timer is not None:
            timer.cancel()

    def _due(self, key: object, ticket: int) -> None:
        if self.waiting.pop(ticket, None) is not None:
            self._feed(ev.RestartDue(trio.current_time(), key, ticket))

    def _report(self, report: ev.ReportChild) -> None:
        engine = self.ctx.node.engine
        # The governor reports the actors that it kills, all of a round together. Here they would be
        # thousands of lines.
        of_the_node = report.kind == "child_terminated" and isinstance(report.reason, MemoryPressure)
        report_supervisor(
            logging.DEBUG if of_the_node else LEVELS[report.kind],
            f"{self.ctx.pid} ({self.ctx.started_as})",
            report.kind,
            report.child_id,
            report.reason,
            report.because,
        )
        if report.kind != "progress" and engine.events.wanted(SupervisorReport):
            ref: Any = report.ref
            pid = ref.pid if ref is not None else None
            engine.events.emit(
                SupervisorReport(
                    ref, pid, self.ctx.describe(), report.kind, report.child_id, report.reason, report.because
                )
            )

    # --- the end ------------------------------------------------------------------------------

    def _finish(self, reason: ExitReason) -> None:
        """End, as the last thing that it does: its state is gone after this."""
        if self.ended is not None:
            self.ended.set()
        elif self.started is not None:
            started, self.started = self.started, None
            started.set(Stop(reason))
        elif self.ctx.state == RUNNING:
            self.ctx.need_control().final = reason
        else:
            self.ctx.node.engine.die(self.ctx, reason)

    def _abandon(self, record: Record[Any], reason: ExitReason) -> None:
        """The supervisor dies. If it has children, it was killed. They are linked to it: those that
        trap exits stop with its reason, others die of it."""
        self.door.shell = None
        for timer in self.timers.values():
            timer.cancel()
        for pending in self.waiting.values():
            pending.cancel()
        children = [*self.refs, *self.coming]
        self.refs.clear()
        self.coming.clear()
        engine = self.ctx.node.engine
        for child in children:
            try:
                engine.shutdown_child(child, reason)
            except BaseException as error:
                engine.step_failed(error)
