"""Processes: actors written as one async function, with a trio task of their own and selective
receive.

Use a process for code that lives in awaits: a protocol, a stream, a script of steps. Use a class
actor for state that many talk to: it costs no task while idle. A process is stepped by hand like
any handler, so ``current``, kills and attribution work as they do for class actors.

Its mailbox is that of every record (see ``mailbox``). A message that ``receive`` does not want
stays in the mailbox, in its place. Source: erlang receive; proc_lib.
"""

from __future__ import annotations

import contextvars
import math
from collections.abc import Callable
from types import GenericAlias
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast, overload

import trio
from trio.lowlevel import Abort, Task, current_task, reschedule

from ...heap.clock import nobodys
from ...heap.walk import size_of
from ...policy.seconds import as_seconds
from ...reasons import NORMAL, shown
from ..actor.context import ActorContext
from ..actor.envelope import Notice
from ..actor.record import Record
from ..actor.states import DEAD, IDLE, RUNNING
from ..base.activations import way_in
from ..base.interrupts import interruptible
from ..base.trio_internals import (
    START_FRAMES,
    WAKE,
    WAKE_FRAMES,
    Trap,
    caller_is_cancelled,
    close_nurseries,
    fatal_within,
    park,
    room,
)
from ..budgets.budgeted_record import BudgetedRecord
from .stepping import BEGIN, Driver

if TYPE_CHECKING:
    from .scheduler import Scheduler

__all__ = ["BudgetedReceiver", "Process", "ReceivingContext", "start_process"]

M = TypeVar("M")


class Process:
    """The type of a process's ref: ``Ref[Process]``. A process has no declared messages: others
    ``send`` to it, and it does ``receive``."""

    __slots__ = ()

    trap_exit = False

    def handle_info(self, message: object) -> None:
        """A process takes its messages with ``receive``."""

    def init(self) -> None:
        """A process begins with its function."""

    def terminate(self) -> None:
        """A process ends with its function: use ``try``/``finally`` there."""


