"""The shell around a supervision machine: performs its actions, tells it what came of them.

The machine (``policy.supervision``, ``policy.dynamic_supervision``) decides everything. Here is only: how a child is
started and stopped, how time passes, where replies and reports go. ``_feed`` runs until the machine has no more to say;
what happens meanwhile (a child that dies while it is told to) queues behind. It runs as the supervisor, whoever's stack
it is on, and holds no task.
"""

from __future__ import annotations

import logging
from collections import deque
from functools import partial
from typing import Any, Final

import trio

from ..behaviours.actor import Actor
from ..errors import ActorDead, SpecError
from ..log import log
from ..policy.key_table import inert
from ..policy.memory.memory_pressure import MemoryPressure
from ..policy.supervision import supervision_events as ev
from ..policy.supervision.child_spec import check_spec
from ..policy.supervision.static import Supervision
from ..policy.supervision.supervision_events import ChildCounts, ChildInfo
from ..reasons import KILLED, SHUTDOWN, Crash, ExitReason
from ..runtime.actor.dispatch import call
from ..runtime.actor.doors import PendingRestart
from ..runtime.actor.events import ChildRestarted, SupervisorReport
from ..runtime.actor.later import Later
from ..runtime.actor.record import DEAD, RUNNING, Record
from ..runtime.actor.reports import report_supervisor
from ..runtime.base.timers import Timer
from ..runtime.base.trio_internals import is_fatal
from ..runtime.life.lifecycle import Stop
from ..runtime.life.starter import Starter, Watcher
from ..runtime.life.starter_cache import StarterCache

__all__ = ["SupervisionShell"]

LEVELS: Final = {
    "progress": logging.DEBUG,
    "child_terminated": logging.WARNING,
    "shutdown_error": logging.WARNING,
    "start_error": logging.ERROR,
    "unkillable": logging.ERROR,
    "reached_max_restart_intensity": logging.ERROR,
}


class Door:
    """Where news of children comes in. It outlives the supervisor, whose state is cleared at its death: a child that is
    in an await when its supervisor is killed ends later, and then nobody wants to know."""

    __slots__ = ("shell",)

    def __init__(self, shell: SupervisionShell) -> None:
        self.shell: SupervisionShell | None = shell

    def child_exited(self, record: Record[Any], reason: ExitReason) -> None:
        if self.shell is not None:
            self.shell.child_exited(record, reason)

    def companions(self, record: Record[Any]) -> list[Record[Any]]:
        """The siblings that go down with this child."""
        machine = None if self.shell is None else self.shell.machine
        return machine.companions(record) if isinstance(machine, Supervision) else []

    def children(self) -> list[Record[Any]]:
        return [] if self.shell is None else list(self.shell.refs)

    def child_infos(self) -> tuple[ChildInfo, ...]:
        return () if self.shell is None else self.shell.child_infos()

    def outcome(self, record: Record[Any], reason: ExitReason | None, ignored: bool) -> None:
        if self.shell is not None:
            self.shell._outcome(record, reason, ignored)

    def restart_due(self, key: object, ticket: int) -> None:
        # Who is interrupted or ends the program ends its node too. A new life in the moment before
        # that would only have to be interrupted again, if it does what the last one did.
        if self.shell is not None and self.shell.ctx.node.engine.left is None:
            self.shell._due(key, ticket)


