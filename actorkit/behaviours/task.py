"""Task: the handle of a function that runs as a process, and its outcome.

How it works. The process and the handle share one small object, the outcome. The process leaves its
result there. Its end, noted in the same synchronous step in which it dies, makes the outcome final
and wakes whoever waits. Nothing is sent, so nothing is left in a mailbox when nobody asks: the
result is freed with the handle.
Source: Elixir's Task.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any, Generic, TypeVar

import attrs
import trio

from ..errors import TaskFailed
from ..reasons import KILLED, NORMAL, SHUTDOWN, ExitReason, Killed, Shutdown, shown
from ..runtime.actor import links
from ..runtime.actor.fitting import plain
from ..runtime.actor.record import Record
from ..runtime.actor.ref import Ref
from ..runtime.base.activations import way_in
from ..runtime.base.interrupts import interruptible
from ..runtime.life.process import Process

__all__ = ["Outcome", "Task", "TaskResult", "perform", "why_no_task"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@attrs.frozen(repr=False)
class TaskResult(Generic[T_co]):
    """A task has ended with ``value``. The other outcome is ``TaskFailed``, an exception that is
    also handed out as a value.

    In a task stream it says which item it belongs to: ``item`` is what the source gave, ``index``
    its position, from 0. They are None for a task that was started alone, and do not count when two
    outcomes are compared.
    """

    value: T_co
    item: Any = attrs.field(default=None, kw_only=True, eq=False)
    index: int | None = attrs.field(default=None, kw_only=True, eq=False)

    def __repr__(self) -> str:
        where = "" if self.index is None else f", index={self.index}, item={shown(self.item, 200)}"
        return f"TaskResult({shown(self.value)}{where})"


class Outcome:
    """What has become of a task. Its process and its handle know it."""

    __slots__ = ("_event", "_listeners", "reason", "value")

    def __init__(self) -> None:
        self.value: Any = None
        self.reason: ExitReason | None = None
        """Its exit reason; None while it runs."""
        self._event: trio.Event | None = None
        self._listeners: list[Callable[[], None]] = []

    def ended(self, record: Record[Any], reason: ExitReason) -> None:
        """The process has died."""
        self.reason = reason
        if reason != NORMAL:
            self.value = None
        if self._event is not None:
            self._event.set()
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            try:
                listener()
            except BaseException as error:  # the others are called all the same
                record.kind.engine.step_failed(error)

    def when_ended(self, listener: Callable[[], None]) -> None:
        """Have ``listener()`` called at the end; now, if that has come. It must neither raise nor
        wait."""
        if self.reason is None:
            self._listeners.append(listener)
        else:
            listener()

    async def wait(self) -> None:
        """Wait for the end."""
        if self.reason is not None:
            await trio.lowlevel.checkpoint()
            return
        if self._event is None:
            self._event = trio.Event()
        await self._event.wait()


NO_TASK = "cannot run {0} as a task: it is not an async function; write async def {0}(…)"


def _name_of(function: Any) -> str:
    return getattr(plain(function), "__qualname__", None) or shown(function, 100)


def why_no_task(function: Any) -> str | None:
    """Why ``function`` cannot be a task, as far as that can be known without calling it; None: it
    may be one. A lambda, or an object with ``__call__``, may return the coroutine of an async
    function."""
    start = plain(function)
    if isinstance(start, MethodType):
        start = start.__func__
    if isinstance(start, FunctionType):
        try:
            innermost = inspect.unwrap(start)
        except Exception:  # a decorator has left something odd there: it cannot be known
            return None
        fine = start.__name__ == "<lambda>" or any(inspect.iscoroutinefunction(one) for one in (start, innermost))
    else:
        fine = callable(start) and not isinstance(start, type)
    return None if fine else NO_TASK.format(_name_of(function))


@way_in
async def perform(
    ctx: Any, outcome: Outcome | None, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """The process of every task: runs ``function`` and leaves its result in ``outcome``."""
    running = interruptible(function)(*args, **kwargs)
    if not inspect.isawaitable(running):  # a lambda, or another callable of which it was not known
        raise TypeError(f"{NO_TASK.format(_name_of(function))} (it returned an object of {type(running).__qualname__})")
    value = await running
    if outcome is not None:
        outcome.value = value


class Task(Generic[T]):
    """The handle of a function that runs as a process below a task supervisor.

    ``TaskSupervisor.run`` makes it. Whoever holds it may ask for the result, more than once; nobody
    has to: a result that nobody asks for is dropped with the handle.

    Example::

        task = await jobs.call(ak.TaskSupervisor.run, fetch, url)
        with trio.fail_after(2):
            page = await task.result()
    """

    __slots__ = ("__weakref__", "_outcome", "_record")

    def __init__(self, record: Record[Any], outcome: Outcome) -> None:
        self._record = record
        self._outcome = outcome

    def __repr__(self) -> str:
        state = "running" if not self.done else "done" if self._outcome.reason == NORMAL else str(self._outcome.reason)
        return f"<task {self._record.pid} {state}>"

    @property
    def ref(self) -> Ref[Process]:
        """The ref of its process: to link to it, monitor it or kill it."""
        return self._record

    @property
    def done(self) -> bool:
        """Has it ended, in whatever way?"""
        return self._outcome.reason is not None

    async def result(self) -> T:
        """Wait for the end, and return what the function has returned.

        For a deadline use trio's: ``with trio.fail_after(5): …``. To give up waiting does not end
        the task.

        Raises TaskFailed, with the exit reason, if the function raised or the task was ended.
        Source: Task.await/2 (there with a deadline of 5 s, by the owner only, and once).
        """
        await self._outcome.wait()
        outcome = self.poll()
        if isinstance(outcome, TaskResult):
            return outcome.value
        assert outcome is not None
        raise outcome

    def poll(self) -> TaskResult[T] | TaskFailed | None:
        """The outcome, or None while the task runs. A TaskFailed is returned, not raised.
        Source: Task.yield/2 with a timeout of 0."""
        return self.outcome_of(None, None)

    def outcome_of(self, item: object, index: int | None) -> TaskResult[T] | TaskFailed | None:
        """As ``poll``, for an item of a stream."""
        reason = self._outcome.reason
        if reason is None:
            return None
        if reason == NORMAL:
            return TaskResult(self._outcome.value, item=item, index=index)
        return TaskFailed(self.describe(), reason, item=item, index=index)

    async def shutdown(self, seconds: float = 5.0) -> TaskResult[T] | TaskFailed | None:
        """End the task and wait until it has ended. It is cancelled where it awaits, so its
        ``finally`` blocks run.

        Args:
            seconds: how long a task that traps exits may take; then it is killed. 0: it is killed
                at once. ``math.inf``: never.

        Returns its outcome if it had ended by itself, None if this ended it. A linked owner is not
        touched. A task in a shielded scope is waited for, as long as that takes.
        Source: Task.shutdown/2.
        """
        self._record.kind.engine.home.check("end", self._record)
        if self.done:
            await trio.lowlevel.checkpoint()
            return self.poll()
        record = self._record
        engine = record.kind.engine
        relations = record.relations
        for other in list(relations.links or ()) if relations is not None else ():
            links.unlink(record, other)
        if seconds > 0:
            engine.shutdown_child(record, SHUTDOWN)
            with trio.move_on_after(seconds):
                await self._outcome.wait()
        engine.end_now(record, KILLED)
        await self._outcome.wait()
        outcome = self.poll()
        ended_here = isinstance(outcome, TaskFailed) and isinstance(outcome.reason, (Shutdown, Killed))
        return None if ended_here else outcome

    def cancel(self) -> None:
        """End the task with Shutdown, even if it traps exits, and do not wait. A linked owner gets
        the exit signal."""
        self._record.kind.engine.home.check("cancel", self._record)
        self._record.kind.engine.end_now(self._record, SHUTDOWN)

    def when_ended(self, listener: Callable[[], None]) -> None:
        """Have ``listener()`` called in the step in which the task ends; now, if it has ended. It
        must neither raise nor wait."""
        self._outcome.when_ended(listener)

    def describe(self) -> str:
        """Pid and function, for texts."""
        return f"{self._record.pid} ({self._record.started_as})"
