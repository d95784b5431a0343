"""Lifecycle: how an actor comes to be and how it ends.

Birth: a record gets its number, its name and (if asked) its link before the constructor runs; then ``init``, if the
class has one, is its first message. Death happens in one synchronous step (``die``), always in this order:

1. the state is DEAD, so nothing more is accepted;
2. names are free, timers off, whoever was called back at exit has been;
3. every caller in the mailbox, and everyone who waits for room or a later answer, fails at once; other messages are
   dead letters;
4. the owner (a supervisor) is told, then links, then monitors;
5. the object's state is *cleared*, not merely dropped: what the actor held is free, whoever else holds the object.

Before all this a supervised child may be measured, for what its next life will need (``footprints``).

An actor whose code is on the stack or suspended cannot die there: the reason is noted in its ``control``, its awaits
are cancelled, and it dies when its handler has ended.

**An end cannot fail.** Each step of it is taken whatever the others have raised (``_settle``): a callback, an owner, a
receiver of events, a finaliser. An exception is logged. KeyboardInterrupt and SystemExit leave through the node
(``leave``), which stops in order first. A step that found the stack full is taken again from a fresh one.
"""

from __future__ import annotations

import inspect
import sys
from collections import deque
from collections.abc import Callable, Collection
from threading import get_ident
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from ...errors import ActorExit, NodeStopped
from ...log import log
from ...policy.exit_signals import Source
from ...reasons import NORMAL, BadReturn, Crash, ExitReason, InitTimeout, as_reason, shown
from ..actor.dead_letters import DeadLetterReason
from ..actor.envelope import FirstMessage, Message, Notice, function_of
from ..actor.events import ActorCrashed, ActorExited, ActorStarted, DeadLetter, Events, Unkillable
from ..actor.later import Later
from ..actor.links import send_signal, tell_watchers
from ..actor.mailbox import newest_first
from ..actor.name_table import NameTable
from ..actor.notices import Exit
from ..actor.record import DEAD, IDLE, QUEUED, RUNNING, SUSPENDED, Record
from ..actor.relations import Relations
from ..actor.reports import report_crash, report_unkillable
from ..base.home import Home
from ..base.timers import Timer, Timers
from ..base.trio_internals import fatal_leaf, is_fatal
from ..budgets.footprints import Footprints
from ..budgets.node_budgets import Budgets
from .tombstone import clear_state

if TYPE_CHECKING:
    from ..actor.record import RecordKind

__all__ = ["IGNORE", "Lifecycle", "Starting", "Stop"]

RUNTIME_FRAMES: Final = 2
MAY_SUSPEND: Final = (
    inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR | inspect.CO_ITERABLE_COROUTINE
)


class _Ignore:
    """Returned by ``init``: this actor is not needed. It ends with Normal; its supervisor keeps the spec."""

    def __repr__(self) -> str:
        return "ak.IGNORE"


IGNORE: Final = _Ignore()


class Stop:
    """Returned by ``init``: do not start, for ``reason``. Raises TypeError for what is no exit reason."""

    __slots__ = ("reason",)

    def __init__(self, reason: ExitReason) -> None:
        self.reason = as_reason(reason, "refuse a start")


