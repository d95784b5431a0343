"""A stream of tasks: one function over many items, so many at a time, their outcomes as they come or in order.

How it works. The stream is an async iterator and does everything in its consumer's ``__anext__``: it starts tasks until ``max_concurrency``
run, waits until the next outcome is due, and hands it out. It has no nursery and no task of its own, so nothing is open
between two outcomes; and it holds the handles of what runs, so that whenever it ends, by its last outcome, an exception, a
cancellation, ``aclose`` or by being dropped in the middle of a loop, what still runs is killed. Source: Elixir's Task.Supervisor.async_stream_nolink.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable, Iterator
from types import TracebackType
from typing import Any, Final, Generic, Literal, TypeVar, get_args

import trio

from ..errors import TaskFailed, TaskTimeout
from ..reasons import Failure
from ..runtime.ref import Ref
from .task import Task, TaskResult
from .task_supervisor import TaskSupervisor

__all__ = ["OnTimeout", "TaskStream", "task_stream"]

I = TypeVar("I")  # noqa: E741
T = TypeVar("T")
OnTimeout = Literal["raise", "kill_task"]

TIMED_OUT: Final = Failure("timeout")


def task_stream(
    supervisor: Ref[TaskSupervisor],
    function: Callable[[I], Coroutine[Any, Any, T]],
    items: Iterable[I] | AsyncIterable[I],
    *,
    max_concurrency: int | None = None,
    ordered: bool = True,
    item_timeout: float = 5.0,
    on_timeout: OnTimeout = "raise",
) -> TaskStream[I, T]:
    """Run ``function(item)`` for each item as a task of ``supervisor``, and iterate over the outcomes: TaskResult or TaskFailed.

    Items are taken as there is room for them, so ``items`` may be endless. Nothing runs before the first step; no new task is started
    while the consumer is busy with an outcome. Leaving the loop early kills what runs.

    Args:
        max_concurrency: tasks at a time; default: one for each processor. For tasks that wait rather than compute take many more.
        ordered: outcomes in the order of the items; those that are early wait. Otherwise as they come.
        item_timeout: seconds for each task (``math.inf``: any time).
        on_timeout: "raise": TaskTimeout out of the loop; "kill_task": TaskTimeout as that item's outcome.

    Raises ValueError at once for arguments that cannot be; in the loop MaxChildrenReached when the supervisor is full, and what iterating
    over ``items`` raises.

    Example::

        async with ak.task_stream(jobs, fetch, urls, max_concurrency=20) as pages:
            async for page in pages:
                match page:
                    case ak.TaskResult(text): ...
                    case ak.TaskFailed() as failure: log(failure.reason)
    """
    concurrency: Any = (os.cpu_count() or 1) if max_concurrency is None else max_concurrency
    if not isinstance(concurrency, int) or isinstance(concurrency, bool) or concurrency < 1:
        raise ValueError(f"max_concurrency={max_concurrency!r}: give an int >= 1, or None for one per processor")
    if not (isinstance(item_timeout, (int, float)) and item_timeout > 0):
        raise ValueError(f"item_timeout={item_timeout!r}: give seconds > 0, or math.inf")
    if on_timeout not in get_args(OnTimeout):
        raise ValueError(f'on_timeout={on_timeout!r}: give "raise" or "kill_task"')
    return TaskStream(supervisor, function, items, concurrency, ordered, item_timeout, on_timeout)


class _Item(Generic[T]):
    """One item under way."""

    __slots__ = ("deadline", "outcome", "task")

    def __init__(self, task: Task[T], deadline: float) -> None:
        self.task = task
        self.deadline = deadline
        self.outcome: TaskResult[T] | TaskFailed | None = None


class _Board(Generic[T]):
    """Where tasks note that they have ended. Apart from the stream, so that what runs does not keep an abandoned stream alive."""

    __slots__ = ("finished", "news", "running")

    def __init__(self) -> None:
        self.finished: deque[_Item[T]] = deque()
        """With their outcomes, in the order in which they got them."""
        self.running = 0
        self.news = trio.Event()

    def begun(self, item: _Item[T]) -> None:
        self.running += 1
        item.task.when_ended(lambda: self.ended(item))

    def ended(self, item: _Item[T]) -> None:
        self.running -= 1
        if item.outcome is None:
            self.finish(item, item.task.poll())
        self.news.set()

    def finish(self, item: _Item[T], outcome: TaskResult[T] | TaskFailed | None) -> None:
        item.outcome = outcome
        self.finished.append(item)


class TaskStream(Generic[I, T]):
    """The outcomes of ``task_stream``: an async iterator, for ``async for``; also a context manager that closes it."""

    def __init__(
        self,
        supervisor: Ref[TaskSupervisor],
        function: Callable[[I], Coroutine[Any, Any, T]],
        items: Iterable[I] | AsyncIterable[I],
        max_concurrency: int,
        ordered: bool,
        item_timeout: float,
        on_timeout: OnTimeout,
    ) -> None:
        self._supervisor = supervisor
        self._function = function
        self._items: Iterator[I] | AsyncIterator[I] | None = (
            aiter(items) if isinstance(items, AsyncIterable) else iter(items)
        )
        self._max_concurrency = max_concurrency
        self._ordered = ordered
        self._item_timeout = item_timeout
        self._on_timeout = on_timeout
        self._under_way: dict[_Item[T], None] = {}
        """In the order of the items: those that run, and those whose outcome waits for its turn."""
        self._board = _Board[T]()
        self._closed = False

    def __aiter__(self) -> TaskStream[I, T]:
        return self

    async def __anext__(self) -> TaskResult[T] | TaskFailed:
        if self._closed:
            raise StopAsyncIteration
        try:
            outcome = await self._next()
        except BaseException:
            self._close()
            raise
        if outcome is None:
            self._close()
            raise StopAsyncIteration
        return outcome

    async def aclose(self) -> None:
        """End it now: kill what runs, and wait until that is gone. Cancelled, it waits no longer, but all has been killed."""
        tasks = [item.task for item in self._under_way]
        self._close()
        await trio.lowlevel.checkpoint()
        for task in tasks:
            await task.shutdown(0)

    async def __aenter__(self) -> TaskStream[I, T]:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            self._close()

    # --- inside -------------------------------------------------------------------------------

    async def _next(self) -> TaskResult[T] | TaskFailed | None:
        """The next outcome that is due; None when there is none any more."""
        await trio.lowlevel.checkpoint_if_cancelled()
        board = self._board
        while True:
            await self._fill()
            self._expire()
            due = self._take_due()
            if due is not None:
                if isinstance(due, TaskTimeout) and self._on_timeout == "raise":
                    raise due
                return due
            if not self._under_way and self._items is None:
                return None
            board.news = trio.Event()
            # All have the same time, and the first that is still without an outcome was started first.
            deadline = next((item.deadline for item in self._under_way if item.outcome is None), math.inf)
            with trio.move_on_at(deadline):
                await board.news.wait()

    async def _fill(self) -> None:
        """Start tasks while there is room and there are items."""
        while self._items is not None and self._board.running < self._max_concurrency:
            try:
                item = await anext(self._items) if isinstance(self._items, AsyncIterator) else next(self._items)
            except (StopIteration, StopAsyncIteration):
                self._items = None
                return
            task = await self._supervisor.call(TaskSupervisor.run, self._function, item)
            begun = _Item(task, trio.current_time() + self._item_timeout)
            self._under_way[begun] = None
            self._board.begun(begun)

    def _expire(self) -> None:
        """End those whose time is up."""
        now = trio.current_time()
        for item in self._under_way:
            if now < item.deadline:
                return
            if item.outcome is None:
                self._board.finish(item, TaskTimeout(item.task.describe(), TIMED_OUT, self._item_timeout))
                item.task.cancel()

    def _take_due(self) -> TaskResult[T] | TaskFailed | None:
        finished = self._board.finished
        if self._ordered:
            finished.clear()
            due = next(iter(self._under_way), None)
        else:
            due = finished.popleft() if finished else None
        if due is None or due.outcome is None:
            return None
        del self._under_way[due]
        return due.outcome

    def _close(self) -> None:
        """Kill what runs. Waits for nothing."""
        self._closed = True
        self._items = None
        while self._under_way:
            self._under_way.popitem()[0].task.cancel()
