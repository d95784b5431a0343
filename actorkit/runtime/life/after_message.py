"""Between two messages: what an actor attends to before it takes the next one.

Its control lane comes first, in this order (see ``control.ControlLane``): a kill, an end that
``init`` or ``terminate`` has decided, the rest of the message (``continue_with``), requests of the
system, a stop, what it is to hear before other messages, a suspension. Then the actor goes on to
its mailbox, or idles.
"""

from __future__ import annotations

from typing import Any

from ..actor.record import Record
from ..actor.states import DEAD, IDLE, QUEUED, SUSPENDED
from .crash import Crashes

__all__ = ["AfterMessage"]


class AfterMessage(Crashes):
    """See the module's docstring."""

    def attend(self, record: Record[Any]) -> bool:
        """The message at hand is done: look at the control lane. False: dead or suspended, draw
        nothing more."""
        control = record.control
        if control is None:
            return True
        if control.kill is not None:
            self.die(record, control.kill)
            return False
        if control.final is not None:
            self.die(record, control.final)
            return False
        if record.in_the_middle:
            return True
        if control.continuations:  # more of the message: a stop, or who wants to look, waits
            record.put_next_message(control.continuations.popleft())
            return True
        while control.requests:
            try:
                control.requests.popleft()()
            except BaseException as failure:
                self.step_failed(failure)
            kill = record.need_control().kill
            if kill is not None:  # whoever asked has killed it
                self.die(record, kill)
                return False
        if control.stop is not None:
            reason, control.stop = control.stop, None
            self.report_end(record, reason)
            self.begin_terminate(record, reason)
            return record.state != DEAD
        if control.ahead is not None:
            record.put_next_message(control.ahead)
            control.ahead = None
        if control.suspended:
            record.state = SUSPENDED
            return False
        if control.idle:
            self.restart_idle_timer(record)
        elif control.over:
            record.control = None
        return True

    def restart_idle_timer(self, record: Record[Any]) -> None:
        """A message was handled: count the idle time anew."""
        relations = record.need_relations()
        if relations.idle_timer is not None:
            relations.idle_timer.cancel()
            relations.idle_timer = None
        if relations.idle_seconds is not None:
            relations.idle_timer = self.timers.after(relations.idle_seconds, record.idle_for, relations.idle_seconds)

    def requeue(self, actor: Record[Any], wake: bool = True) -> None:
        """Its handler has ended: on to the next message, or idle. ``wake=False``: the caller takes
        the token itself."""
        if actor.goes_idle():
            actor.state = IDLE
        elif wake:
            actor.make_ready()
        else:
            actor.state = QUEUED
            actor.kind.runq.append(actor)

    def blame(self, actor: Record[Any], why: str) -> None:
        """The actor broke a rule that the runtime found out after its handler: it ends as if it had
        raised."""
        if actor.state != DEAD:
            self.crashed(actor, RuntimeError(why), None)
            if actor.state != DEAD and actor.state != QUEUED:
                self.requeue(actor)
