"""CallDoor: the calls that come to an actor. The second part of its record.

A call to an idle actor whose method is synchronous runs at once, inside its caller's task
(**inline**): the callee has no message and no signal, and cannot suspend. Its crash is its own all
the same. Any other call is queued in the mailbox, and the caller parks on a ``PendingReply``.

A suspended frame must hold no reference to the arguments, or the walk counts them as the caller's:
so they are deleted before each await.
"""

from __future__ import annotations

import contextvars
import math
from collections.abc import Callable
from functools import partial
from threading import get_ident
from types import CoroutineType
from typing import Any

from trio.lowlevel import Task

from ...errors import CalleeDied, CallError, CallTimeout
from ...reasons import NOPROC
from ..base.activations import activation
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
from .control import ControlLane
from .envelope import Continuation
from .later import Later
from .mailbox import Mailbox
from .states import DEAD, IDLE, RUNNING
from .waiting import PendingReply

__all__ = ["CallDoor"]


class CallDoor(Mailbox):
    """See the module's docstring."""

    __slots__ = ("control", "obj", "variables")

    obj: Any
    """The user's object; None before its constructor has returned, and after the end."""
    control: ControlLane | None
    """What it must look at before its next message."""
    variables: contextvars.Context | None
    """Its own contextvars, if a handler has set any."""

    @activation
    @reads_tasks
    async def call(self, method: Any, /, *args: Any, **kwargs: Any) -> Any:
        """See ``Ref.call``. One long function: this is the hot path."""
        kind = self.kind
        engine = kind.engine
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
                await engine.checkpoint()
        else:
            status = None
            task = self.task_of_sender("call")
            if caller_is_cancelled(task, engine.features):
                await engine.checkpoint()
        if function is not None and self.state == IDLE and not kwargs:
            # Inline: the callee is idle, has no message and no signal, and cannot suspend.
            failure: BaseException | None = None
            result: Any = None
            previous = engine.current
            engine.current = self
            self.state = RUNNING
            hook = engine.step_hook
            if hook is not None:
                hook(self)
            failure = None
            try:
                context = self.variables
                if context is None:
                    free = engine.free_contexts
                    context = free.pop() if free else engine.base_context.copy()
                    result = context.run(function, self.obj, *args)
                    try:
                        if context != engine.base_context:
                            self.variables = context
                        else:
                            free.append(context)
                    except BaseException:  # of a value's __eq__
                        self.variables = context
                else:
                    result = context.run(function, self.obj, *args)
            except BaseException as error:
                engine.current = previous
                if hook is not None:
                    hook(previous)
                try:
                    failure = engine.inline_crash(self, error, function, args)
                except RecursionError:  # the caller's stack is full
                    engine.doomed.append(self)
                    raise
                if watched and task.trio_cancel_status is not status:
                    await close_left_open(task, status, engine.features)
            if failure is not None:
                # Not raised from within: the callee's exception would be its context, and keep the
                # callee's state.
                args = ()
                if isinstance(failure, Exception):
                    await engine.yield_if_due(task)
                raise failure
            engine.current = previous
            if watched and task.trio_cancel_status is not status:
                if hook is not None:
                    hook(previous)
                await close_left_open(task, status, engine.features)
                raise engine.left_scope_open(self)
            if self.inbox is None and self.control is None and self.outbox is None:  # see ``mailbox``
                self.state = IDLE
            else:
                engine.after_inline(self)
            if hook is not None:
                args = ()  # what it was given is its own now: it must not look as if we held it too
                hook(previous)
                if previous is not None and result is not None:
                    engine.received(result)
            engine.inline_left = left = engine.inline_left - 1
            if left <= 0 and engine.slice_is_over():
                await engine.breathe()
            answer = type(result)
            if answer is Later or answer is CoroutineType:
                return await self._not_yet(method, result)
            return result
        if self.state == DEAD:
            await engine.checkpoint()  # a loop of attempts must let others run
            raise CalleeDied(self.describe(), NOPROC, method=method.__qualname__)
        function = kind.handlers[method]
        if kwargs:
            function = partial(function, **kwargs)
            kwargs.clear()
        deadlines = engine.deadlines
        if not deadlines.armed:
            deadlines.arm()
        reply = PendingReply(task, self, engine.current, deadlines.newest)
        try:
            self._enqueue_call((function, args, reply), reply)
        except BaseException as error:
            reply.task = None  # nobody waits: its deadline must not wake the caller from something else
            reply.abandoned()
            if isinstance(error, CallError):
                del function, args, kwargs
                await engine.checkpoint()
            raise
        del function, args, kwargs
        got = await park(Trap(reply.abort))
        if reply.caller is not None:
            reply.forget_caller()
        if got is not WAKE:
            got.unwrap()
        if reply.error is not None:
            raise _naming(method, reply.error)
        if engine.step_hook is not None:
            engine.received(reply.value)
        return reply.value

    async def _not_yet(self, method: Any, result: Any) -> Any:
        """An inline call has returned what is not its answer yet."""
        engine = self.kind.engine
        if type(result) is Later:
            done, value = result._outcome()
            if done:
                return value
        if self.state == DEAD:
            if type(result) is CoroutineType:
                result.close()
            raise CalleeDied(self.describe(), engine.last_reason, method=method.__qualname__)
        deadlines = engine.deadlines
        if not deadlines.armed:
            deadlines.arm()
        reply = PendingReply(current_task(), self, engine.current, deadlines.newest)
        if type(result) is Later:
            result._attach(reply, self)
        else:
            # A plain function that returns a coroutine (a decorator's wrapper): the pool carries
            # it, now and from now on.
            self.kind.inline[method] = None
            reply.remember_caller()
            self.put_next_message(Continuation((_carry_on, (result,), reply)))
            if self.state == IDLE:
                self.make_ready()
        return await self.wait_for_answer(reply, method)

    async def wait_for_answer(self, reply: PendingReply, asked: Any) -> Any:
        """Wait for it. ``asked``: the method, or as text what an error says instead."""
        got = await park(Trap(reply.abort))
        if reply.caller is not None:
            reply.forget_caller()
        if got is not WAKE:
            got.unwrap()
        if reply.error is not None:
            raise _naming(asked, reply.error)
        engine = self.kind.engine
        if engine.step_hook is not None:
            engine.received(reply.value)
        return reply.value

    async def _call_within(self, seconds: float, method: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        kind = self.kind
        engine = kind.engine
        kind.inline[method]
        function: Callable[..., Any] = kind.handlers[method]
        task = self.task_of_sender("call")
        if caller_is_cancelled(task, engine.features):
            await engine.checkpoint()
        if self.state == DEAD:
            await engine.checkpoint()
            raise CalleeDied(self.describe(), NOPROC, method=method.__qualname__)
        reply = PendingReply(task, self, engine.current)
        timer = None
        if seconds != math.inf:
            timer = engine.timers.after(seconds, reply.expire, seconds)
        try:
            if kwargs:
                function = partial(function, **kwargs)
                kwargs.clear()
            try:
                self._enqueue_call((function, args, reply), reply)
            except CallError:
                reply.abandoned()
                await engine.checkpoint()
                raise
            del function, args, kwargs
            return await self.wait_for_answer(reply, method)
        except BaseException:
            reply.task = None
            reply.abandoned()
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def task_of_sender(self, what: str) -> Task:
        """The task that asks something of this actor. Raises if it is none of the node's trio
        run."""
        engine = self.kind.engine
        try:
            task = current_task()
        except RuntimeError:
            raise self._not_from_here(what) from None
        if not runs_in(task, engine.runner) or get_ident() != engine.thread:
            raise self._not_from_here(what)
        return task

    def _not_from_here(self, what: str) -> Exception:
        """What somebody gets who is in no task of the node's trio run. The dead are dead
        everywhere."""
        if self.state == DEAD:
            return CalleeDied(self.describe(), NOPROC)
        return self.kind.engine.home.refuse(what, self)


def _naming(asked: Any, error: BaseException) -> BaseException:
    """The error of a call, telling what was asked for; ``asked`` is the method, or text."""
    if isinstance(error, (CalleeDied, CallTimeout)) and not error.method:
        error.method = asked if isinstance(asked, str) else asked.__qualname__
    return error


def _carry_on(_: Any, coro: Any) -> Any:
    """The message that hands a coroutine to the pool."""
    return coro
