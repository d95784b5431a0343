"""Orderly ends: ``stop``, a parent's shutdown, and ``terminate``, the last message.

A stop overtakes the mailbox, but not the message at hand nor what that has put into
``continue_with``. Then ``terminate(reason)`` runs as one more message, and the actor is dead when
it has ended. Source: gen_server:stop/3, terminate/2; supervisor, shutdown.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...policy.exit_signals import Source
from ...reasons import ExitReason
from ..actor.envelope import Notice
from ..actor.links import send_signal
from ..actor.notices import Exit
from ..actor.record import Record
from ..actor.states import DEAD, QUEUED, RUNNING
from ..base.activations import way_in
from .death import Deaths

__all__ = ["OrderlyEnds"]


@way_in
def _terminate(obj: Any, terminate: Callable[..., Any], reason: ExitReason) -> Any:
    """An actor's last message. (``handling`` knows its name.)"""
    obj.ctx.need_control().final = reason
    return terminate(obj, reason)


class OrderlyEnds(Deaths):
    """See the module's docstring."""

    def exit_signal(self, target: Record[Any], reason: ExitReason, source: Record[Any] | None) -> None:
        """``ref.exit(reason)``."""
        send_signal(self, target, reason, source, Source.EXIT)

    def stop_actor(self, record: Record[Any], reason: ExitReason) -> None:
        """``ref.stop(reason)``: ``terminate`` after the message at hand and what it continues
        with."""
        if record.state == DEAD:
            return
        engine: Any = record.kind.engine
        if engine is not self:
            engine.stop_actor(record, reason)
            return
        if record.kind.process:
            self.shutdown_child(record, reason)
            return
        relations = record.relations
        if relations is not None and relations.terminating:
            return
        if record.state == RUNNING or (record.state == QUEUED and record.in_the_middle):
            control = record.need_control()
            if control.stop is None:
                control.stop = reason
            return
        self.begin_terminate(record, reason)
        if record.state != DEAD and record.state != QUEUED:
            record.make_ready()

    def begin_terminate(self, record: Record[Any], reason: ExitReason) -> None:
        """Make ``terminate(reason)`` its next and last message; without one it dies at once."""
        relations = record.need_relations()
        relations.terminating = True
        terminate = record.kind.terminate
        if terminate is None or record.obj is None:
            self.die(record, reason)
            return
        record.put_next_message(Notice((_terminate, (terminate, reason), None)))

    def shutdown_child(self, record: Record[Any], reason: ExitReason) -> None:
        """The parent's shutdown: a child that traps exits runs ``terminate``, any other dies at
        once."""
        if not record.traps_exits:
            self.end_now(record, reason)
        elif record.kind.process:
            record.post_info(Exit(record.parent, reason))
        else:
            self.stop_actor(record, reason)
