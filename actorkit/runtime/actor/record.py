"""Record: one life of one actor, and the hot path of every message.

An idle actor is this record and the user's object, and nothing else: no task, no queue. The mailbox is two lists, both
None while empty: senders append to ``inbox``; the pump takes it whole, reversed, as ``outbox`` and pops from its end.
So an empty mailbox costs nothing, its exact length is the sum of both, and whoever sheds or measures can see all of it.

A message is the tuple ``(function, args, reply)``: the function that the receiver's class runs, its arguments after the
object, and who waits for the answer (or None).

Life: IDLE ⇄ QUEUED (in the run queue) → RUNNING (on the stack, or suspended in an await) → IDLE …, and DEAD from
anywhere. SUSPENDED is ``sys.suspend``: messages gather, nothing runs.

Everything rare lives in ``relations`` (links, monitors, names, waiting senders …), made on first use.
"""

from __future__ import annotations

import math
from functools import partial
from threading import get_ident
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ...errors import CallCycle, CalleeDied, CallError, CallTimeout, MailboxFull
from ...reasons import KILL, NOPROC, NORMAL, ExitReason, as_reason, bounded
from ..base.boundary_frames import BOUNDARY_FRAMES
from ..base.trio_internals import (
    RUN,
    WAKE,
    Trap,
    caller_is_cancelled,
    close_left_open,
    current_task,
    park,
    reads_tasks,
    runs_in,
)
from .calls import Later, Reply, SenderWaiting, waits_for
from .messages import IdleTimeout, Pid
from .ref import Ref
from .relations import ControlLane, Relations

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Callable

    from trio.lowlevel import Task

    from ...policy.memory.memory_sample import Priority
    from ..life.scheduler import Scheduler
    from .actor_kind import ActorKind

__all__ = ["DEAD", "IDLE", "QUEUED", "RUNNING", "STATES", "SUSPENDED", "Continuation", "Message", "Notice", "Record"]

IDLE: Final = 0
QUEUED: Final = 1
RUNNING: Final = 2
DEAD: Final = 3
SUSPENDED: Final = 4
STATES: Final = ("waiting", "runnable", "running", "exiting", "suspended")
"""process_info's word for each state."""

Message = tuple[Any, tuple[Any, ...], Any]


class Notice(tuple[Any, tuple[Any, ...], Any]):
    """A message of the runtime's own (Down, Exit, timers, ``init`` …), to which no bound, overflow policy or shedding
    applies."""

    __slots__ = ()


class Continuation(Notice):
    """More of the message before it (``continue_with``): always the next one, and nothing comes
    between the two but a kill."""

    __slots__ = ()


A_co = TypeVar("A_co", covariant=True)


