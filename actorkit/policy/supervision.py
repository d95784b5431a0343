"""The static supervisor: a machine that decides, and waits for nothing.

How it works. Whatever takes more than one step (starting the children, stopping some and starting
them again, an administrative start or stop) is a *sequence*: a generator that emits actions and
yields the instance it needs to hear of next. There is at most one sequence; the event that it
waits for is sent into it. So the order of starts and stops is the order of the generator's code.

Everything that must not overlap with a sequence waits in one queue: administrative calls, ends of
children that the sequence does not wait for, restarts that have become due, restarts that have
failed. The queue is served in order of arrival whenever there is no sequence, so it stands where
OTP's supervisor has its mailbox, and the same things happen in the same order. Unlike a mailbox it
can be looked at and cleared: listing calls are answered at once, and Stop closes the running
sequence, answers the queue, and begins the one sequence that nothing interrupts.

Between the end of a child (or of a failed attempt) and the attempt to restart it the machine is
idle: the child is ``restarting``, and has a *ticket* which the shell hands in when it is due. A
ticket that has been cancelled is unknown, and so is dropped.

Fewer words about the rules: ``strategy`` has them.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Generator, Sequence
from typing import Any

import attrs

from actorkit.errors import (
    ActorkitError,
    ChildAlreadyPresent,
    ChildAlreadyStarted,
    ChildNotFound,
    ChildRestarting,
    ChildRunning,
    SpecError,
    StartFailed,
    SupervisorStopping,
)
from actorkit.policy.child_spec import ChildSpec, SupervisorFlags, validate_children
from actorkit.policy.child_table import Child, ChildTable
from actorkit.policy.restart_window import RestartWindow
from actorkit.policy.strategy import fell_short_of_orderly, is_reported, is_restarted, shown, taken_along
from actorkit.policy.supervision_events import (
    Action,
    Begin,
    CancelRestart,
    CancelStart,
    ChildExited,
    ChildIgnored,
    ChildStarted,
    ChildStartFailed,
    Command,
    CountChildren,
    DeleteChildCommand,
    Event,
    Finished,
    GetChildSpec,
    GroupStopTimeout,
    InitFailed,
    KillChild,
    KillTimeout,
    Query,
    Ready,
    Reply,
    ReplyError,
    Report,
    RestartChildCommand,
    RestartDue,
    ScheduleRestart,
    StartChild,
    StartChildCommand,
    Stop,
    StopChild,
    StopTimeout,
    TerminateChildCommand,
    WhichChild,
    WhichChildren,
)
from actorkit.reasons import KILLED, ExitReason, FailedToStart, Shutdown

__all__ = ["Supervision"]

LifeEvent = ChildStarted | ChildIgnored | ChildStartFailed | ChildExited | KillTimeout
Steps = Generator[int, Any, None]

# What a sequence yields to wait until an unkillable child is gone, whichever.
ANY_UNKILLABLE = 0


@attrs.frozen
class _Death:
    """Queued: this life has ended by itself."""

    instance: int


@attrs.frozen
class _Retry:
    """Queued: the attempt to restart a child failed, another is wanted."""

    ticket: int
    reason: ExitReason


class Supervision:
    """A supervisor with children in a fixed order and one strategy for all of them.

    ``specs`` are started by Begin. ``fraction`` is asked for a random number from 0 to 1 when a
    child has a backoff. Raises DuplicateChildId and InvalidChildSpec (see ``validate_children``).
    """

    def __init__(
        self,
        flags: SupervisorFlags,
        specs: Sequence[ChildSpec[Any]],
        fraction: Callable[[], float] = lambda: 0.5,
    ) -> None:
        validate_children(specs, flags.auto_shutdown)
        self.flags = flags
        self._fraction = fraction
        self._children = ChildTable()
        for spec in specs:
            self._children.add(spec)
        self._lives: dict[int, Child] = {}
        self._tickets: dict[int, Child] = {}
        self._numbers = itertools.count(1)
        self._window = RestartWindow(flags.max_restarts, flags.max_seconds)
        self._queue: deque[Command | RestartDue | _Death | _Retry] = deque()
        self._begun = self._ready = self._stopping = False
        self._sequence: Steps | None = None
        self._awaiting: int | None = None
        self._caller: Command | None = None
        self._now = 0.0
        self._actions: list[Action] = []

    def handle(self, event: Event) -> list[Action]:
        """Take note of ``event`` and return what is to be done now, in that order."""
        self._now = event.now
        actions = self._actions = []
        match event:
            case ChildStarted() | ChildIgnored() | ChildStartFailed() | ChildExited() | KillTimeout():
                self._on_life(event)
            case StopTimeout():
                self._on_stop_timeout(event)
            case WhichChildren() | WhichChild() | CountChildren() | GetChildSpec():
                self._on_query(event)
            case RestartDue():
                self._queue.append(event)
            case Begin():
                if not self._begun and not self._stopping:
                    self._begun = True
                    self._run(self._init())
            case Stop(reason=reason):
                self._begin_stop(reason, f"asked to stop with {shown(reason)}")
            case GroupStopTimeout():
                pass  # a dynamic supervisor's
            case _:
                self._queue.append(event)
        self._serve()
        return actions

    # --- Events -------------------------------------------------------------------------------

    def _on_life(self, event: LifeEvent) -> None:
        child = self._lives.get(event.instance)
        if child is None:
            return
        if child.state == "unkillable":
            self._on_unkillable(child, event)
        elif child.state == "running":
            if isinstance(event, ChildExited) and child.exited is None:
                child.exited = event
                self._queue.append(_Death(event.instance))
        elif isinstance(event, KillTimeout) or isinstance(event, ChildExited) == (child.state == "stopping"):
            # Starting and stopping happen in sequences only, and these wait for nothing else.
            self._advance(event)

    def _on_unkillable(self, child: Child, event: LifeEvent) -> None:
        if isinstance(event, KillTimeout):
            return
        if isinstance(event, ChildStarted):
            # Killed during its init, and its init went through nevertheless.
            child.ref = event.ref
            because = "it was killed while it started, and started"
            self._emit(KillChild(child.instance, event.ref, because))
            return
        if isinstance(event, ChildExited):
            because = "killed earlier, it has ended at last; restart_child starts it again"
            self._report("child_terminated", child, event.reason, because)
        self._end_life(child, forget=child.dropped)
        if self._awaiting == ANY_UNKILLABLE:
            self._advance(None)

    def _on_stop_timeout(self, event: StopTimeout) -> None:
        child = self._lives.get(event.instance)
        if child is not None and child.state == "stopping" and not child.asked:
            child.asked = True
            because = f"asked to stop, it did not within {child.spec.shutdown} s"
            self._emit(KillChild(child.instance, child.ref, because))

    def _on_query(self, query: Query) -> None:
        if isinstance(query, WhichChildren):
            self._emit(Reply(query.call, self._children.infos()))
        elif isinstance(query, CountChildren):
            self._emit(Reply(query.call, self._children.counts()))
        else:
            child = self._children.get(query.id)
            if child is None:
                self._emit(ReplyError(query.call, ChildNotFound(query.id)))
            else:
                self._emit(Reply(query.call, child.info() if isinstance(query, WhichChild) else child.spec))

    # --- The queue ----------------------------------------------------------------------------

    def _serve(self) -> None:
        while self._queue and self._sequence is None and (self._ready or self._stopping):
            match self._queue.popleft():
                case _Death(instance=instance):
                    child = self._lives.get(instance)
                    if child is not None and child.exited is not None:
                        self._died(child, child.exited)
                case _Retry(ticket=ticket, reason=reason):
                    child = self._tickets.get(ticket)
                    if child is not None:
                        self._retry(child, reason)
                case RestartDue(ticket=ticket):
                    child = self._tickets.pop(ticket, None)
                    if child is not None:
                        child.ticket = 0
                        self._run(self._attempt(child))
                case command:
                    self._command(command)

    def _died(self, child: Child, end: ChildExited) -> None:
        spec, reason = child.spec, end.reason
        cause = f"{spec.restart} child exited with {shown(reason)}"
        if is_reported(spec.restart, reason):
            self._report("child_terminated", child, reason, cause)
        restarted = is_restarted(spec.restart, reason)
        self._end_life(child)
        if not restarted:
            self._consider_auto_shutdown(spec, cause)
            return
        allowed = self._allow_restart(child, reason, cause, end.counts)
        if allowed is not None:
            self._want_restart(child)
            self._run(self._take_along(child, end.now - child.since, allowed))

    def _retry(self, child: Child, reason: ExitReason) -> None:
        allowed = self._allow_restart(child, reason, f"restart failed with {shown(reason)}", True)
        if allowed is not None:
            self._schedule(child, 0.0, allowed)

    def _allow_restart(self, child: Child, reason: ExitReason, cause: str, counts: bool) -> str | None:
        """Why ``child`` may be restarted; None, and the supervisor ends, if it may not."""
        if not counts:
            return f"{cause}; caused by the node, so it does not count"
        flags, window = self.flags, self._window
        exceeded = window.add(self._now)
        numbers = f"{cause}; {window.count} restarts in {flags.max_seconds:g} s, {flags.max_restarts} allowed"
        if not exceeded:
            return numbers
        self._report("reached_max_restart_intensity", child, reason, numbers)
        self._cancel_restart(child, numbers)
        self._children.remove(child)
        self._begin_stop(Shutdown("reached_max_restart_intensity"), numbers)
        return None

    def _consider_auto_shutdown(self, spec: ChildSpec[Any], cause: str) -> None:
        when = self.flags.auto_shutdown
        if not spec.significant:
            return
        if when == "all_significant" and any(
            child.spec.significant and child.state != "undefined" for child in self._children
        ):
            return
        self._begin_stop(Shutdown("auto_shutdown"), f"significant {cause}; auto_shutdown is {when}")

    # --- Restarts -----------------------------------------------------------------------------

    def _want_restart(self, child: Child) -> None:
        child.state = "restarting"
        child.ticket = next(self._numbers)
        self._tickets[child.ticket] = child

    def _schedule(self, child: Child, lived: float, because: str) -> None:
        delay = 0.0
        if child.backoff is not None:
            delay = child.backoff.next_delay(lived, self._fraction())
            because = f"{because}; waits {delay:.3g} s, failure {child.backoff.failures} in a row"
        child.scheduled = True
        self._emit(ScheduleRestart(child.spec.id, child.ticket, delay, because))

    def _cancel_restart(self, child: Child, because: str) -> None:
        """Give up the restart of ``child``, if there is one pending."""
        if child.ticket:
            del self._tickets[child.ticket]
            if child.scheduled:
                self._emit(CancelRestart(child.spec.id, child.ticket, because))
            child.ticket = 0
            child.scheduled = False
            child.state = "undefined"

    def _take_along(self, child: Child, lived: float, because: str) -> Steps:
        """Stop what ``child`` takes along, then have it restarted."""
        yield from self._clear(self._taken_along(child), child)
        self._schedule(child, lived, because)

    def _taken_along(self, child: Child) -> Sequence[Child]:
        return taken_along(self.flags.strategy, self._children.in_order(), child)

    def _clear(self, group: Sequence[Child], failed: Child) -> Steps:
        because = f"{self.flags.strategy}: child {failed.spec.id!r} takes it along"
        for child in reversed(group):
            if child is not failed:
                self._cancel_restart(child, because)
                yield from self._stop(child, because)

    def _attempt(self, failed: Child) -> Steps:
        """Start ``failed`` and what it takes along. What runs is stopped before: a failed attempt
        left it there, or somebody started it meanwhile."""
        failed.scheduled = False
        group = self._taken_along(failed)
        yield from self._clear(group, failed)
        for child in group:
            # Temporary ones are gone by now, unkillable ones still there.
            if child in self._children and child.state in ("undefined", "restarting"):
                outcome = yield from self._start(child, restart=True)
                if isinstance(outcome, ChildStartFailed):
                    self._report("start_error", child, outcome.reason, "its restart failed")
                    self._want_restart(child)
                    self._queue.append(_Retry(child.ticket, outcome.reason))
                    return

    # --- Commands -----------------------------------------------------------------------------

    def _command(self, command: Command) -> None:
        if self._stopping:
            self._refuse(command)
            return
        if isinstance(command, StartChildCommand):
            self._start_child(command)
            return
        child = self._children.get(command.id)
        error: ActorkitError | None = None
        if child is None:
            error = ChildNotFound(command.id)
        elif child.state == "unkillable":
            error = ChildRunning(command.id, child.state)
        elif isinstance(command, TerminateChildCommand):
            self._cancel_restart(child, "terminate_child")
            child.forget_failures()
            self._run(self._terminate(child, command), command)
        elif child.state != "undefined":
            refusal = ChildRestarting if child.state == "restarting" else ChildRunning
            error = refusal(command.id, child.state)
        elif isinstance(command, RestartChildCommand):
            self._run(self._start_by_hand(child, command, known=True), command)
        else:
            self._children.remove(child)
            self._emit(Reply(command.call, None))
        if error is not None:
            self._emit(ReplyError(command.call, error))

    def _start_child(self, command: StartChildCommand) -> None:
        spec = command.spec
        child = self._children.get(spec.id)
        if child is None:
            try:
                validate_children((spec,), self.flags.auto_shutdown)
            except SpecError as error:
                self._emit(ReplyError(command.call, error))
            else:
                child = self._children.add(spec)
                self._run(self._start_by_hand(child, command, known=False), command)
            return
        error: ActorkitError
        if child.state == "unkillable":
            error = ChildRunning(spec.id, child.state)
        elif child.state == "running":
            error = ChildAlreadyStarted(spec.id, child.ref)
        else:
            error = ChildAlreadyPresent(spec.id, child.state)
        self._emit(ReplyError(command.call, error))

    def _start_by_hand(
        self, child: Child, command: StartChildCommand | RestartChildCommand, known: bool
    ) -> Steps:
        outcome = yield from self._start(child, restart=False)
        if isinstance(outcome, ChildStarted):
            self._emit(Reply(command.call, (outcome.ref, outcome.info)))
        elif isinstance(outcome, ChildIgnored):
            self._emit(Reply(command.call, None))
        else:
            if not known:
                self._drop(child)
            self._emit(ReplyError(command.call, StartFailed(child.spec.id, _start_failure(outcome))))

    def _terminate(self, child: Child, command: TerminateChildCommand) -> Steps:
        yield from self._stop(child, "terminate_child")
        if child.state == "unkillable":
            self._emit(ReplyError(command.call, ChildRunning(command.id, child.state)))
        else:
            self._emit(Reply(command.call, None))

    def _refuse(self, command: Command) -> None:
        child_id = command.spec.id if isinstance(command, StartChildCommand) else command.id
        self._emit(ReplyError(command.call, SupervisorStopping(child_id)))

    # --- Sequences ----------------------------------------------------------------------------

    def _run(self, sequence: Steps, caller: Command | None = None) -> None:
        self._sequence = sequence
        self._caller = caller
        self._advance(None)

    def _advance(self, outcome: LifeEvent | None) -> None:
        assert self._sequence is not None
        try:
            self._awaiting = self._sequence.send(outcome)
        except StopIteration:
            self._sequence = self._awaiting = self._caller = None

    def _init(self) -> Steps:
        for child in self._children.in_order():
            outcome = yield from self._start(child, restart=False)
            if isinstance(outcome, ChildStartFailed | KillTimeout):
                reason = _start_failure(outcome)
                because = f"child {child.spec.id!r} did not start: {shown(reason)}"
                self._report("start_error", child, reason, because)
                self._close(because)
                yield from self._stop_all(because)
                self._emit(InitFailed(Shutdown(FailedToStart(child.spec.id, reason)), because))
                return
        self._ready = True
        self._emit(Ready())

    def _begin_stop(self, reason: ExitReason, because: str) -> None:
        """Stop for ``reason``, unless the supervisor is stopping already: the first reason wins."""
        if self._stopping:
            return
        busy_with = self._lives.get(self._awaiting or 0)
        if self._sequence is not None:
            self._sequence.close()
        self._close(because)
        self._run(self._shutdown(busy_with, reason, because))

    def _close(self, because: str) -> None:
        """From here on nothing is begun any more. Answer whoever waits for that."""
        self._stopping = True
        if self._caller is not None:
            self._refuse(self._caller)
            self._caller = None
        for child in list(self._tickets.values()):
            self._cancel_restart(child, because)

    def _shutdown(self, busy_with: Child | None, reason: ExitReason, because: str) -> Steps:
        # The step that was interrupted comes first: children start and stop one at a time.
        if busy_with is not None and busy_with.state == "starting":
            self._emit(CancelStart(busy_with.instance, because))
            self._after_start(busy_with, (yield busy_with.instance))
        elif busy_with is not None and busy_with.state == "stopping":
            self._after_stop(busy_with, (yield busy_with.instance))
        yield from self._stop_all(because)
        self._emit(Finished(reason, because))

    def _stop_all(self, because: str) -> Steps:
        for child in reversed(self._children.in_order()):
            yield from self._stop(child, because)
        while self._lives:
            yield ANY_UNKILLABLE

    # --- Steps --------------------------------------------------------------------------------

    def _start(self, child: Child, restart: bool) -> Generator[int, LifeEvent, LifeEvent]:
        child.instance = next(self._numbers)
        child.state = "starting"
        self._lives[child.instance] = child
        self._emit(StartChild(child.instance, child.spec, restart))
        outcome = yield child.instance
        self._after_start(child, outcome)
        return outcome

    def _after_start(self, child: Child, outcome: LifeEvent) -> None:
        if isinstance(outcome, ChildStarted):
            child.state, child.ref, child.since = "running", outcome.ref, self._now
            self._report("progress", child, None, "started")
        elif isinstance(outcome, KillTimeout):
            self._give_up_killing(child, "killed while it started, it has not ended")
        else:
            self._end_life(child, forget=isinstance(outcome, ChildIgnored) and _is_temporary(child))

    def _stop(self, child: Child, because: str) -> Steps:
        """Stop ``child`` if it runs. One that has ended meanwhile counts as stopped by this."""
        if child.state != "running":
            return
        if child.exited is not None:
            self._after_stop(child, child.exited)
            return
        child.state = "stopping"
        self._emit(StopChild(child.instance, child.ref, child.spec.shutdown_time, because))
        self._after_stop(child, (yield child.instance))

    def _after_stop(self, child: Child, outcome: LifeEvent) -> None:
        if not isinstance(outcome, ChildExited):
            self._give_up_killing(child, "killed, it has not ended")
            return
        spec, reason = child.spec, outcome.reason
        if fell_short_of_orderly(spec.restart, spec.shutdown_time, reason):
            because = f"asked to stop, the {spec.restart} child ended with {shown(reason)}"
            self._report("shutdown_error", child, reason, because)
        self._end_life(child)

    def _give_up_killing(self, child: Child, because: str) -> None:
        child.state = "unkillable"
        self._report("unkillable", child, None, because)

    def _end_life(self, child: Child, forget: bool | None = None) -> None:
        """The life is over. Temporary children are forgotten with it, unless told otherwise."""
        del self._lives[child.instance]
        child.end_life()
        if _is_temporary(child) if forget is None else forget:
            self._children.remove(child)

    def _drop(self, child: Child) -> None:
        """Forget ``child``: now, or when it has ended."""
        if child.instance:
            child.dropped = True
        else:
            self._children.remove(child)

    def _report(self, kind: Any, child: Child, reason: ExitReason | None, because: str) -> None:
        self._emit(Report(kind, child.spec.id, reason, because, child.instance or None, child.ref))

    def _emit(self, action: Action) -> None:
        self._actions.append(action)


def _is_temporary(child: Child) -> bool:
    return child.spec.restart == "temporary"


def _start_failure(outcome: LifeEvent) -> ExitReason:
    """Why a start failed. One that was killed for its slow init and cannot be was killed."""
    return outcome.reason if isinstance(outcome, ChildStartFailed) else KILLED
