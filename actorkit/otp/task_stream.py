"""A stream of tasks: one function over many items, so many at a time.

How it works. The stream is an async iterator that hands out what its pump has ready
(``stream_pump``). Fetching items, time-outs and results go on by themselves, whatever the consumer
does. The stream opens no nursery, so nothing is open between two outcomes. However it ends (by its
last outcome, an exception, a cancellation, ``aclose``, or by being dropped in the middle of a loop,
in whatever thread), what still runs is killed.
Source: Elixir's Task.Supervisor.async_stream_nolink.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Callable, Coroutine, Iterable
from types import TracebackType
from typing import Any, Generic, Literal, TypeVar, get_args

import trio

from ..behaviours.task import TaskResult, why_no_task
from ..errors import TaskFailed, TaskTimeout
from ..reasons import shown
from ..runtime.actor.ref import Ref
from .basket import Basket
from .stream_pump import Pump
from .task_supervisor import TaskSupervisor

__all__ = ["OnTimeout", "TaskStream", "task_stream"]

I = TypeVar("I")  # noqa: E741
T = TypeVar("T")
OnTimeout = Literal["raise", "kill_task"]


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
    """Run ``function(item)`` for each item as a task of ``supervisor``, and iterate over the
    outcomes: TaskResult or TaskFailed.

    Use it for the same work on many items, a bounded number at a time. For a few different things
    at once, trio's nursery is simpler; for one, ``TaskSupervisor.run``.

    Nothing runs before the first step. From then on, fetching items, time-outs and results each go
    on at their own pace: an outcome is handed out as soon as it is there, even while the source is
    quiet, and a task's time runs while the consumer is busy. Items are fetched as there is room: at
    most ``max_concurrency`` tasks run, and at most twice as many items have been fetched whose
    outcome has not been taken. So ``items`` may be endless, a slow consumer slows the fetching
    down, and an ordered stream keeps no more than that while it waits for a slow item.

    An outcome says which item it belongs to: ``outcome.item``, and ``outcome.index``, from 0.

    Leaving the loop early kills what runs. So does dropping the stream, in whatever thread it is
    collected, and the end of the actor that took the first step.

    The source is stepped in a task of its own, as the actor that took the first step: ``self.ctx``
    and the heap's budget are that actor's, and its context variables are as they were then. Until
    the stream ends, the source is the stream's; an async generator is closed at the end. Whoever
    wants the rest of a source of another kind uses ``async with``, which waits until the stream has
    let go of it.

    Args:
        supervisor: the ref of a task supervisor, or a named one.
        function: an async function of one item.
        items: an iterable or an async iterable.
        max_concurrency: tasks at a time; by default one for each processor. Tasks that wait rather
            than compute can be many more.
        ordered: True: outcomes come in the order of the items, and early ones wait. False: they
            come as they are ready.
        item_timeout: seconds for each task; ``math.inf``: any time.
        on_timeout: "raise": a TaskTimeout is raised in the loop; "kill_task": it is that item's
            outcome.

    A step that is cancelled (``with trio.move_on_after(1): await anext(stream)``) ends the stream,
    as it would end an async generator: the next step raises StopAsyncIteration.

    Raises ValueError at once for invalid arguments, and TypeError for a function that is not async
    or a supervisor that is not a ref; the caller's fault. In the loop:

    * what iterating over ``items`` raises, and MaxChildrenReached if the supervisor is full: after
      the outcomes that are ready; what runs is killed;
    * CalleeDied if the supervisor has ended: after the outcomes of all items that were started.
      With a named one, if an item comes and nobody has the name;
    * CallTimeout if the supervisor does not answer, and NodeStopped.

    Example::

        async with ak.task_stream(jobs, fetch, urls, max_concurrency=20) as pages:
            async for page in pages:
                match page:
                    case ak.TaskResult(text): ...
                    case ak.TaskFailed() as failure: log(failure.item, failure.reason)
    """
    given: Any = supervisor
    if not isinstance(given, Ref):
        name = given if isinstance(given, str) else "jobs"
        raise TypeError(
            f"task_stream: supervisor={shown(given, 100)} is not a ref; "
            f'give ak.named(ak.TaskSupervisor, "{name[:100]}")'
        )
    refusal = why_no_task(function)
    if refusal is not None:
        raise TypeError(refusal)
    concurrency: Any = (os.cpu_count() or 1) if max_concurrency is None else max_concurrency
    if not isinstance(concurrency, int) or isinstance(concurrency, bool) or concurrency < 1:
        raise ValueError(f"max_concurrency={max_concurrency!r}: give an int >= 1, or None for one per processor")
    if not (isinstance(item_timeout, (int, float)) and item_timeout > 0):
        raise ValueError(f"item_timeout={item_timeout!r}: give seconds > 0, or math.inf")
    if on_timeout not in get_args(OnTimeout):
        raise ValueError(f'on_timeout={on_timeout!r}: give "raise" or "kill_task"')
    return TaskStream(supervisor, function, items, concurrency, ordered, item_timeout, on_timeout)


class TaskStream(Generic[I, T]):
    """The outcomes of ``ak.task_stream``: an async iterator for ``async for``, and an async context
    manager that closes it."""

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
        self._ordered = ordered
        self._item_timeout = item_timeout
        self._on_timeout = on_timeout
        self._basket = Basket[T](ordered)
        self._pump = Pump[I, T](
            self._basket, supervisor, function, items, max_concurrency, item_timeout, on_timeout == "raise"
        )

    def __aiter__(self) -> TaskStream[I, T]:
        return self

    async def __anext__(self) -> TaskResult[T] | TaskFailed:
        if self._pump.closed:
            raise StopAsyncIteration
        try:
            outcome = await self._next()
        except BaseException:
            self._pump.close()
            fatal = self._pump.take_fatal()
            if fatal is not None:  # it came while this one was being cancelled
                raise fatal
            raise
        if outcome is None:
            self._pump.close()
            raise StopAsyncIteration
        return outcome

    async def aclose(self) -> None:
        """End the stream now: kill what runs, and wait until that is gone and has let go of the
        source. If this is cancelled it waits no longer, but everything has been killed."""
        pump = self._pump
        tasks = [item.task for item in pump.alive]
        pump.close()
        await trio.lowlevel.checkpoint()
        for task in tasks:
            if task is not None:
                await task.shutdown(0)
        await pump.gone()

    async def __aenter__(self) -> TaskStream[I, T]:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        pump: Pump[I, T] | None = getattr(self, "_pump", None)
        if pump is not None:
            pump.dropped()

    # --- inside -------------------------------------------------------------------------------

    async def _next(self) -> TaskResult[T] | TaskFailed | None:
        """The next outcome; None if there will be no more."""
        await trio.lowlevel.checkpoint_if_cancelled()
        pump, basket = self._pump, self._basket
        if not pump.begun:
            pump.begin()
        while True:
            fatal = pump.take_fatal()
            if fatal is not None:
                raise fatal
            item = basket.take()
            if item is not None:
                pump.taken()
                outcome = item.outcome(self._item_timeout)
                if isinstance(outcome, TaskTimeout) and self._on_timeout == "raise":
                    raise outcome
                return outcome
            error = pump.take_error()
            if error is not None:
                try:
                    raise error
                finally:
                    del error
            if pump.closed or (pump.exhausted and not basket.count):
                return None
            await pump.wait_for_news()
