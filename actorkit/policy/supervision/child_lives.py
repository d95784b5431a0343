"""The steps of a static supervisor's sequences: start one child, stop one child.

Each step is a generator. It emits its action, yields the instance that it waits for, and is sent
the event that ends the wait. This file also decides to whom an event is news: to a step, to the
supervisor, or to nobody, because it comes from a life that is over.

A child that does not end even when it is killed is *unkillable*. Its step ends at once, so its
siblings need not wait for it. It is kept in sight until it has ended after all, and nothing is
started in its place, since that would be two lives of one child.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Sequence
from typing import Any, Final, Literal

from ...reasons import KILLED, ExitReason
from . import supervision_events as ev
from .child_table import Child, ChildTable
from .strategy import fell_short_of_orderly, shown

__all__ = ["ANY_UNKILLABLE", "ChildLives", "LifeEvent", "News", "Steps", "start_failure"]

LifeEvent = ev.ChildStarted | ev.ChildIgnored | ev.ChildStartFailed | ev.ChildExited | ev.KillTimeout
Steps = Generator[int, Any, None]
News = Literal["of a step", "of a death", "of an unkillable", "none"]

ANY_UNKILLABLE: Final = 0
"""What a sequence yields to wait until some unkillable child is gone."""


class ChildLives:
    """The present lives of the children in ``children``."""

    def __init__(self, children: ChildTable) -> None:
        #: Where actions go. The supervisor puts a new list here for each event.
        self.actions: list[ev.Action] = []
        #: When the present event happened.
        self.now = 0.0
        self._children = children
        #: The children that have a life, by its instance.
        self._lives: dict[int, Child] = {}
        self._instances = itertools.count(1)

    def get(self, instance: int | None) -> Child | None:
        """The child that lives that life now."""
        return None if instance is None else self._lives.get(instance)

    def instances(self) -> set[int]:
        """All lives that are not over."""
        return set(self._lives)

    # --- Events -------------------------------------------------------------------------------

    def note(self, event: LifeEvent) -> News:
        """Take note of ``event`` and say to whom it is news."""
        child = self._lives.get(event.instance)
        if child is None:
            return "none"
        if child.state == "unkillable":
            return self._note_unkillable(child, event)
        if child.state == "running":
            if isinstance(event, ev.ChildExited) and child.exited is None:
                child.exited = event
                return "of a death"
            return "none"
        # It is starting or stopping. An exit is the only end of a stop, and never that of a start.
        exits = isinstance(event, ev.ChildExited)
        fits = isinstance(event, ev.KillTimeout) or exits == (child.state == "stopping")
        return "of a step" if fits else "none"

    def _note_unkillable(self, child: Child, event: LifeEvent) -> News:
        if isinstance(event, ev.KillTimeout):
            return "none"
        if isinstance(event, ev.ChildStarted):
            child.ref = event.ref
            because = "it was killed while it started, and has started nevertheless"
            self.emit(ev.KillChild(child.instance, child.ref, because))
            return "none"
        if isinstance(event, ev.ChildExited):
            because = "killed earlier, it has ended at last; restart_child starts it again"
            self.report("child_terminated", child, event.reason, because)
        self.end(child)
        if child.dropped:
            self._children.remove(child)
        return "of an unkillable"

    def note_stop_timeout(self, event: ev.StopTimeout) -> None:
        """Kill the child that did not stop in time: once."""
        child = self._lives.get(event.instance)
        if child is not None and child.state == "stopping" and not child.killed:
            child.killed = True
            because = f"asked to stop, it did not within {child.spec.shutdown} s"
            self.emit(ev.KillChild(child.instance, child.ref, because))

    # --- Steps --------------------------------------------------------------------------------

    def start(self, child: Child, restart: bool) -> Generator[int, LifeEvent, LifeEvent]:
        """Begin a new life of ``child``; returns what came of it."""
        child.instance = next(self._instances)
        child.take("start")
        self._lives[child.instance] = child
        self.emit(ev.StartChild(child.instance, child.spec, restart))
        outcome = yield child.instance
        self._after_start(child, outcome)
        return outcome

    def stop(self, child: Child, because: str) -> Steps:
        """Stop ``child`` if it runs. One that has ended meanwhile counts as stopped by this."""
        if child.state != "running":
            return
        if child.exited is not None:
            self._after_stop(child, child.exited)
            return
        child.take("stop")
        self.emit(ev.StopChild(child.instance, child.ref, child.spec.shutdown_time, because))
        self._after_stop(child, (yield child.instance))

    def stop_all(self, children: Sequence[Child], because: str) -> Steps:
        """Stop ``children`` in reverse order."""
        for child in reversed(children):
            yield from self.stop(child, because)

    def interrupt(self, child: Child, because: str) -> Steps:
        """Take over from a step that was closed: cancel its start, or see its stop through."""
        if child.state == "starting":
            self.emit(ev.CancelStart(child.instance, because))
            self._after_start(child, (yield child.instance))
        else:
            self._after_stop(child, (yield child.instance))

    def wait_for_unkillables(self) -> Steps:
        """Wait until no life is left. All other children are gone."""
        while self._lives:
            yield ANY_UNKILLABLE

    def _after_start(self, child: Child, outcome: LifeEvent) -> None:
        if isinstance(outcome, ev.ChildStarted):
            child.take("started")
            child.ref, child.since = outcome.ref, self.now
            self.report("progress", child, None, "started")
        elif isinstance(outcome, ev.KillTimeout):
            self._give_up(child, "killed while it started, it has not ended")
        else:
            self.end(child)

    def _after_stop(self, child: Child, outcome: LifeEvent) -> None:
        if not isinstance(outcome, ev.ChildExited):
            self._give_up(child, "killed, it has not ended")
            return
        spec, reason = child.spec, outcome.reason
        if fell_short_of_orderly(spec.restart, spec.shutdown_time, reason):
            because = f"asked to stop, the {spec.restart} child ended with {shown(reason)}"
            self.report("shutdown_error", child, reason, because)
        self.end(child)

    def _give_up(self, child: Child, because: str) -> None:
        child.take("did not end")
        self.report("unkillable", child, None, because)

    def end(self, child: Child) -> None:
        """The present life of ``child`` is over. A temporary child is forgotten with it."""
        del self._lives[child.instance]
        child.end_life()
        if child.spec.restart == "temporary":
            self._children.remove(child)

    # --- Actions ------------------------------------------------------------------------------

    def report(self, kind: ev.ReportKind, child: Child, reason: ExitReason | None, because: str) -> None:
        """Report about ``child``."""
        self.emit(ev.ReportChild(kind, child.spec.id, reason, because, child.instance or None, child.ref))

    def emit(self, action: ev.Action) -> None:
        """Add ``action`` to those of the present event."""
        self.actions.append(action)


def start_failure(outcome: LifeEvent) -> ExitReason | None:
    """Why a start failed; None if it did not. A child that was killed for its slow init and does
    not end has failed with Killed."""
    if isinstance(outcome, ev.ChildStartFailed):
        return outcome.reason
    return KILLED if isinstance(outcome, ev.KillTimeout) else None