class ReceivingContext(ActorContext[Process]):
    """What only a process may do to itself: ``receive``. What its function gets is
    ``runtime.node.ProcessContext``."""

    __slots__ = ()

    def send(self, message: object, /) -> bool:
        if self.state == IDLE:  # a task is woken
            self.kind.engine.home.check("send to", self)
        if self.state == DEAD or self.mailbox_length >= self.kind.bound:
            return self.overflow_mailbox((self.kind.info, (message,), None))
        self.put_message((self.kind.info, (message,), None))
        return True

    def make_ready(self) -> None:
        worker: ProcessWorker = self.worker
        receiver = worker.receiver
        if receiver is not None:
            room(WAKE_FRAMES)
            worker.receiver = None
            reschedule(receiver, WAKE)
        self.state = RUNNING

    def post_ahead(self, message: object) -> None:
        """The next ``receive`` that wants it gets it before older messages."""
        if self.state == DEAD:
            return
        worker: ProcessWorker = self.worker
        if worker.receiver is not None:
            # Its task may be about to park, and cannot be woken before it has.
            self.kind.engine.timers.after(0, self._put_ahead, message)
        else:
            self._put_ahead(message)

    def _put_ahead(self, message: object) -> None:
        if self.state == DEAD:
            return
        worker: ProcessWorker = self.worker
        self.forget_notices(type(message))
        if self.state == IDLE:
            self.make_ready()
        self.gather_messages()
        self.put_next_message(Notice((self.kind.info, (message,), None)))
        worker.overtaken = True

    @overload
    async def receive(self, *, within: float | None = None) -> Any: ...
    @overload
    async def receive(self, wanted: type[M], *, within: float | None = None) -> M: ...
    @overload
    async def receive(self, wanted: Callable[[Any], object], *, within: float | None = None) -> Any: ...
    @way_in
    async def receive(self, wanted: Any = None, *, within: float | None = None) -> Any:
        """Wait for the oldest message, or for the oldest one that is ``wanted``, and take it.

        Args:
            wanted: a class, or a predicate. Other messages stay in the mailbox, in order. Scanning
                costs O(messages left there).
            within: seconds to wait at most; 0 takes what is there. None or ``math.inf``: for ever.

        A message that is there, or comes in time, is taken, however short the time. For a deadline
        of several steps use trio's: ``with trio.move_on_after(2): …``. A scope that is cancelled
        already cancels ``receive`` even if a message waits. Cancellation and deadlines lose no
        message. A killed process gets no more messages.

        Raises:
            trio.TooSlowError: no such message came in time.
            trio.BusyResourceError: another task of this process is receiving.
            ValueError: ``within`` is negative, or no number. The fault is the caller's.

        Source: erlang, receive … after.

        Example::

            down = await ctx.receive(ak.Down)
            word = await ctx.receive(str, within=2)
        """
        self._self("receive")
        deadline = math.inf if within is None else _deadline(within)
        task = current_task()
        engine = self.kind.engine
        await engine.yield_if_due(task)
        if caller_is_cancelled(task, engine.features):  # asked last: a kill, too, may have come while others ran
            await engine.checkpoint()
        worker: ProcessWorker = self.worker
        if worker.receiver is not None:
            raise self._busy()
        test = _test_of(wanted)
        refused = 0
        late = False
        while True:
            worker.overtaken = False
            if self.gather_messages():
                found = self.find_message(test, refused)
                if found is not None:
                    return self._took(found)
                refused = self.gathered
            if self.has_arrivals:
                continue  # the predicate itself has sent something here
            if late:
                raise trio.TooSlowError(f"nothing that is wanted came within {within:g} s")
            worker.receiver = task
            self.state = IDLE
            if deadline == math.inf:
                got = await park(Trap(worker.abort_receive))
                if got is not WAKE:
                    got.unwrap()
            else:
                with trio.CancelScope(deadline=deadline) as scope:
                    got = await park(Trap(worker.abort_receive))
                    if got is not WAKE:
                        got.unwrap()
                late = scope.cancelled_caught
            if self._is_killed(task):
                await engine.checkpoint()
            refused = 0 if worker.overtaken else min(refused, self.gathered)

    @overload
    def receive_nowait(self) -> Any: ...
    @overload
    def receive_nowait(self, wanted: type[M]) -> M: ...
    @overload
    def receive_nowait(self, wanted: Callable[[Any], object]) -> Any: ...
    @way_in
    def receive_nowait(self, wanted: Any = None) -> Any:
        """Take the oldest message, or the oldest one that is ``wanted``, if it is there already.

        This is no checkpoint: other tasks do not run, and a cancellation goes unnoticed. In a loop
        that waits for something use ``receive(within=0)``, or a real wait.

        Raises:
            trio.WouldBlock: there is no such message, or this process has been killed and gets no
                more messages.
            trio.BusyResourceError: another task of this process is receiving.

        Source: erlang, receive … after 0.

        Example::

            try:
                word = ctx.receive_nowait(str)
            except trio.WouldBlock:
                word = "nothing"
        """
        self._self("receive_nowait")
        worker: ProcessWorker = self.worker
        if worker.receiver is not None:
            raise self._busy()
        test = _test_of(wanted)
        if not self._is_killed(current_task()):
            refused = 0
            while True:
                if self.gather_messages():
                    found = self.find_message(test, refused)
                    if found is not None:
                        return self._took(found)
                    refused = self.gathered
                if not self.has_arrivals:
                    break
        raise trio.WouldBlock

    def _is_killed(self, task: Task) -> bool:
        """Is its end decided, and ``task`` in no scope that is shielded from it?"""
        control = self.control
        if control is None or control.kill is None:
            return False
        return caller_is_cancelled(task, self.kind.engine.features)

    def _busy(self) -> trio.BusyResourceError:
        return trio.BusyResourceError(f"another task of {self.describe()} is receiving")

    def _took(self, message: Any) -> Any:
        self.kind.engine.messages += 1
        if self.relations is not None and self.relations.senders:
            self.admit_senders()
        return message[1][0]

    def function_ended(self, error: BaseException | None) -> None:
        """Its function has returned or raised."""
        engine = self.kind.engine
        control = self.control
        self.worker = None
        if error is not None:
            engine.crashed(self, error, None)
        elif control is not None and control.kill is not None:
            engine.die(self, control.kill)
        else:
            engine.die(self, NORMAL)

    def __aiter__(self) -> Self:
        """All messages, in order, for ever: ``async for message in ctx``."""
        return self

    async def __anext__(self) -> Any:
        return await self.receive()