class Record(Ref[A_co]):
    """See the module's docstring."""

    __slots__ = (
        "__weakref__",
        "account",
        "control",
        "inbox",
        "kind",
        "number",
        "obj",
        "outbox",
        "parent",
        "pending",
        "relations",
        "state",
        "variables",
        "worker",
    )

    def __init__(self, kind: ActorKind, number: int, parent: Record[Any] | None) -> None:
        self.kind = kind
        self.number = number
        self.parent = parent
        self.state = RUNNING
        self.obj: Any = None
        self.inbox: list[Message] | None = None
        self.outbox: list[Message] | None = None
        self.control: ControlLane | None = None
        self.worker: Any = None
        self.variables: contextvars.Context | None = None
        self.relations: Relations | None = None
        self.pending: Any = None
        self.account: Any = None

    # --- messages -----------------------------------------------------------------------------

    def cast(self, method: Any, /, *args: Any, **kwargs: Any) -> bool:
        kind = self.kind
        try:
            function = kind.known[method]
        except (KeyError, TypeError):
            function = kind.checked_cast(method, args, kwargs)
        if kwargs:
            function = partial(function, **kwargs)
        inbox = self.inbox
        if inbox is None:
            state = self.state
            if state == IDLE:
                scheduler = kind.scheduler
                if not scheduler.busy:
                    scheduler.wake("cast to", self)
                self.inbox = [(function, args, None)]
                self.state = QUEUED
                kind.runq.append(self)
                return True
            outbox = self.outbox
            if state == DEAD or (outbox is not None and len(outbox) >= kind.bound):
                return self._overflow((function, args, None))
            self.inbox = [(function, args, None)]
            return True
        outbox = self.outbox
        if len(inbox) + (0 if outbox is None else len(outbox)) >= kind.bound:
            return self._overflow((function, args, None))
        inbox.append((function, args, None))
        return True

    def send(self, message: object, /) -> bool:
        kind = self.kind
        inbox = self.inbox
        if inbox is None:
            state = self.state
            if state == IDLE:
                scheduler = kind.scheduler
                if not scheduler.busy:
                    scheduler.wake("send to", self)
                self.inbox = [(kind.info, (message,), None)]
                self.state = QUEUED
                kind.runq.append(self)
                return True
            outbox = self.outbox
            if state == DEAD or (outbox is not None and len(outbox) >= kind.bound):
                return self._overflow((kind.info, (message,), None))
            self.inbox = [(kind.info, (message,), None)]
            return True
        outbox = self.outbox
        if len(inbox) + (0 if outbox is None else len(outbox)) >= kind.bound:
            return self._overflow((kind.info, (message,), None))
        inbox.append((kind.info, (message,), None))
        return True

    def post(self, message: Message) -> None:
        """Deliver what no bound, overflow policy or shedding applies to: Down, Exit, timers, the runtime's own."""
        if self.state == DEAD:
            self._refuse(message, "dead")
        elif self.inbox is None:
            if self.state == IDLE:
                self.make_ready()
            self.inbox = [message]
        else:
            self.inbox.append(message)

    def post_info(self, message: object) -> None:
        """``post``, to ``handle_info`` or ``receive``."""
        self.post(Notice((self.kind.info, (message,), None)))

    def make_ready(self) -> None:
        """Put this idle actor, which has something to do, on its run queue."""
        kind = self.kind
        scheduler = kind.scheduler
        if not scheduler.busy:
            try:
                scheduler.wake()
            except BaseException:  # the stack is full; what it has already must be run by whoever is woken next
                if self.inbox is not None or self.outbox:
                    self.state = QUEUED
                    kind.runq.append(self)
                raise
        self.state = QUEUED
        kind.runq.append(self)

    @property
    def mailbox_length(self) -> int:
        """Messages that wait, exactly."""
        return (0 if self.inbox is None else len(self.inbox)) + (0 if self.outbox is None else len(self.outbox))

    def _overflow(self, message: Message) -> bool:
        """The mailbox is at its bound, or there is none any more. True: accepted after all, or dropped by a policy that
        does not trouble the sender."""
        if self.state == DEAD:
            return self._refuse(message, "dead")
        overflow = self.kind.overflow
        if overflow == "drop_newest":
            self._refuse(message, "dropped as the newest of a full mailbox")
            return True
        if overflow != "drop_oldest":
            return self._refuse(message, "mailbox full")
        oldest = self._take_oldest()
        if oldest is None:
            return self._refuse(message, "mailbox full of notices")
        self.kind.scheduler.dead_letter(self, oldest, "dropped as the oldest of a full mailbox")
        if oldest[2] is not None:
            oldest[2].refuse(MailboxFull(f"the call was dropped as the oldest of {self.describe()}'s full mailbox"))
        if self.inbox is None:
            self.inbox = [message]
        else:
            self.inbox.append(message)
        return True

    def _take_oldest(self) -> Message | None:
        """Remove the oldest message that is not a Notice."""
        outbox, inbox = self.outbox or [], self.inbox or []
        for index in range(len(outbox) - 1, -1, -1):
            if type(outbox[index]) is tuple:
                return outbox.pop(index)
        for index, message in enumerate(inbox):
            if type(message) is tuple:
                return inbox.pop(index)
        return None

    def _refuse(self, message: Message, why: str) -> bool:
        self.kind.scheduler.dead_letter(self, message, why)
        return False

    # What waits must be held by its message alone, or it would look as if its sender still had it: so no frame that is
    # suspended keeps a message or its arguments in a variable.

    async def send_wait(self, message: object, /) -> None:
        waiting = self._enqueue_wait((self.kind.info, (message,), None))
        del message
        await waiting

    async def cast_wait(self, method: Any, /, *args: Any, **kwargs: Any) -> None:
        kind = self.kind
        try:
            function = kind.known[method]
        except (KeyError, TypeError):
            function = kind.checked_cast(method, args, kwargs)
        if kwargs:
            function = partial(function, **kwargs)
            kwargs.clear()
        waiting = self._enqueue_wait((function, args, None))
        del function, args, kwargs
        await waiting

    def _fits(self, message: Message) -> bool:
        """May it come in, whatever the number of messages? Without a budget anything may."""
        return True

    def heap_is_full(self, what: str) -> MailboxFull:
        """The error of a sender whose message does not fit into the receiver's budget. This one has none: a look at
        its heap has ended it."""
        return MailboxFull(f"cannot {what} {self.describe()}: it is dead", target=self.describe())

    def _has_room(self) -> bool:
        return self.mailbox_length < self.kind.bound and not (self.relations is not None and self.relations.senders)

    async def _enqueue_wait(self, message: Message) -> None:
        scheduler = self.kind.scheduler
        task = self._current_task("send to")
        if caller_is_cancelled(task, scheduler.features):
            await scheduler.checkpoint()
        if self.state == DEAD:
            del message
            await scheduler.checkpoint()  # whoever tries again and again must let others run
            raise CalleeDied(self.describe(), NOPROC)
        if self._has_room():
            if self._fits(message):
                self.post(message)
                del message
                await scheduler.yield_if_due(task)
                return
            if self.state in (IDLE, DEAD):
                raise self.heap_is_full("send to")
        caller = scheduler.current
        if caller is not None and waits_for(self, caller):
            raise CallCycle(
                f"{caller.describe()} cannot wait for room in the mailbox of {self.describe()}, which waits for it: "
                "neither would ever drain; use send() and handle its refusal, or a larger mailbox",
                target=self.describe(),
            )
        waiting = SenderWaiting(task, self, caller, message)
        del message
        self.need_senders()[waiting] = None
        got = await park(Trap(waiting.abort))
        waiting.forget_caller()
        if got is not WAKE:
            got.unwrap()
        if waiting.error is not None:
            raise waiting.error

    def admit_senders(self) -> None:
        """The pump has emptied the mailbox: move in those who wait for room, in their order."""
        relations = self.relations
        senders = None if relations is None else relations.senders
        if senders is None:
            return
        room = self.kind.bound - self.mailbox_length
        while room > 0 and senders:
            waiting = next(iter(senders))
            message = waiting.message
            assert message is not None
            if not self._fits(message):
                if self.mailbox_length:
                    return
                del senders[waiting]
                waiting.refuse(self.heap_is_full("send to"))
                continue
            del senders[waiting]
            if waiting.admitted():
                room -= 1
                waiting.message = None
                if self.inbox is None:
                    self.inbox = [message]
                else:
                    self.inbox.append(message)

    # --- calls --------------------------------------------------------------------------------

    @reads_tasks
    async def call(self, method: Any, /, *args: Any, **kwargs: Any) -> Any:
        """See ``Ref.call``. One long function: this is the hot path."""
        kind = self.kind
        scheduler = kind.scheduler
        function = kind.inline[method]
        watched = kind.watched
        task: Any
        if watched:
            try:
                task = RUN.task  # current_task(), without the call
            except AttributeError:
                raise self._not_from_here("call") from None
            if task.trio_runner is not kind.runner:
                raise self._not_from_here("call")
            status = task.trio_cancel_status
            if status.effectively_cancelled:
                await scheduler.checkpoint()
        else:
            status = None
            task = self._current_task("call")
            if caller_is_cancelled(task, scheduler.features):
                await scheduler.checkpoint()
        if function is not None and self.state == IDLE and not kwargs:
            # Inline: the callee is idle, has no message and no signal, and cannot suspend.
            failure: BaseException | None = None
            result: Any = None
            previous = scheduler.current
            scheduler.current = self
            self.state = RUNNING
            hook = scheduler.step_hook
            if hook is not None:
                hook(self)
            failure = None
            try:
                context = self.variables
                if context is None:
                    free = scheduler.free_contexts
                    context = free.pop() if free else scheduler.base_context.copy()
                    result = context.run(function, self.obj, *args)
                    try:
                        if context != scheduler.base_context:
                            self.variables = context
                        else:
                            free.append(context)
                    except BaseException:  # of a value's __eq__
                        self.variables = context
                else:
                    result = context.run(function, self.obj, *args)
            except BaseException as error:
                scheduler.current = previous
                if hook is not None:
                    hook(previous)
                try:
                    failure = scheduler.inline_crash(self, error, function, args)
                except RecursionError:  # the caller's stack is full
                    scheduler.doomed.append(self)
                    raise
                if watched and task.trio_cancel_status is not status:
                    await close_left_open(task, status, scheduler.features)
            if (
                failure is not None
            ):  # not from within: as its context, the callee's exception would keep the callee's state
                args = ()
                if isinstance(failure, Exception):
                    await scheduler.yield_if_due(task)
                raise failure
            scheduler.current = previous
            if watched and task.trio_cancel_status is not status:
                if hook is not None:
                    hook(previous)
                await close_left_open(task, status, scheduler.features)
                raise scheduler.left_scope_open(self)
            if self.inbox is None and self.control is None and self.outbox is None:
                self.state = IDLE
            else:
                scheduler.after_inline(self)
            if hook is not None:
                args = ()  # what it was given is its own now: it must not look as if we held it too
                hook(previous)
                if previous is not None and result is not None:
                    scheduler.received(result)
            scheduler.inline_left = left = scheduler.inline_left - 1
            if left <= 0 and scheduler.slice_is_over():
                await scheduler.breathe()
            answer = type(result)
            if answer is Later or answer is CoroutineType:
                return await self._not_yet(method, result)
            return result
        if self.state == DEAD:
            await scheduler.checkpoint()  # whoever tries again and again must let others run
            raise CalleeDied(self.describe(), NOPROC, method=method.__qualname__)
        reply = Reply(task, self, scheduler.current)
        function = kind.handlers[method]
        if kwargs:
            function = partial(function, **kwargs)
            kwargs.clear()
        reply.bucket = bucket = scheduler.deadlines.newest
        try:
            if not scheduler.deadlines.armed:
                scheduler.deadlines.arm()
            bucket[reply] = None
            self._enqueue_call((function, args, reply), reply)
        except BaseException as error:
            reply.task = None  # nobody waits: its deadline must not wake the caller from something else
            reply.abandoned()
            if isinstance(error, CallError):
                del function, args, kwargs
                await scheduler.checkpoint()
            raise
        del function, args, kwargs
        got = await park(Trap(reply.abort))
        if reply.caller is not None:
            reply.forget_caller()
        if got is not WAKE:
            got.unwrap()
        if reply.error is not None:
            raise _naming(method, reply.error)
        if scheduler.step_hook is not None:
            scheduler.received(reply.value)
        return reply.value

    async def _not_yet(self, method: Any, result: Any) -> Any:
        """An inline call has returned what is not its answer yet."""
        scheduler = self.kind.scheduler
        if type(result) is Later and result._done:
            if result._error is not None:
                raise result._error
            return result._value
        if self.state == DEAD:
            if type(result) is CoroutineType:
                result.close()
            raise CalleeDied(self.describe(), scheduler.last_reason, method=method.__qualname__)
        reply = Reply(current_task(), self, scheduler.current)
        deadlines = scheduler.deadlines
        reply.bucket = bucket = deadlines.newest
        if not deadlines.armed:
            deadlines.arm()
        bucket[reply] = None
        if type(result) is Later:
            result._attach(reply, self)
        else:
            # A plain function that returns a coroutine (a decorator's wrapper): the pool carries it, now and from now
            # on.
            self.kind.inline[method] = None
            reply.remember_caller()
            message: Message = Continuation((_carry_on, (result,), reply))
            if self.outbox is None:
                self.outbox = [message]
            else:
                self.outbox.append(message)
            if self.state == IDLE:
                self.make_ready()
        return await self._answer(reply, method)

    async def _answer(self, reply: Reply, asked: Any) -> Any:
        """Wait for it. ``asked``: the method, or as text what an error says instead."""
        got = await park(Trap(reply.abort))
        if reply.caller is not None:
            reply.forget_caller()
        if got is not WAKE:
            got.unwrap()
        if reply.error is not None:
            raise _naming(asked, reply.error)
        scheduler = self.kind.scheduler
        if scheduler.step_hook is not None:
            scheduler.received(reply.value)
        return reply.value

    async def _call_within(self, seconds: float, method: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        kind = self.kind
        scheduler = kind.scheduler
        kind.inline[method]
        function: Callable[..., Any] = kind.handlers[method]
        task = self._current_task("call")
        if caller_is_cancelled(task, scheduler.features):
            await scheduler.checkpoint()
        if self.state == DEAD:
            await scheduler.checkpoint()
            raise CalleeDied(self.describe(), NOPROC, method=method.__qualname__)
        reply = Reply(task, self, scheduler.current)
        timer = None
        if seconds != math.inf:
            timer = scheduler.timers.after(seconds, reply.expire, seconds)
        try:
            if kwargs:
                function = partial(function, **kwargs)
                kwargs.clear()
            try:
                self._enqueue_call((function, args, reply), reply)
            except CallError:
                reply.abandoned()
                await scheduler.checkpoint()
                raise
            del function, args, kwargs
            return await self._answer(reply, method)
        except BaseException:
            reply.task = None
            reply.abandoned()
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def _current_task(self, what: str) -> Task:
        """The task that asks something of this actor. Raises if it is none of the node's trio run."""
        scheduler = self.kind.scheduler
        try:
            task = current_task()
        except RuntimeError:
            raise self._not_from_here(what) from None
        if not runs_in(task, scheduler.runner) or get_ident() != scheduler.thread:
            raise self._not_from_here(what)
        return task

    def _not_from_here(self, what: str) -> Exception:
        """What somebody gets who is in no task of the node's trio run. The dead are dead everywhere."""
        if self.state == DEAD:
            return CalleeDied(self.describe(), NOPROC)
        return self.kind.scheduler.home.refuse(what, self)

    def _enqueue_call(self, message: Message, reply: Reply) -> None:
        """Queue a call, or fail it at once. The caller parks on ``reply`` next."""
        caller = reply.caller
        if caller is not None:
            if self is caller or (self.pending is not None and waits_for(self, caller)):
                raise self._cycle(reply, caller)
            reply.remember_caller()
        kind = self.kind
        inbox = self.inbox
        if inbox is None:
            if self.state == IDLE:
                self.make_ready()
                self.inbox = [message]
                return
            if self.mailbox_length < kind.bound:
                self.inbox = [message]
                return
        elif self.mailbox_length < kind.bound:
            inbox.append(message)
            return
        if kind.overflow == "wait":
            self.need_senders()[SenderWaiting.for_call(reply, self, message)] = None
        elif kind.overflow != "drop_oldest" or not self._overflow(message):
            reply.discard()
            reply.forget_caller()
            raise MailboxFull(
                f"cannot call {self.describe()}: its mailbox holds {self.mailbox_length} of "
                f"{kind.bound:g} messages; "
                "slow down, raise .with_(mailbox=…), or choose overflow='wait'",
                target=self.describe(),
            )

    def _cycle(self, reply: Reply, caller: Record[Any]) -> CallCycle:
        """The error of a caller that this actor waits for."""
        reply.discard()
        return CallCycle(
            f"{caller.describe()} called itself: the answer would never come; call the method directly, or cast"
            if self is caller
            else f"{caller.describe()} cannot call {self.describe()}, which waits for it: the answer would never "
            "come; use cast, or answer with ak.Later",
            target=self.describe(),
        )

    # --- control ------------------------------------------------------------------------------

    def exit(self, reason: ExitReason) -> None:
        scheduler = self.kind.scheduler
        scheduler.home.check("end", self)
        scheduler.exit_signal(self, as_reason(reason, "exit an actor"), scheduler.current)

    def kill(self) -> None:
        self.exit(KILL)

    def stop(self, reason: ExitReason | None = None) -> None:
        scheduler = self.kind.scheduler
        scheduler.home.check("stop", self)
        scheduler.stop_actor(self, NORMAL if reason is None else as_reason(reason, "stop an actor"))

    # --- looking ------------------------------------------------------------------------------

    @property
    def pid(self) -> Pid:
        scheduler = self.kind.scheduler
        return Pid(scheduler.name, scheduler.incarnation, self.number)

    @property
    def alive(self) -> bool:
        return self.state != DEAD

    def need_relations(self) -> Relations:
        """Its relations, made on first use."""
        relations = self.relations
        if relations is None:
            relations = self.relations = Relations(self.kind.traps_exits)
        return relations

    def need_control(self) -> ControlLane:
        """Its control lane, made on first use."""
        control = self.control
        if control is None:
            control = self.control = ControlLane()
        return control

    def idle_for(self, seconds: float) -> None:
        """The idle timeout has passed."""
        relations = self.relations
        if relations is not None:
            relations.idle_timer = None
        if self.state == IDLE:
            self.post_info(IdleTimeout(seconds))
        elif self.state != DEAD:
            self.kind.scheduler.restart_idle_timer(self)

    def need_senders(self) -> dict[SenderWaiting, None]:
        """Who waits for room, in the order of their coming; made on first use."""
        relations = self.need_relations()
        if relations.senders is None:
            relations.senders = {}
        return relations.senders

    @property
    def traps_exits(self) -> bool:
        """Does it get exit signals as messages?"""
        relations = self.relations
        return self.kind.traps_exits if relations is None else relations.traps_exits

    @property
    def memory_priority(self) -> Priority:
        """Who is given up first under memory pressure: its own, or its spec's."""
        relations = self.relations
        own = None if relations is None else relations.memory_priority
        return self.kind.options.priority if own is None else own

    @property
    def scheduler(self) -> Scheduler:
        """Who runs it."""
        return self.kind.scheduler

    @property
    def started_as(self) -> str:
        """The class, and the registered name if there is one."""
        relations = self.relations
        name = relations.name if relations is not None and relations.name is not None else self.kind.name
        return f"{self.kind.label} {name!r}" if name is not None else self.kind.label

    def describe(self) -> str:
        """For messages: pid, class, name and state."""
        return f"{self.pid} ({self.started_as}, {STATES[self.state] if self.state != DEAD else 'dead'})"

    def __repr__(self) -> str:
        return bounded(f"<Ref {self.describe()}>", 200)


def _naming(asked: Any, error: BaseException) -> BaseException:
    """The error of a call, telling what was asked for; ``asked`` is the method, or text."""
    if isinstance(error, (CalleeDied, CallTimeout)) and not error.method:
        error.method = asked if isinstance(asked, str) else asked.__qualname__
    return error


def _carry_on(_: Any, coro: Any) -> Any:
    """The message that hands a coroutine to the pool."""
    return coro


BOUNDARY_FRAMES.add(Record.call.__code__)
