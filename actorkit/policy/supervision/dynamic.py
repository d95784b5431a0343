"""The dynamic supervisor: many children of any specs, started when asked, one_for_one.

How it works. No child's fate depends on a sibling's, so there are no sequences and no queue: every
event concerns one child, is dealt with at once, and costs the same however many there are. A
server has one child per connection, so a start and an end are a few dict operations.

The machine knows children by their instance while they start, run or stop; callers know them by
their ref. Ids are ignored. A child that may be restarted is the same ``KeptChild`` over all its
lives; between two of them it is found by its last ref, and by the *ticket* of its next start.

A stop asks all children at once, in one group for each distinct shutdown time with one timer each.
So it takes as long as the slowest child, and not the sum of all.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from ...errors import (
    ActorkitError,
    ChildNotFound,
    ChildRestarting,
    ChildRunning,
    InvalidChildSpec,
    MaxChildrenReached,
    StartFailed,
    SupervisorStopping,
)
from ...reasons import KILLED, ExitReason
from ..key_table import NOT_THEIRS
from . import supervision_events as ev
from .child_spec import ChildSpec, ShutdownTime
from .dynamic_children import NOBODY, ChildEnding, KeptChild, PendingStart, StartedChild
from .restart_window import TOO_MANY_RESTARTS, RestartWindow
from .strategy import fell_short_of_orderly, is_reported, is_restarted, shown
from .supervision_states import ChildState
from .supervisor_flags import DynamicFlags

__all__ = ["DynamicSupervision"]


class DynamicSupervision:
    """A supervisor without children of its own at first; StartChildCommand adds them.

    ``fraction`` is asked for a random number from 0 to 1 when a child with a backoff is to be
    restarted. ``id`` in commands and queries is a child's ref.
    """

    def __init__(self, flags: DynamicFlags, fraction: Callable[[], float] = lambda: 0.5) -> None:
        self.flags = flags
        #: Where random numbers come from.
        self._fraction = fraction
        #: The restarts that count.
        self._window = RestartWindow(flags.max_restarts, flags.max_seconds)
        self._instances = itertools.count(1)
        self._ticket_numbers = itertools.count(1)
        #: The children that are in their init, by instance.
        self._starting: dict[int, PendingStart] = {}
        #: The children that have started and have not ended, by instance.
        self._running: dict[int, StartedChild] = {}
        #: The children that are to be restarted, by ticket.
        self._waiting: dict[int, KeptChild] = {}
        #: All children that have ever had a ref, by the last one.
        self._by_ref: dict[object, StartedChild] = {}
        #: Those of the starting and the running ones that were told to end, by instance. They are
        #: few, so this is kept apart from the children's own records.
        self._ending: dict[int, ChildEnding] = {}
        #: Who was asked to stop together, by shutdown time.
        self._groups: dict[ShutdownTime, tuple[tuple[int, object], ...]] = {}
        #: Why the supervisor stops, and the text for it; None while it does not.
        self._stopping: tuple[ExitReason, str] | None = None
        #: The answer to the present event.
        self._actions: list[ev.Action] = []
        #: What to do with each kind of event.
        self._handlers: dict[type, Callable[[Any], None]] = {
            ev.Begin: lambda _: self._emit(ev.Ready()),
            ev.ChildStarted: self._on_started,
            ev.ChildIgnored: self._on_ignored,
            ev.ChildStartFailed: self._on_start_failed,
            ev.ChildExited: self._on_exited,
            ev.StopTimeout: self._on_stop_timeout,
            ev.GroupStopTimeout: self._on_group_stop_timeout,
            ev.KillTimeout: self._on_kill_timeout,
            ev.RestartDue: self._on_restart_due,
            ev.StopRequested: lambda event: self._stop(event.reason, f"asked to stop with {shown(event.reason)}"),
            ev.StartChildCommand: self._on_start_child,
            ev.TerminateChildCommand: self._on_terminate_child,
            ev.RestartChildCommand: self._on_static_command,
            ev.DeleteChildCommand: self._on_static_command,
            ev.WhichChildren: self._on_which_children,
            ev.WhichChild: self._on_which_child,
            ev.CountChildren: self._on_count_children,
            ev.GetChildSpec: self._on_get_child_spec,
        }

    def handle(self, event: ev.Event) -> list[ev.Action]:
        """Take note of ``event`` and return what is to be done now, in that order."""
        actions = self._actions = []
        self._handlers[type(event)](event)
        return actions

    def companions(self, ref: object) -> list[Any]:
        """Nobody: no child's fate depends on a sibling's."""
        return []

    def spec_of_ticket(self, ticket: int) -> ChildSpec[Any] | None:
        """The spec of the child that the ticket is to restart; None for an unknown ticket."""
        child = self._waiting.get(ticket)
        return None if child is None else child.spec

    def validate(self) -> None:
        """For tests: raise AssertionError if what it knows contradicts itself."""
        starting, running, waiting = self._starting, self._running, self._waiting
        assert not starting.keys() & running.keys()
        assert self._ending.keys() <= starting.keys() | running.keys(), "one that is gone is still ending"
        known: list[StartedChild] = [*running.values(), *waiting.values()]
        known += [start.child for start in starting.values() if start.child is not None]
        assert len(known) == len(self._by_ref)
        for child in known:
            assert self._by_ref[child.ref] is child
        for instance, child in running.items():
            assert child.instance == instance
        for instance, start in starting.items():
            assert start.child is None or start.child.instance == instance
        for ticket, child in waiting.items():
            assert child.ticket == ticket
            assert child.instance not in starting.keys() | running.keys()
        for child in known:
            assert not (isinstance(child, KeptChild) and child.ticket) or child.ticket in waiting
        for ending in self._ending.values():
            assert not (ending.unkillable and ending.calls), "somebody waits for an unkillable child"
        if self._stopping is None:
            assert not self._groups
            assert len(running) + len(starting) + len(waiting) <= self.flags.max_children
        else:
            assert not waiting
            assert self._ending.keys() == starting.keys() | running.keys()
            assert not any(ending.calls for ending in self._ending.values())
        assert self._window.count <= self.flags.max_restarts + 1

    # --- Starting -----------------------------------------------------------------------------

    def _on_start_child(self, command: ev.StartChildCommand) -> None:
        spec, limit = command.spec, self.flags.max_children
        if self._stopping:
            self._refuse(command.call, SupervisorStopping(spec.id))
        elif len(self._running) + len(self._starting) + len(self._waiting) >= limit:
            self._refuse(command.call, MaxChildrenReached(spec.id, limit))
        elif spec.significant:
            why = "a dynamic supervisor does not shut itself down when children end"
            error = InvalidChildSpec("significant", True, why, "leave significant out")
            self._refuse(command.call, error)
        else:
            self._start(spec, command.call, None)

    def _start(self, spec: ChildSpec[Any], call: object, child: KeptChild | None) -> None:
        instance = next(self._instances)
        if child is not None:
            child.instance = instance
        self._starting[instance] = PendingStart(spec, call, child)
        self._emit(ev.StartChild(instance, spec, child is not None))

    def _on_started(self, event: ev.ChildStarted) -> None:
        instance, ref = event.instance, event.ref
        start = self._starting.pop(instance, None)
        if start is None:
            return
        child: StartedChild
        if start.spec.restart == "temporary":
            child = StartedChild(instance, ref, start.spec)
        else:
            child = kept = start.child or KeptChild(instance, ref, start.spec)
            kept.since = event.now
            self._by_ref.pop(kept.ref, None)
            kept.ref = ref
        self._running[instance] = self._by_ref[ref] = child
        self._emit(ev.ReportChild("progress", _id_of(child), None, "started", instance, ref))
        ending = self._ending.get(instance)
        if ending is None:
            if start.call is not NOBODY:
                self._emit(ev.AnswerCall(start.call, ref))
        elif ending.unkillable:
            because = "it was killed while it started, and has started nevertheless"
            self._emit(ev.KillChild(instance, ref, because))
        else:
            because = "it was cancelled while it started, and has started nevertheless"
            self._emit(ev.StopChild(instance, ref, child.shutdown, because))

    def _on_ignored(self, event: ev.ChildIgnored) -> None:
        start = self._starting.pop(event.instance, None)
        if start is None:
            return
        if start.call is not NOBODY:
            self._emit(ev.AnswerCall(start.call, None))
        self._forget_start(event.instance, start)

    def _on_start_failed(self, event: ev.ChildStartFailed) -> None:
        instance, reason = event.instance, event.reason
        start = self._starting.pop(instance, None)
        if start is None:
            return
        child = start.child
        if start.call is not NOBODY:
            self._refuse(start.call, StartFailed(start.spec.id, reason))
        if child is None or instance in self._ending:
            self._forget_start(instance, start)
            return
        because = f"restart failed with {shown(reason)}"
        self._emit(ev.ReportChild("start_error", start.spec.id, reason, because, instance))
        self._restart(event.now, child, reason, because, 0.0)

    def _forget_start(self, instance: int, start: PendingStart) -> None:
        if start.child is not None:
            del self._by_ref[start.child.ref]
        self._ended(instance)

    # --- Ends ---------------------------------------------------------------------------------

    def _on_exited(self, event: ev.ChildExited) -> None:
        instance, reason = event.instance, event.reason
        child = self._running.pop(instance, None)
        if child is None:
            return
        ending = self._ending.get(instance)
        if ending is None and self._stopping is None:
            self._died(child, event)
            return
        if ending is not None and ending.unkillable:
            self._report("child_terminated", child, reason, "killed earlier, it has ended at last")
        elif fell_short_of_orderly(child.restart, child.shutdown, reason):
            because = f"asked to stop, the {child.restart} child ended with {shown(reason)}"
            self._report("shutdown_error", child, reason, because)
        del self._by_ref[child.ref]
        self._ended(instance)

    def _died(self, child: StartedChild, event: ev.ChildExited) -> None:
        reason = event.reason
        cause = ""
        if is_reported(child.restart, reason):
            # Not for the quiet end of a temporary child: most ends are, and texts take time.
            cause = f"{child.restart} child exited with {shown(reason)}"
            self._report("child_terminated", child, reason, cause)
        # Whatever is restarted has been reported: that takes an abnormal end or a permanent child.
        if isinstance(child, KeptChild) and is_restarted(child.restart, reason):
            self._restart(event.now, child, reason, cause, event.now - child.since, event.counts)
        else:
            del self._by_ref[child.ref]

    def _ended(self, instance: int) -> None:
        """That life is over for good: answer who waited for it, finish if it was the last."""
        ending = self._ending.pop(instance, None)
        if ending is not None:
            for call in ending.calls:
                self._emit(ev.AnswerCall(call, None))
        self._finish_if_empty()

    # --- Restarts -----------------------------------------------------------------------------

    def _restart(
        self, now: float, child: KeptChild, reason: ExitReason, cause: str, lived: float, counts: bool = True
    ) -> None:
        flags, window = self.flags, self._window
        because = f"{cause}; the node did that, so it does not count"
        if counts:
            exceeded = window.add(now)
            because = f"{cause}; {window.count} restarts in {flags.max_seconds:g} s, {flags.max_restarts} allowed"
            if exceeded:
                self._report("reached_max_restart_intensity", child, reason, because)
                del self._by_ref[child.ref]
                self._stop(TOO_MANY_RESTARTS, because)
                return
        delay = 0.0
        if child.backoff is not None:
            delay = child.backoff.next_delay(lived, self._fraction())
            because = f"{because}; waits {delay:.3g} s, failure {child.backoff.failures} in a row"
        child.ticket = next(self._ticket_numbers)
        self._waiting[child.ticket] = child
        self._emit(ev.ScheduleRestart(child.key, child.ticket, delay, because, counts))

    def _on_restart_due(self, event: ev.RestartDue) -> None:
        child = self._waiting.pop(event.ticket, None)
        if child is not None:
            child.ticket = 0
            self._start(child.spec, NOBODY, child)

    def _cancel_restart(self, child: KeptChild, because: str) -> None:
        del self._waiting[child.ticket]
        del self._by_ref[child.ref]
        self._emit(ev.CancelRestart(child.key, child.ticket, because))

    # --- Stopping -----------------------------------------------------------------------------

    def _on_terminate_child(self, command: ev.TerminateChildCommand) -> None:
        child = self._find(command.id)
        if self._stopping:
            self._refuse(command.call, SupervisorStopping(command.id))
        elif child is None:
            self._refuse(command.call, ChildNotFound(command.id))
        elif isinstance(child, KeptChild) and child.ticket:
            self._cancel_restart(child, "terminate_child")
            self._emit(ev.AnswerCall(command.call, None))
        else:
            ending = self._ending.get(child.instance)
            if ending is None:
                self._end(child, [command.call], "terminate_child")
            elif ending.unkillable:
                self._refuse(command.call, ChildRunning(command.id, "unkillable"))
            else:
                ending.calls.append(command.call)

    def _end(self, child: StartedChild, calls: list[object], because: str) -> None:
        instance = child.instance
        self._ending[instance] = ChildEnding(calls)
        if instance in self._running:
            self._emit(ev.StopChild(instance, child.ref, child.shutdown, because))
        else:
            self._emit(ev.CancelStart(instance, because))

    def _on_stop_timeout(self, event: ev.StopTimeout) -> None:
        child = self._running.get(event.instance)
        if child is not None:
            self._kill(child)

    def _on_group_stop_timeout(self, event: ev.GroupStopTimeout) -> None:
        for instance, _ in self._groups.pop(event.shutdown, ()):
            child = self._running.get(instance)
            if child is not None:
                self._kill(child)

    def _kill(self, child: StartedChild) -> None:
        ending = self._ending.get(child.instance)
        if ending is not None and not ending.killed:
            ending.killed = True
            because = f"asked to stop, it did not within {child.shutdown} s"
            self._emit(ev.KillChild(child.instance, child.ref, because))

    def _on_kill_timeout(self, event: ev.KillTimeout) -> None:
        instance = event.instance
        start = self._starting.get(instance)
        ending = self._ending.get(instance)
        if start is not None and ending is None:
            # Killed for its slow init, it does not end: as for its caller, the start has failed.
            ending = self._ending[instance] = ChildEnding([])
            if start.call is not NOBODY:
                self._refuse(start.call, StartFailed(start.spec.id, KILLED))
                start.call = NOBODY
        if ending is None or ending.unkillable:
            return
        ending.unkillable = True
        if start is not None:
            because = "killed while it started, it has not ended"
            self._emit(ev.ReportChild("unkillable", start.spec.id, None, because, instance))
        else:
            self._report("unkillable", self._running[instance], None, "killed, it has not ended")
        for call in ending.calls:
            self._refuse(call, ChildRunning(self._ref_of(instance), "unkillable"))
        ending.calls.clear()

    def _ref_of(self, instance: int) -> object:
        """What callers know the child of that life by; None if it has not started yet."""
        start = self._starting.get(instance)
        child = self._running[instance] if start is None else start.child
        return None if child is None else child.ref

    def _stop(self, reason: ExitReason, because: str) -> None:
        """Stop for ``reason``, unless the supervisor is stopping already: the first reason wins."""
        if self._stopping is not None:
            return
        self._stopping = (reason, because)
        for instance, ending in self._ending.items():
            for call in ending.calls:
                self._refuse(call, SupervisorStopping(self._ref_of(instance)))
            ending.calls.clear()
        for waiting in list(self._waiting.values()):
            self._cancel_restart(waiting, because)
        for instance, start in self._starting.items():
            if start.call is not NOBODY:
                self._refuse(start.call, SupervisorStopping(start.spec.id))
                start.call = NOBODY
            if instance not in self._ending:
                self._ending[instance] = ChildEnding([])
                self._emit(ev.CancelStart(instance, because))
        groups: dict[ShutdownTime, list[tuple[int, object]]] = {}
        for instance, child in self._running.items():
            if instance not in self._ending:
                self._ending[instance] = ChildEnding([])
                groups.setdefault(child.shutdown, []).append((instance, child.ref))
        for shutdown, group in groups.items():
            self._groups[shutdown] = tuple(group)
            self._emit(ev.StopChildren(self._groups[shutdown], shutdown, because))
        self._finish_if_empty()

    def _finish_if_empty(self) -> None:
        if self._stopping is not None and not self._running and not self._starting:
            self._emit(ev.Finished(*self._stopping))

    # --- Queries ------------------------------------------------------------------------------

    def _on_static_command(self, command: ev.RestartChildCommand | ev.DeleteChildCommand) -> None:
        """These are for children that are known but do not run. There are none here, so each child
        has its reason to be refused."""
        child = self._find(command.id)
        error: ActorkitError
        if self._stopping:
            error = SupervisorStopping(command.id)
        elif child is None:
            error = ChildNotFound(command.id)
        else:
            state = self._state(child)
            error = (ChildRestarting if state == "restarting" else ChildRunning)(command.id, state)
        self._refuse(command.call, error)

    def _find(self, ref: object) -> StartedChild | None:
        try:
            return self._by_ref.get(ref)
        except NOT_THEIRS:
            raise
        except BaseException:  # it cannot be hashed, so it is no ref
            return None

    def _state(self, child: StartedChild) -> ChildState:
        if isinstance(child, KeptChild) and child.ticket:
            return "restarting"
        return self._life_state(child.instance)

    def _life_state(self, instance: int) -> ChildState:
        ending = self._ending.get(instance)
        if ending is not None:
            return "unkillable" if ending.unkillable else "stopping"
        return "running" if instance in self._running else "starting"

    def _info(self, child: StartedChild) -> ev.ChildInfo:
        ref = child.ref if child.instance in self._running else None
        return ev.ChildInfo(None, ref, self._state(child), child.kind, child.restart)

    def _on_which_children(self, query: ev.WhichChildren) -> None:
        lines = [
            (child.key if isinstance(child, KeptChild) else child.instance, self._info(child))
            for child in self._by_ref.values()
        ]
        for instance, start in self._starting.items():
            if start.child is None:
                spec, state = start.spec, self._life_state(instance)
                lines.append((instance, ev.ChildInfo(None, None, state, spec.kind, spec.restart)))
        lines.sort(key=lambda line: line[0])
        self._emit(ev.AnswerCall(query.call, tuple(info for _, info in lines)))

    def _on_which_child(self, query: ev.WhichChild) -> None:
        child = self._find(query.id)
        if child is None:
            self._refuse(query.call, ChildNotFound(query.id))
        else:
            self._emit(ev.AnswerCall(query.call, self._info(child)))

    def _on_get_child_spec(self, query: ev.GetChildSpec) -> None:
        child = self._find(query.id)
        if isinstance(child, KeptChild):
            self._emit(ev.AnswerCall(query.call, child.spec))
        else:
            self._refuse(query.call, ChildNotFound(query.id, None if child is None else "temporary"))

    def _on_count_children(self, query: ev.CountChildren) -> None:
        kinds = [child.kind for child in self._by_ref.values()]
        kinds += [start.spec.kind for start in self._starting.values() if start.child is None]
        supervisors = kinds.count("supervisor")
        counts = ev.ChildCounts(len(kinds), len(self._running), supervisors, len(kinds) - supervisors)
        self._emit(ev.AnswerCall(query.call, counts))

    # --- Actions ------------------------------------------------------------------------------

    def _report(self, kind: ev.ReportKind, child: StartedChild, reason: ExitReason | None, because: str) -> None:
        self._emit(ev.ReportChild(kind, _id_of(child), reason, because, child.instance, child.ref))

    def _refuse(self, call: object, error: ActorkitError) -> None:
        self._emit(ev.FailCall(call, error))

    def _emit(self, action: ev.Action) -> None:
        self._actions.append(action)


def _id_of(child: StartedChild) -> object:
    """The id for reports: that of the spec, where that is remembered."""
    return child.spec.id if isinstance(child, KeptChild) else None