class SupervisionShell(Actor):
    """Base of the static and the dynamic supervisor."""

    trap_exit = True
    knows_ids = True
    """Does an id name the same child for good? Then its footprint is learned on its own."""

    def __init__(self, machine: Any) -> None:
        self.machine = machine
        self.door = Door(self)
        self.queue: deque[ev.Event] = deque()
        self.busy = False
        self.refs: dict[Record[Any], int] = {}
        self.inits: dict[int, Record[Any]] = {}
        self.coming: dict[Record[Any], int] = {}
        self.restarted: set[int] = set()
        self.starters = StarterCache(self.make_starter)
        self.timers: dict[Any, Timer] = {}
        self.waiting: dict[int, PendingRestart] = {}
        self.started: Later[Any] | None = Later()
        self.ended: trio.Event | None = None
        self.over: ExitReason | None = None

    # --- what may be asked of any supervisor --------------------------------------------------

    @call
    def which_children(self) -> tuple[ChildInfo, ...]:
        """All children, in start order; those of a dynamic supervisor have no ``id``. Answered at any time, also in the
        middle of a restart.
        Source: supervisor:which_children/1 (there the newest first)."""
        return self.child_infos()

    @call
    def count_children(self) -> ChildCounts:
        """How many children are known (``specs``), active ones, supervisors, workers. Source:
        supervisor:count_children/1."""
        counts: ChildCounts = self.ask(ev.CountChildren(trio.current_time(), None))
        return counts

    # --- gen_server's callbacks ---------------------------------------------------------------

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
        """Exit signals of strangers and stray messages change nothing (OTP logs and drops them)."""

    def format_status(self) -> object:
        """Counts only: a supervisor's report must not list its children."""
        return {"children": len(self.refs), "starting": len(self.coming), "restarting": len(self.waiting)}

    # --- events in ----------------------------------------------------------------------------

    def _feed(self, event: ev.Event) -> None:
        """Tell the machine, and do what it says. Any of that may be this supervisor's end (somebody's constructor may
        kill it), and then its state is gone: what is needed afterwards is at hand before."""
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
                self._cancel(("kill", instance))
                self._cancel(("stop", instance))
            counts = not isinstance(reason, MemoryPressure)
            self._feed(ev.ChildExited(trio.current_time(), instance, reason, counts))

    def _outcome(self, record: Record[Any], reason: ExitReason | None, ignored: bool) -> None:
        """A child's init has ended."""
        instance = self.coming.pop(record, None)
        if instance is None:
            return
        now = trio.current_time()
        self.inits.pop(instance, None)
        self._cancel(("kill", instance))
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
                call.set(value)  # type: ignore[attr-defined]
            case ev.FailCall(call=call, error=error):
                if getattr(error, "supervisor", "") is None:
                    error.supervisor = self.ctx.describe()  # type: ignore[attr-defined]
                call.fail(error)  # type: ignore[attr-defined]
            case ev.ReportChild():
                self._report(action)
            case ev.Ready():
                started, self.started = self.started, None
                if started is not None:
                    started.set(None)
            case ev.InitFailed(reason=reason) | ev.Finished(reason=reason):
                self.over = reason  # not now: it would end in the middle of this

    def _start(self, action: ev.StartChild) -> None:
        spec, instance = action.spec, action.instance
        engine = self.ctx.node.engine
        if action.restart:
            engine.restarts += 1
            self.restarted.add(instance)
        started: list[Record[Any]] = []
        door = self.door

        def watcher(record: Record[Any], reason: ExitReason | None, ignored: bool) -> None:
            if not started and door.shell is not None:  # its constructor sufficed: this comes from within the start
                started.append(record)
                self.coming[record] = instance
                self.inits[instance] = record
            door.outcome(record, reason, ignored)

        try:
            record = self.start_one(spec, watcher)
        except BaseException as error:
            if is_fatal(error):  # of its constructor: the machine must hear what became of the start all the same
                engine.leave(error)
            self.restarted.discard(instance)
            reason = Starter.failure(error)
            self._feed(ev.ChildStartFailed(trio.current_time(), instance, reason))
            return
        if door.shell is None:
            engine.shutdown_child(record, KILLED)  # its constructor has ended its supervisor
        elif not started:
            started.append(record)
            self.coming[record] = instance
            self.inits[instance] = record

    def start_one(self, spec: Any, watcher: Watcher) -> Record[Any]:
        """Start the child of ``spec``."""
        return self.starters.of_spec(spec)(spec.args, spec.kwargs, watcher=watcher)

    def make_starter(self, spec: Any) -> Starter:
        """A starter of this supervisor's children, who are measured."""
        engine = self.ctx.node.engine
        return Starter(engine, spec, self.door, footprint=engine.learned.of_child(spec, by_id=self.knows_ids))

    def ask(self, query: ev.Query) -> Any:
        """The machine's answer to a query, at once: also in the middle of what it does, and for a child that asks while
        it starts."""
        for action in self.machine.handle(query):
            if isinstance(action, ev.AnswerCall):
                return action.value
        return None

    def child_infos(self) -> tuple[ChildInfo, ...]:
        """For snapshots of the tree."""
        infos: tuple[ChildInfo, ...] = self.ask(ev.WhichChildren(trio.current_time(), None))
        return infos

    def _stop(self, instance: int, ref: Any, shutdown: Any) -> None:
        engine = self.ctx.node.engine
        if shutdown == "brutal_kill":
            self._kill(instance, ref)
            return
        engine.shutdown_child(ref, SHUTDOWN)
        if shutdown != float("inf") and ref.state != DEAD:
            self.timers["stop", instance] = engine.timers.after(shutdown, self._time_is_up, "stop", instance)

    def _stop_group(self, group: Any, shutdown: Any) -> None:
        engine = self.ctx.node.engine
        for instance, ref in group:
            if shutdown == "brutal_kill":
                self._kill(instance, ref)
            else:
                engine.shutdown_child(ref, SHUTDOWN)
        if shutdown not in ("brutal_kill", float("inf")) and any(ref.state != DEAD for _, ref in group):
            self.timers["group", shutdown] = engine.timers.after(shutdown, self._time_is_up, "group", shutdown)

    def _kill(self, instance: int, ref: Any) -> None:
        engine = self.ctx.node.engine
        engine.end_now(ref, KILLED)
        if ref.state != DEAD:
            self.timers["kill", instance] = engine.timers.after(engine.kill_timeout, self._time_is_up, "kill", instance)

    def _time_is_up(self, what: str, key: Any) -> None:
        self.timers.pop((what, key), None)
        now = trio.current_time()
        if what == "stop":
            self._feed(ev.StopTimeout(now, key))
        elif what == "group":
            self._feed(ev.GroupStopTimeout(now, key))
        else:
            self._feed(ev.KillTimeout(now, key))

    def _cancel(self, key: Any) -> None:
        timer = self.timers.pop(key, None)
        if timer is not None:
            timer.cancel()

    def _due(self, key: object, ticket: int) -> None:
        if self.waiting.pop(ticket, None) is not None:
            self._feed(ev.RestartDue(trio.current_time(), key, ticket))

    def _report(self, report: ev.ReportChild) -> None:
        engine = self.ctx.node.engine
        # The governor has told of those it kills, all of a round together; a line for each would be thousands.
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
        """The last thing it does: its state is gone after this."""
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
        """The supervisor dies (killed: otherwise no child is left). Its children are linked to it: those that trap
        exits stop with its reason, others die of it."""
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