class Starting:
    """Takes the outcome of ``init``, in the place of a caller; tells ``watcher(record, reason | None, ignored)``."""

    __slots__ = ("caller", "ignored", "later", "reason", "record", "task", "timer", "watcher")

    def __init__(
        self, record: Record[Any], watcher: Callable[[Record[Any], ExitReason | None, bool], None] | None
    ) -> None:
        self.record = record
        self.watcher = watcher
        self.timer: Timer | None = None
        self.task = self
        self.caller = None
        self.later: Later[Any] | None = None
        self.ignored = False
        self.reason: ExitReason | None = None

    def ok(self, value: object) -> None:
        if value is None:
            self._tell(None, False)
        elif isinstance(value, Later):
            value._attach(self, self.record)
        elif value is IGNORE:
            self.ignored = True
            self._end(NORMAL)
        elif isinstance(value, Stop):
            self._end(value.reason)
        else:
            self._end(BadReturn(f"{self.record.kind.label}.init", shown(value, 200)))

    def _end(self, reason: ExitReason) -> None:
        """Without ``terminate``, as OTP's init does. Whoever waits is told in that end, when the name is free."""
        record = self.record
        self.reason = reason
        if record.state == DEAD:
            self.fail(reason)
            return
        record.owe(self)
        if record.state == RUNNING:
            record.need_control().final = reason
        else:
            record.kind.scheduler.die(record, reason)

    def promised(self, later: Later[Any] | None) -> None:
        """``init`` has answered with ``later``."""
        self.later = later

    def fail(self, reason: ExitReason) -> None:
        """It has ended, by what it returned or otherwise."""
        if self.ignored:
            self._tell(None, True)
        else:
            self._tell(reason if self.reason is None else self.reason, False)

    def refuse(self, error: Exception) -> None:
        """It answered later, with an exception; or the message was dropped."""
        self._end(Crash.from_exception(error))

    def _tell(self, reason: ExitReason | None, ignored: bool) -> None:
        if self.timer is not None:
            self.timer.cancel()
        watcher, self.watcher = self.watcher, None
        if watcher is not None:
            watcher(self.record, reason, ignored)


def _terminate(obj: Any, terminate: Callable[..., Any], reason: ExitReason) -> Any:
    """An actor's last message."""
    obj.ctx.need_control().final = reason
    return terminate(obj, reason)


def _alone(error: BaseException) -> BaseException:
    """What a task in an actor's nursery has raised, taken out of its group."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _let_go(error: BaseException) -> None:
    """Free what the frames of a reported exception hold, and of those that led to it. A coroutine's frame may be
    suspended by now, with the exception shared: clearing it would end it (until Python 3.13), so those are only let go
    of. An exception that a caller is handling just now (Python makes it the context of whatever is raised below) is the
    caller's, and left alone."""
    todo: list[BaseException | None] = [error]
    running = _stack() if error.__context__ is not None else ()
    for _ in range(100):
        if not todo:
            break
        one = todo.pop()
        if one is None or (one is not error and _passes(one, running)):
            continue
        todo += (one.__cause__, one.__context__)
        if isinstance(one, BaseExceptionGroup):
            todo += one.exceptions
        tb = one.__traceback__
        one.__traceback__ = None
        while tb is not None:
            frame = tb.tb_frame
            if not frame.f_code.co_flags & MAY_SUSPEND:
                try:
                    frame.clear()
                except RuntimeError:  # it runs
                    pass
            tb = tb.tb_next


def _stack() -> set[FrameType]:
    """The frames that are being executed now, but for this one and its caller's (they would hold themselves)."""
    frames = set()
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        frames.add(frame)
        frame = frame.f_back
    return frames


def _passes(error: BaseException, frames: Collection[FrameType]) -> bool:
    tb = error.__traceback__
    while tb is not None:
        if tb.tb_frame in frames:
            return True
        tb = tb.tb_next
    return False


class _End:
    """The end of one actor: what its record held, until each of it has been seen to."""

    __slots__ = ("messages", "obj", "reason", "record", "relations", "todo")

    def __init__(self, record: Record[Any], reason: ExitReason) -> None:
        self.record = record
        self.reason = reason
        self.messages = record.detach()
        self.obj = record.obj
        self.relations = record.relations
        self.todo: list[tuple[Callable[..., object], tuple[Any, ...]]] = []
        """What is left of the step at hand, the next one last."""