class BudgetedReceiver(BudgetedRecord):
    """What is sent to a process with a budget. It is mixed into the process's record."""

    __slots__ = ()

    def send(self, message: object, /) -> bool:
        arguments = (message,)
        del message
        return self.send_packed(arguments)


class ProcessWorker:
    """The trio task of one process, in the place of a pool worker."""

    __slots__ = ("actor", "coro", "interrupted", "overtaken", "receiver", "scope")

    def __init__(self, actor: ReceivingContext) -> None:
        self.actor = actor
        self.coro: Any = None
        self.scope: trio.CancelScope | None = None
        self.receiver: Task | None = None
        self.interrupted = False
        #: A message was put before those that ``receive`` has looked at.
        self.overtaken = False

    def interrupt(self) -> None:
        self.interrupted = True
        if self.scope is not None:
            self.scope.cancel(reason="its process was killed")

    def abort_receive(self, _: Callable[[], Any]) -> Abort:
        self.receiver = None
        if self.actor.state != DEAD:  # the source of a stream may be receiving for a process that has died
            self.actor.state = RUNNING
        return Abort.SUCCEEDED


@nobodys
def start_process(
    engine: Scheduler,
    kind: Any,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    link_to: Record[Any] | None,
) -> ReceivingContext:
    """Make a process. Its function begins in the next pass of trio; its ref is good at once."""
    room(START_FRAMES)
    record = cast(ReceivingContext, engine.admit(kind, link_to))
    record.state = RUNNING
    try:
        record.worker = worker = ProcessWorker(record)
        record.variables = engine.base_context.copy()
        if kind.limit is not None:
            engine.budgets.begin(record, kind.limit).account.charge(size_of(*args, kwargs))
        engine.start_task(
            _run,
            engine,
            record,
            worker,
            interruptible(function),
            args,
            kwargs,
            name=f"actorkit {engine.name}: {kind.label}",
        )
    except (MemoryError, RecursionError) as error:
        record.worker = None
        try:
            engine.stillborn(record, error, link_to)
        except RecursionError:
            engine.doomed.append(record)
        raise
    if engine.events.listened:
        engine.announce(record)
    return record


async def _run(
    engine: Scheduler,
    record: ReceivingContext,
    worker: ProcessWorker,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> None:
    task = current_task()
    error: BaseException | None = None
    context: contextvars.Context | None = record.variables
    try:
        engine.holders[task] = worker
        with trio.CancelScope(shield=True) as scope:
            worker.scope = scope
            if worker.interrupted:
                scope.cancel(reason="its process was killed before it began")
                await trio.lowlevel.checkpoint()
            worker.coro = _begin(function, record, args, kwargs)
            args = ()  # they are the process's own
            kwargs = {}
            await Driver(worker.coro, BEGIN, engine, record, context)
    except BaseException as raised:
        error = raised
    left = list(task.child_nurseries)
    if left:
        error = error or RuntimeError("its function ended and left a nursery open")
        try:
            with trio.CancelScope(shield=True):
                await close_nurseries(task, engine.features)
        except BaseException as raised:
            if fatal_within(raised) is not None:
                error = raised
    worker.scope = worker.coro = None
    engine.holders.pop(task, None)
    fatal = None if error is None else fatal_within(error)
    try:
        record.function_ended(error if fatal is None else fatal)
        if fatal is not None:
            engine.leave(fatal)
    finally:
        error = fatal = None


def _deadline(within: Any) -> float:
    """When ``within`` seconds will have passed, on trio's clock."""
    return trio.current_time() + as_seconds(within, "within")


def _test_of(wanted: Any) -> Callable[[Any], object] | None:
    """The predicate that ``wanted`` stands for. Raises TypeError for what is none."""
    if wanted is None:
        return None
    if isinstance(wanted, type):
        return lambda message: isinstance(message, wanted)
    if callable(wanted) and not isinstance(wanted, GenericAlias):
        return wanted  # type: ignore[no-any-return]
    raise TypeError(f"cannot receive {shown(wanted, 100)}: give a class, or a predicate that is called with a message")


@way_in
async def _begin(function: Callable[..., Any], record: ReceivingContext, args: Any, kwargs: Any) -> None:
    await function(record, *args, **kwargs)
