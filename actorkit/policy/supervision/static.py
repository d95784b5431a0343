"""The static supervisor: a machine that decides, and waits for nothing.

Whatever takes more than one step is a *sequence*: starting the children, stopping some and starting
them again, an administrative start or stop. A sequence is a generator that emits actions and yields
the instance that it needs to hear of next. There is at most one; the event that it waits for is
sent into it. So the order of starts and stops is the order of the generator's code.

Everything that must not overlap with a sequence waits in one queue: administrative calls, ends of
children that the sequence does not wait for, restarts that are due, and restarts that have failed.
The queue is served in order of arrival whenever no sequence runs. So it stands where OTP's
supervisor has its mailbox, and the same things happen in the same order. Unlike a mailbox it can be
read and cleared: listing calls are answered at once, and StopRequested closes the running sequence,
answers the queue, and begins the one sequence that nothing interrupts.

Between the end of a child (or a failed attempt) and the attempt to restart it, the machine is idle.
The child is ``restarting``, and has a *ticket*, which the shell hands in when the restart is due. A
ticket that has been cancelled is unknown, and is dropped.

``strategy`` has the rules that are the same whatever the machine is doing; ``child_lives`` has the
single steps; ``supervision_states`` has the tables.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from ...errors import (
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
from ...reasons import ExitReason, FailedToStart, Shutdown
from ...reasons import shown as shown_id
from . import supervision_events as ev
from .child_lives import ANY_UNKILLABLE, ChildLives, Steps, start_failure
from .child_spec import ChildSpec, validate_children
from .child_table import Child, ChildTable
from .restart_window import TOO_MANY_RESTARTS, RestartWindow
from .strategy import is_reported, is_restarted, shown, taken_along
from .supervision_states import Phase, PhaseStep, next_phase
from .supervisor_flags import SupervisorFlags

__all__ = ["Supervision"]


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
    child with a backoff is to be restarted. Raises DuplicateChildId and InvalidChildSpec (see
    ``validate_children``).
    """

    def __init__(
        self,
        flags: SupervisorFlags,
        specs: Sequence[ChildSpec[Any]],
        fraction: Callable[[], float] = lambda: 0.5,
    ) -> None:
        validate_children(specs, flags.auto_shutdown)
        self.flags = flags
        #: Its place in ``PHASE_TRANSITIONS``.
        self.phase: Phase = "new"
        #: Where random numbers come from.
        self._fraction = fraction
        #: The children it knows, in start order.
        self._children = ChildTable()
        for spec in specs:
            self._children.add(spec)
        #: Their present lives.
        self._lives = ChildLives(self._children)
        self._ticket_numbers = itertools.count(1)
        #: The children that are to be restarted, by ticket.
        self._tickets: dict[int, Child] = {}
        #: The restarts that count.
        self._window = RestartWindow(flags.max_restarts, flags.max_seconds)
        #: What waits until no sequence runs.
        self._queue: deque[ev.Command | ev.RestartDue | _Death | _Retry] = deque()
        #: What is being done, if it takes more than one step.
        self._sequence: Steps | None = None
        #: The instance that the sequence waits for, or ANY_UNKILLABLE.
        self._awaiting: int | None = None
        #: The command that the sequence will answer.
        self._caller: ev.Command | None = None

    def handle(self, event: ev.Event) -> list[ev.Action]:
        """Take note of ``event`` and return what is to be done now, in that order."""
        self._lives.now = event.now
        actions = self._lives.actions = []
        match event:
            case ev.WhichChildren() | ev.WhichChild() | ev.CountChildren() | ev.GetChildSpec():
                self._answer(event)
            case ev.Begin():
                if self.phase == "new":
                    self._enter("begin")
                    self._run(self._init())
            case ev.StopRequested(reason=reason):
                self._begin_stop(reason, f"asked to stop with {shown(reason)}")
            case ev.StopTimeout():
                self._lives.note_stop_timeout(event)
            case ev.RestartDue(ticket=ticket):
                child = self._tickets.get(ticket)
                if child is not None and child.scheduled:
                    child.scheduled = False  # the shell is through with it: nothing to cancel any more
                    self._later(event)
            case ev.GroupStopTimeout():
                pass  # a dynamic supervisor's
            case (
                ev.StartChildCommand() | ev.TerminateChildCommand() | ev.RestartChildCommand() | ev.DeleteChildCommand()
            ):
                self._later(event)
            case _:
                news = self._lives.note(event)
                if news == "of a step" or (news == "of an unkillable" and self._awaiting == ANY_UNKILLABLE):
                    self._advance(event)
                elif news == "of a death":
                    self._later(_Death(event.instance))
        self._serve()
        return actions

    def companions(self, ref: object) -> list[Any]:
        """The refs of the siblings that go down when the child that runs as ``ref`` ends
        abnormally, in start order: those that the strategy takes along. For choosing victims;
        nothing changes."""
        if self.flags.strategy == "one_for_one":
            return []
        for child in self._children:
            if child.ref == ref and child.state == "running":
                group = self._taken_along(child)
                return [other.ref for other in group if other is not child and other.state == "running"]
        return []

    def spec_of_ticket(self, ticket: int) -> ChildSpec[Any] | None:
        """The spec of the child that the ticket is to restart; None for an unknown ticket."""
        child = self._tickets.get(ticket)
        return None if child is None else child.spec

    def validate(self) -> None:
        """For tests: raise AssertionError if what it knows contradicts itself."""
        children = list(self._children)
        for child in children:
            child.validate()
            assert self._lives.get(child.instance or None) is (child if child.instance else None), child
            assert not child.ticket or self._tickets.get(child.ticket) is child, child
        for ticket, child in self._tickets.items():
            assert child.ticket == ticket, child
            assert child in self._children, child
        assert self._lives.instances() == {child.instance for child in children if child.instance}
        busy = [child for child in children if child.state in ("starting", "stopping")]
        assert len(busy) <= 1, f"two steps at once: {busy}"
        assert (self._sequence is None) == (self._awaiting is None)
        assert self._caller is None or self._sequence is not None
        assert self._sequence is not None or not busy, f"nobody waits for {busy}"
        if self._closed:
            assert not self._queue
            assert not self._tickets
        elif self.phase == "ready" and self._sequence is None:
            assert not self._queue, "nobody serves the queue"
        if self.phase == "over":
            assert not self._lives.instances()
        assert self._window.count <= self.flags.max_restarts + 1

    @property
    def _closed(self) -> bool:
        return self.phase in ("stopping", "over")

    def _enter(self, step: PhaseStep) -> None:
        self.phase = next_phase(self.phase, step)

    # --- The queue ----------------------------------------------------------------------------

    def _later(self, item: ev.Command | ev.RestartDue | _Death | _Retry) -> None:
        if not self._closed:
            self._queue.append(item)
        elif isinstance(item, ev.Command):
            self._refuse(item)

    def _serve(self) -> None:
        while self._queue and self.phase == "ready" and self._sequence is None:
            match self._queue.popleft():
                case _Death(instance=instance):
                    child = self._lives.get(instance)
                    if child is not None and child.exited is not None:
                        self._died(child, child.exited)
                case _Retry(ticket=ticket, reason=reason):
                    child = self._tickets.get(ticket)
                    if child is not None:
                        self._retry(child, reason)
                case ev.RestartDue(ticket=ticket):
                    child = self._tickets.pop(ticket, None)
                    if child is not None:
                        child.ticket = 0
                        self._run(self._attempt(child))
                case ev.StartChildCommand() as command:
                    self._start_child(command)
                case command:
                    self._administer(command)

    def _died(self, child: Child, end: ev.ChildExited) -> None:
        spec, reason = child.spec, end.reason
        cause = f"{spec.restart} child exited with {shown(reason)}"
        if is_reported(spec.restart, reason):
            self._lives.report("child_terminated", child, reason, cause)
        self._lives.end(child)
        if not is_restarted(spec.restart, reason):
            self._consider_auto_shutdown(spec, cause)
            return
        allowed = self._allow_restart(child, reason, cause, end.counts)
        if allowed is not None:
            self._want_restart(child)
            self._run(self._take_along(child, end.now - child.since, allowed, end.counts))

    def _retry(self, child: Child, reason: ExitReason) -> None:
        allowed = self._allow_restart(child, reason, f"restart failed with {shown(reason)}", True)
        if allowed is not None:
            self._schedule(child, 0.0, allowed)

    def _allow_restart(self, child: Child, reason: ExitReason, cause: str, counts: bool) -> str | None:
        """Why ``child`` may be restarted; None, and the supervisor ends, if it may not."""
        if not counts:
            return f"{cause}; the node did that, so it does not count"
        flags, window = self.flags, self._window
        exceeded = window.add(self._lives.now)
        numbers = f"{cause}; {window.count} restarts in {flags.max_seconds:g} s, {flags.max_restarts} allowed"
        if not exceeded:
            return numbers
        self._lives.report("reached_max_restart_intensity", child, reason, numbers)
        self._cancel_restart(child, numbers)
        self._children.remove(child)
        self._begin_stop(TOO_MANY_RESTARTS, numbers)
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
        child.take("want restart")
        child.ticket = next(self._ticket_numbers)
        self._tickets[child.ticket] = child

    def _schedule(self, child: Child, lived: float, because: str, counts: bool = True) -> None:
        delay = 0.0
        if child.backoff is not None:
            delay = child.backoff.next_delay(lived, self._fraction())
            because = f"{because}; waits {delay:.3g} s, failure {child.backoff.failures} in a row"
        child.scheduled = True
        self._emit(ev.ScheduleRestart(child.spec.id, child.ticket, delay, because, counts))

    def _cancel_restart(self, child: Child, because: str) -> None:
        """Give up the restart of ``child``, if one is pending."""
        if child.ticket:
            del self._tickets[child.ticket]
            if child.scheduled:
                self._emit(ev.CancelRestart(child.spec.id, child.ticket, because))
            child.ticket, child.scheduled = 0, False
            child.take("give up")

    def _taken_along(self, child: Child) -> Sequence[Child]:
        return taken_along(self.flags.strategy, self._children.in_order(), child)

    def _clear(self, group: Sequence[Child], failed: Child) -> Steps:
        because = f"{self.flags.strategy}: child {shown_id(failed.spec.id, 200)} takes it along"
        for child in reversed(group):
            if child is not failed:
                self._cancel_restart(child, because)
                yield from self._lives.stop(child, because)

    def _take_along(self, child: Child, lived: float, because: str, counts: bool) -> Steps:
        """Stop what ``child`` takes along, then have it restarted."""
        yield from self._clear(self._taken_along(child), child)
        self._schedule(child, lived, because, counts)

    def _attempt(self, failed: Child) -> Steps:
        """Start ``failed`` and what it takes along. What runs is stopped before: a failed attempt
        left it running, or somebody started it meanwhile."""
        group = self._taken_along(failed)
        yield from self._clear(group, failed)
        failed.take("attempt")  # should a sibling before it fail to start, its turn does not come
        for child in group:
            # Temporary ones are gone by now, unkillable ones still there.
            if child in self._children and child.state != "unkillable":
                outcome = yield from self._lives.start(child, restart=True)
                if isinstance(outcome, ev.ChildStartFailed):
                    self._lives.report("start_error", child, outcome.reason, "its restart failed")
                    self._want_restart(child)
                    self._later(_Retry(child.ticket, outcome.reason))
                    return

    # --- Administrative calls -----------------------------------------------------------------

    def _answer(self, query: ev.Query) -> None:
        if isinstance(query, ev.WhichChildren):
            self._emit(ev.AnswerCall(query.call, self._children.infos()))
        elif isinstance(query, ev.CountChildren):
            self._emit(ev.AnswerCall(query.call, self._children.counts()))
        else:
            child = self._children.get(query.id)
            if child is None:
                self._emit(ev.FailCall(query.call, ChildNotFound(query.id)))
            else:
                self._emit(ev.AnswerCall(query.call, child.info() if isinstance(query, ev.WhichChild) else child.spec))

    def _start_child(self, command: ev.StartChildCommand) -> None:
        spec = command.spec
        child = self._children.get(spec.id)
        refusal: ActorkitError
        if child is None:
            try:
                validate_children((spec,), self.flags.auto_shutdown)
                self._children.check_id(spec.id)
            except SpecError as error:
                refusal = error
            else:
                child = self._children.add(spec)
                self._run(self._start_by_hand(child, command), command)
                return
        elif child.state == "unkillable":
            refusal = ChildRunning(spec.id, child.state)
        elif child.state == "running":
            refusal = ChildAlreadyStarted(spec.id, child.ref)
        else:
            refusal = ChildAlreadyPresent(spec.id, child.state)
        self._emit(ev.FailCall(command.call, refusal))

    def _administer(self, command: ev.TerminateChildCommand | ev.RestartChildCommand | ev.DeleteChildCommand) -> None:
        child = self._children.get(command.id)
        refusal: ActorkitError
        if child is None:
            refusal = ChildNotFound(command.id)
        elif child.state == "unkillable":
            refusal = ChildRunning(command.id, child.state)
        elif isinstance(command, ev.TerminateChildCommand):
            self._run(self._terminate(child, command), command)
            return
        elif child.state == "restarting":
            refusal = ChildRestarting(command.id, child.state)
        elif child.state != "undefined":
            refusal = ChildRunning(command.id, child.state)
        elif isinstance(command, ev.RestartChildCommand):
            self._run(self._start_by_hand(child, command), command)
            return
        else:
            self._children.remove(child)
            self._emit(ev.AnswerCall(command.call, None))
            return
        self._emit(ev.FailCall(command.call, refusal))

    def _start_by_hand(self, child: Child, command: ev.StartChildCommand | ev.RestartChildCommand) -> Steps:
        outcome = yield from self._lives.start(child, restart=False)
        failure = start_failure(outcome)
        if failure is not None:
            if isinstance(command, ev.StartChildCommand):
                if child.state == "unkillable":
                    child.dropped = True
                else:
                    self._children.remove(child)
            self._emit(ev.FailCall(command.call, StartFailed(child.spec.id, failure)))
        elif isinstance(outcome, ev.ChildStarted):
            self._emit(ev.AnswerCall(command.call, outcome.ref))
        else:
            self._emit(ev.AnswerCall(command.call, None))

    def _terminate(self, child: Child, command: ev.TerminateChildCommand) -> Steps:
        self._cancel_restart(child, "terminate_child")
        child.forget_failures()
        yield from self._lives.stop(child, "terminate_child")
        if child.state == "unkillable":
            self._emit(ev.FailCall(command.call, ChildRunning(command.id, child.state)))
        else:
            self._emit(ev.AnswerCall(command.call, None))

    def _refuse(self, command: ev.Command) -> None:
        child_id = command.spec.id if isinstance(command, ev.StartChildCommand) else command.id
        self._emit(ev.FailCall(command.call, SupervisorStopping(child_id)))

    # --- Sequences ----------------------------------------------------------------------------

    def _run(self, sequence: Steps, caller: ev.Command | None = None) -> None:
        self._sequence = sequence
        self._caller = caller
        self._advance(None)

    def _advance(self, outcome: ev.Event | None) -> None:
        assert self._sequence is not None
        try:
            self._awaiting = self._sequence.send(outcome)
        except StopIteration:
            self._sequence = self._awaiting = self._caller = None

    def _init(self) -> Steps:
        for child in self._children.in_order():
            outcome = yield from self._lives.start(child, restart=False)
            failure = start_failure(outcome)
            if failure is not None:
                because = f"child {shown_id(child.spec.id, 200)} did not start: {shown(failure)}"
                self._lives.report("start_error", child, failure, because)
                self._close(because)
                yield from self._lives.stop_all(self._children.in_order(), because)
                yield from self._lives.wait_for_unkillables()
                self._enter("all ended")
                self._emit(ev.InitFailed(Shutdown(FailedToStart(child.spec.id, failure)), because))
                return
        self._enter("all started")
        self._emit(ev.Ready())

    def _begin_stop(self, reason: ExitReason, because: str) -> None:
        """Stop for ``reason``, unless the supervisor is stopping already: the first reason wins."""
        if self._closed:
            return
        busy_with = self._lives.get(self._awaiting)
        if self._sequence is not None:
            self._sequence.close()
        self._close(because)
        self._run(self._shutdown(busy_with, reason, because))

    def _close(self, because: str) -> None:
        """From here on nothing is begun any more. Answer whoever waits for that."""
        self._enter("stop")
        for command in (self._caller, *self._queue):
            if isinstance(command, ev.Command):
                self._refuse(command)
        self._queue.clear()
        for child in list(self._tickets.values()):
            self._cancel_restart(child, because)

    def _shutdown(self, busy_with: Child | None, reason: ExitReason, because: str) -> Steps:
        # The step that was interrupted comes first: children start and stop one at a time.
        if busy_with is not None:
            yield from self._lives.interrupt(busy_with, because)
        yield from self._lives.stop_all(self._children.in_order(), because)
        yield from self._lives.wait_for_unkillables()
        self._enter("all ended")
        self._emit(ev.Finished(reason, because))

    def _emit(self, action: ev.Action) -> None:
        self._lives.emit(action)