class Lifecycle:
    """See the module's docstring. The scheduler is built on top of it."""

    name: str
    incarnation: int
    current: Record[Any] | None
    budgets: Budgets

    def __init__(self, kill_timeout: float) -> None:
        self.actors: dict[int, Record[Any]] = {}
        self.current = None
        self.home = Home()
        self.thread = self.home.ident
        self.timers = Timers(self.home, self.leave)
        self.names: NameTable[Record[Any]] = NameTable()
        self.events = Events(self.home, self.step_failed)
        self.learned = Footprints()
        self.kill_timeout = kill_timeout
        self.last_reason: ExitReason = NORMAL
        self.doomed: list[Record[Any]] = []
        self.unsettled: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        """What found the stack full in the middle of an end, to be done from a fresh one: (function, arguments)."""
        self.left: BaseException | None = None
        """KeyboardInterrupt or SystemExit from users' code: it comes out of the node when that has stopped."""
        self.dying: dict[Record[Any], Timer] = {}
        self.unkillable: dict[Record[Any], None] = {}
        self.stopping = False
        self.memory_watchers: dict[Record[Any], None] = {}
        self.monitor_count = 0
        self.numbers = 0
        self.crashed_count = 0
        self.dead_letters = 0
        self.telling: deque[Any] | None = None

    # --- birth --------------------------------------------------------------------------------

    def admit(self, record: Record[Any], link_to: Record[Any] | None) -> None:
        """Enter a newborn: number, name, link. Raises NodeStopped or AlreadyRegistered with nothing done."""
        if self.stopping and record.kind.owner is None:  # a supervisor restarts until it is told to stop
            raise self.refuse_start(record.kind)
        ends = () if link_to is None else ((record.need_relations(), link_to), (link_to.need_relations(), record))
        name = record.kind.name
        if name is not None:
            self.names.register(name, record)
        try:
            # No Python function may be called here: the stack may end anywhere, and what is half entered never dies.
            for relations, far in ends:
                if relations.links is None:
                    relations.links = {}
                relations.links[far] = None
            self.actors[record.number] = record
        except BaseException:  # MemoryError: a table could not grow
            for relations, far in ends:
                if relations.links is not None:
                    relations.links.pop(far, None)
            if name is not None:
                self.names.release(name, record)
            raise

    def refuse_start(self, kind: RecordKind) -> NodeStopped:
        """What a spawn gets while the node stops."""
        return NodeStopped(f"cannot start {kind.label}: node {self.name!r} is stopping; open another one")

    def stillborn(self, record: Record[Any], error: BaseException, link_to: Record[Any] | None) -> ExitReason:
        """The constructor raised. Whoever spawned gets the error only, no signal (as OTP since 26)."""
        if link_to is not None and link_to.relations is not None and link_to.relations.links is not None:
            link_to.relations.links.pop(record, None)
            if record.relations is not None:
                record.relations.links = None
        control = record.control
        if control is not None and control.kill is not None:
            reason = control.kill
        else:
            reason = error.reason if isinstance(error, ActorExit) else Crash.from_exception(error, 1)
        self._forget(error)
        record.kind.owner, owner = None, record.kind.owner
        try:
            self.die(record, reason)
        finally:
            record.kind.owner = owner
        if self.doomed:
            self.bury_doomed()
        return reason

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

    def begin_init(
        self, record: Record[Any], watcher: Callable[[Record[Any], ExitReason | None, bool], None] | None
    ) -> None:
        """Queue ``init`` as the first message, with its deadline."""
        kind = record.kind
        starting = Starting(record, watcher)
        seconds = kind.options.init_timeout
        if seconds != float("inf"):
            starting.timer = self.timers.after(seconds, self._init_late, record, seconds)
        record.put_first(FirstMessage((kind.init, (), starting)))
        record.make_ready()

    def _init_late(self, record: Record[Any], seconds: float) -> None:
        self.end_now(record, InitTimeout(seconds))

    # --- end ----------------------------------------------------------------------------------

    def end_now(self, record: Record[Any], reason: ExitReason) -> None:
        """End ``record`` now, or as soon as its code lets go: an untrappable end, without ``terminate``.
        The first reason counts."""
        if self.doomed or self.unsettled:
            self.bury_doomed()
        if record.state == DEAD:
            return
        scheduler: Any = record.kind.scheduler
        if scheduler is not self:  # it lives on another node: a link, or a ref, has led there
            scheduler.end_now(record, reason)
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
        """Its awaits were cancelled ``kill_timeout`` ago. trio cannot abandon a task: say so and wait."""
        if record.state == DEAD or record in self.unkillable:
            return
        self.unkillable[record] = None
        report_unkillable(record, self.kill_timeout)
        if self.events.wanted(Unkillable):
            self.events.emit(Unkillable(record, record.pid, record.started_as, self.kill_timeout))

    def exit_signal(self, target: Record[Any], reason: ExitReason, source: Record[Any] | None) -> None:
        """``ref.exit(reason)``."""
        send_signal(self, target, reason, source, Source.EXIT)

    def stop_actor(self, record: Record[Any], reason: ExitReason) -> None:
        """An orderly end: ``terminate`` after the message at hand and what it has put into
        ``continue_with``, overtaking the mailbox."""
        if record.state == DEAD:
            return
        scheduler: Any = record.kind.scheduler
        if scheduler is not self:
            scheduler.stop_actor(record, reason)
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
        record.put_next(Notice((_terminate, (terminate, reason), None)))

    def shutdown_child(self, record: Record[Any], reason: ExitReason) -> None:
        """The parent's shutdown: a child that traps exits runs ``terminate``, any other dies at once
        (gen_server, terminate/2)."""
        if not record.traps_exits:
            self.end_now(record, reason)
        elif record.kind.process:
            record.post_info(Exit(record.parent, reason))
        else:
            self.stop_actor(record, reason)

    def leave(self, error: BaseException) -> None:
        """Users' code has raised KeyboardInterrupt or SystemExit, alone or in a group. That is for whoever runs the
        node: it stops in order, then raises the first of them."""
        if self.left is None:
            self.left = fatal_leaf(error)

    def step_failed(self, error: BaseException) -> None:
        """A step of an end, or of what must go on like one, has raised. It goes on."""
        if is_fatal(error):
            self.leave(error)
        else:
            log.error("a step of an actor's end raised; the end goes on", exc_info=error)

    def reason_of(self, record: Record[Any], error: BaseException, frames: int = RUNTIME_FRAMES) -> ExitReason:
        """Why it ends whose handler has raised: a kill that is due, what ``exit_now`` said, or the error. ``frames`` of
        the runtime come first in its traceback."""
        control = record.control
        if control is not None and control.kill is not None:
            return control.kill
        leaf = _alone(error)
        if isinstance(leaf, ActorExit) and isinstance(leaf.reason, ExitReason):
            return leaf.reason
        return Crash.from_exception(error, frames)

    def crashed(self, record: Record[Any], error: BaseException, reply: Any) -> bool:
        """A handler raised. True: ``terminate`` is its next message; False: it is dead."""
        try:
            return self._crashed(record, error, reply)
        except RecursionError:
            raise  # nothing is half done that burying it would not do; see ``doomed``
        except BaseException as failure:
            self.step_failed(failure)
            reason = Crash(type(error).__qualname__, "its crash could not be handled in order")
            self.die(record, reason)
            if reply is not None:
                reply.fail(reason)
            return False

    def _crashed(self, record: Record[Any], error: BaseException, reply: Any) -> bool:
        control = record.control
        relations = record.relations
        # OTP calls terminate/2 once, and not for an init that failed.
        terminating = (relations is not None and relations.terminating) or type(reply) is Starting
        reason = self.reason_of(record, error)
        if control is None or control.kill is None:
            self.report_end(record, reason)
        kind = record.kind
        if kind.footprint is not None and kind.process and (control is None or control.kill is None):
            try:
                self.learned.at_death(record, reason, error, _alone(error))
            except BaseException as failure:
                self.step_failed(failure)
        self._forget(error)
        killed = control is not None and control.kill is not None
        if killed or terminating or record.kind.terminate is None:
            self.die(record, reason)
            if reply is not None:
                reply.fail(reason)
            return False
        if reply is not None:  # its caller hears when it is dead, and its name free
            record.owe(reply)
        self.begin_terminate(record, reason)
        return record.state != DEAD

    def _forget(self, error: BaseException) -> None:
        """It has been reported: free what its frames hold. What leaves the runtime keeps its traceback."""
        if not is_fatal(error):
            try:
                _let_go(error)
            except RecursionError:
                pass
            except BaseException as failure:
                self.step_failed(failure)

    def report_end(self, record: Record[Any], reason: ExitReason) -> None:
        """An actor ends by its own doing: if abnormally, that is reported (OTP: terminate/2's reason)."""
        if not reason.abnormal:
            return
        self.crashed_count += 1
        try:
            report_crash(record, reason)
        except BaseException as failure:  # the stack is full, say: its end does not depend on the report
            log.debug("a crash report could not be written: %s", type(failure).__qualname__)
        if self.events.wanted(ActorCrashed):
            self.events.emit(ActorCrashed(record, record.pid, record.started_as, reason))

    def attend(self, record: Record[Any]) -> bool:
        """The message at hand is done: look at the control lane. False: dead or suspended, draw nothing more."""
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
            record.put_next(control.continuations.popleft())
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

    def _settle(self, step: int, end: _End) -> None:
        """Take the steps of an end that come after ``step``, whatever they raise. Most actors need few of them."""
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

    def settle_later(self, step: Callable[..., None], *arguments: Any) -> None:
        """The stack is full: take this step of an end from a fresh one."""
        self.unsettled.append((step, arguments))
        try:
            self.timers.after(0, self.bury_doomed)
        except (RecursionError, MemoryError):
            pass  # the next end does it, or the node's stop

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

    # --- after a message ----------------------------------------------------------------------

    def blame(self, actor: Record[Any], why: str) -> None:
        """The actor broke a rule that the runtime found out after its handler: it ends as if it had raised."""
        if actor.state != DEAD:
            self.crashed(actor, RuntimeError(why), None)
            if actor.state != DEAD and actor.state != QUEUED:
                self.requeue(actor)

    def requeue(self, actor: Record[Any], wake: bool = True) -> None:
        """Its handler has ended: on to the next message, or idle. ``wake=False``: the caller takes the token itself."""
        if actor.goes_idle():
            actor.state = IDLE
        elif wake:
            actor.make_ready()
        else:
            actor.state = QUEUED
            actor.kind.runq.append(actor)

    # --- what could not be delivered ------------------------------------------------------------

    def dead_letter(self, record: Record[Any], message: Message, reason: DeadLetterReason, details: str = "") -> None:
        """Count a message that nobody will handle, and tell those who asked."""
        if self.events.listened:
            self.home.check("send to", record)
        self.dead_letters += 1
        if self.events.wanted(DeadLetter):
            name = getattr(function_of(message), "__qualname__", "send")
            self.events.emit(
                DeadLetter(record, record.pid, record.started_as, name, message[1], reason.text(details), reason)
            )

    def dead_name(self, name: str, what: Any, args: tuple[Any, ...]) -> None:
        """As ``dead_letter``, for a name that nobody holds."""
        if get_ident() != self.thread:
            raise self.home.refuse("send to", repr(name))
        self.dead_letters += 1
        if self.events.wanted(DeadLetter):
            reason = DeadLetterReason.NO_SUCH_NAME
            message = what if isinstance(what, str) else getattr(what, "__qualname__", None) or shown(what, 100)
            self.events.emit(DeadLetter(None, None, repr(name), message, args, reason.text(), reason))

    def exit_noticed(self) -> None:
        """An actor has ended while the node stops."""

    def announce(self, record: Record[Any]) -> None:
        """Tell of a newborn."""
        if self.events.wanted(ActorStarted):
            self.events.emit(ActorStarted(record, record.pid, record.started_as))
