"""Death: how an actor ends, and why an end cannot fail.

``die`` is one synchronous step, always in this order:

1. the state is DEAD, so nothing more is accepted;
2. its budget ends, its name is free, its timers are off, whoever asked to be called back at its
   exit has been;
3. every caller in the mailbox, and everyone who waits for room or for a later answer, fails at
   once; other messages are dead letters;
4. the owner (a supervisor) is told, then links, then monitors;
5. the object's state is *cleared*, not merely dropped: what the actor held is free, whoever else
   holds the object;
6. an event tells of it.

Before all this a supervised child may be measured, for what its next life will need
(``footprints``).

An actor whose code is on the stack or suspended cannot die there (``end_now``): the reason is noted
in its control lane, its awaits are cancelled, and it dies when its handler has ended. trio cannot
abandon a task, so an actor that still runs after ``kill_timeout`` is reported, and waited for.

**An end cannot fail.** Each step of it is taken whatever the others have raised (``_settle``): a
callback, an owner, a receiver of events, a finaliser. An exception is logged. KeyboardInterrupt and
SystemExit leave through the node (``leave``), which stops in order first. A step that finds the
stack full is taken again from a fresh one: it lies in ``unsettled`` with its arguments, or its
actor in ``doomed``, until a timer, the next end, or the node's stop calls ``bury_doomed``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...heap.clock import nobodys
from ...reasons import Crash, ExitReason
from ..actor.dead_letters import DeadLetterReason
from ..actor.events import ActorExited, Unkillable
from ..actor.links import tell_watchers
from ..actor.mailbox import newest_first
from ..actor.record import Record
from ..actor.relations import Relations
from ..actor.reports import report_unkillable
from ..actor.states import DEAD, RUNNING
from .node_tables import NodeTables
from .tombstone import clear_state

__all__ = ["Deaths"]


class _End:
    """The end of one actor: what its record held, until each of it has been seen to."""

    __slots__ = ("messages", "obj", "reason", "record", "relations", "todo")

    def __init__(self, record: Record[Any], reason: ExitReason) -> None:
        self.record = record
        self.reason = reason
        self.messages = record.detach_messages()
        self.obj = record.obj
        self.relations = record.relations
        #: What is left of the step at hand, the next one last.
        self.todo: list[tuple[Callable[..., object], tuple[Any, ...]]] = []


class Deaths(NodeTables):
    """See the module's docstring."""

    @nobodys
    def end_now(self, record: Record[Any], reason: ExitReason) -> None:
        """End ``record`` now, or as soon as its code lets go: an untrappable end, without
        ``terminate``. The first reason counts."""
        if self.doomed or self.unsettled:
            self.bury_doomed()
        if record.state == DEAD:
            return
        engine: Any = record.kind.engine
        if engine is not self:  # it lives on another node: a link, or a ref, has led there
            engine.end_now(record, reason)
            return
        worker = record.worker
        if worker is None and record.state != RUNNING:
            self.die(record, reason)
            return
        control = record.need_control()
        if control.kill is None:
            control.kill = reason
            kind = record.kind
            if kind.footprint is not None and kind.process and not self.stopping:
                try:
                    self.learned.at_kill(record, reason)
                except BaseException as failure:
                    self.step_failed(failure)
        if worker is not None:
            worker.interrupt()
        if record not in self.dying:
            self.dying[record] = self.timers.after(self.kill_timeout, self._still_there, record)

    def _still_there(self, record: Record[Any]) -> None:
        """Its awaits were cancelled ``kill_timeout`` ago."""
        if record.state == DEAD or record in self.unkillable:
            return
        self.unkillable[record] = None
        report_unkillable(record, self.kill_timeout)
        if self.events.wanted(Unkillable):
            self.events.emit(Unkillable(record, record.pid, record.started_as, self.kill_timeout))

    def die(self, record: Record[Any], reason: ExitReason) -> None:
        """See the module's docstring. Synchronous, at most once."""
        if record.state == DEAD:
            return
        kind = record.kind
        if kind.footprint is not None and not (kind.process or self.stopping or record.obj is None):
            try:
                self.learned.at_death(record, reason)
            except BaseException as error:
                self.step_failed(error)
        record.state = DEAD
        self.last_reason = reason
        del self.actors[record.number]
        plain = (
            record.relations is None
            and kind.owner is None
            and kind.name is None
            and not (record.inbox or record.outbox)  # the mailbox, written out
            and not (self.budgets.all or self.dying or self.events.listened or self.stopping)
        )
        end = None if plain else _End(record, reason)
        obj = record.obj
        record.inbox = record.outbox = record.control = record.variables = None
        record.obj = record.pending = None
        if end is not None:
            self._settle(0, end)
        elif obj is not None:  # nobody is to be told, nothing to be freed but its state
            try:
                clear_state(obj, kind)
            except BaseException as error:
                self.step_failed(error)

    # --- the steps of an end ---------------------------------------------------------------------

    @nobodys
    def _settle(self, step: int, end: _End) -> None:
        """Take the steps of an end that come after ``step``, whatever they raise. Most actors need
        few of them."""
        record, relations = end.record, end.relations
        kind = record.kind
        while True:
            try:
                if step < 1:
                    step = 1
                    if self.budgets.all or self.dying:
                        self._end_budget(end)
                if step < 2:
                    step = 2
                    if kind.name is not None or (relations is not None and relations.name is not None):
                        self._end_name(end)
                if relations is not None:
                    if step < 3:
                        step = 3
                        if relations.timers or relations.idle_timer is not None:
                            self._end_timers(relations)
                    if step < 4:
                        step = 4
                        if relations.at_exit or end.todo:
                            self._end_callbacks(end, relations)
                    if step < 5:
                        step = 5
                        if relations.senders or relations.deferred or end.todo:
                            self._end_callers(end, relations)
                if step < 6:
                    step = 6
                    if end.messages is not None or end.todo:
                        self._end_mailbox(end)
                if step < 7:
                    step = 7
                    if kind.owner is not None:
                        kind.owner.child_exited(record, end.reason)
                if step < 8:
                    step = 8
                    if relations is not None:
                        tell_watchers(self, record, end.reason)
                if step < 9:
                    step = 9
                    obj, end.obj = end.obj, None
                    if obj is not None:
                        clear_state(obj, kind)
                if step < 10:
                    step = 10
                    if self.events.wanted(ActorExited):
                        self.events.emit(ActorExited(record, record.pid, record.started_as, end.reason))
                if self.stopping:
                    self.exit_noticed()
                return
            except RecursionError:
                self.settle_later(self._settle, step - 1, end)
                return
            except BaseException as error:
                self.step_failed(error)

    def _work_off(self, end: _End) -> None:
        while end.todo:
            do, arguments = end.todo.pop()
            try:
                do(*arguments)
            except RecursionError:
                end.todo.append((do, arguments))
                raise
            except BaseException as error:
                self.step_failed(error)

    def _end_budget(self, end: _End) -> None:
        record = end.record
        if self.budgets.all:
            self.budgets.end(record)
        if self.dying and (timer := self.dying.pop(record, None)) is not None:
            self.unkillable.pop(record, None)
            timer.cancel()

    def _end_name(self, end: _End) -> None:
        relations, name = end.relations, end.record.kind.name
        if relations is not None and relations.name is not None:
            name = relations.name
        if name is not None:
            self.names.release(name, end.record)

    def _end_timers(self, relations: Relations[Record[Any]]) -> None:
        if relations.idle_timer is not None:
            relations.idle_timer.cancel()
        timers, relations.timers = relations.timers, None
        for timer in list(timers or ()):
            timer.cancel()

    def _end_callbacks(self, end: _End, relations: Relations[Record[Any]]) -> None:
        callbacks, relations.at_exit = relations.at_exit, None
        end.todo += [(callback, (end.record, end.reason)) for callback in reversed(callbacks or ())]
        self._work_off(end)

    def _end_callers(self, end: _End, relations: Relations[Record[Any]]) -> None:
        senders, relations.senders = relations.senders, None
        deferred, relations.deferred = relations.deferred, None
        waiting = (*(senders or ()), *(deferred or ()))
        end.todo += [(one.fail, (end.reason,)) for one in reversed(waiting)]
        self._work_off(end)

    def _end_mailbox(self, end: _End) -> None:
        messages, end.messages = end.messages, None
        for message in () if messages is None else newest_first(messages):  # what is to do is taken from its end
            if message[2] is not None:
                end.todo.append((message[2].fail, (end.reason,)))
            else:
                end.todo.append((self.dead_letter, (end.record, message, DeadLetterReason.RECEIVER_ENDED)))
        self._work_off(end)

    # --- the stack was full ----------------------------------------------------------------------

    def settle_later(self, step: Callable[..., None], *arguments: Any) -> None:
        """The stack is full: take this step of an end from a fresh one."""
        self.unsettled.append((step, arguments))
        try:
            self.timers.after(0, self.bury_doomed)
        except (RecursionError, MemoryError):
            pass  # the next end does it, or the node's stop

    def bury_doomed(self) -> None:
        """End those that could not be ended when they had to be: the stack was full."""
        for _ in range(len(self.unsettled)):  # what finds the stack full again comes back
            step, arguments = self.unsettled.popleft()
            try:
                step(*arguments)
            except RecursionError:
                self.settle_later(step, *arguments)
        while self.doomed:
            record = self.doomed.pop()
            name = record.kind.name
            if name is not None:
                self.names.release(name, record)
            self.die(record, Crash("RecursionError", "the stack was full when it began or ended"))
