"""The only place where private names of trio are used.

Hand-driven handlers share the pool's trio tasks, so a handler that leaves a cancel scope, a nursery or
a lock behind leaves it in a task that others use. trio has no public way to ask whether a task is clean, so
four private names are used, each tested for once at import (``FEATURES``). Without them the runtime works in a
*degraded mode*: a left-over scope is noticed later, by trio itself, when the worker's own scope is left, and
the worker is retired then; a left-over nursery or lock costs the worker.

The trap (what a task yields to sleep) is reached by public means: ``wait_task_rescheduled`` is driven by hand
once, and what it yields is kept.
"""

from __future__ import annotations

import inspect
import math
import types
from collections.abc import Callable, Generator
from inspect import CORO_CREATED
from typing import Any, Final

import attrs
import outcome
import trio
from trio.lowlevel import Abort, Task, current_task, wait_task_rescheduled

AbortFunction = Callable[[Callable[[], Any]], Abort]


@attrs.frozen
class Features:
    """Which private names of trio are there. ``degraded()`` is the mode without any."""

    cancel_status: bool
    nested_child_finished: bool
    lock_breaker: bool
    settable_coro: bool

    @classmethod
    def detect(cls) -> Features:
        task_attributes = {a.name for a in attrs.fields(Task)} if attrs.has(Task) else set()
        return cls(
            cancel_status="_cancel_status" in task_attributes,
            nested_child_finished=hasattr(trio.Nursery, "_nested_child_finished"),
            lock_breaker=_find_lock_breaker() is not None,
            settable_coro="coro" in task_attributes and "_next_send_fn" in task_attributes,
        )

    @classmethod
    def degraded(cls) -> Features:
        return cls(False, False, False, False)


def _find_lock_breaker() -> dict[Task, Any] | None:
    try:
        from trio._core import _parking_lot
    except ImportError:
        return None
    breaker: Any = getattr(_parking_lot, "GLOBAL_PARKING_LOT_BREAKER", None)
    return breaker if isinstance(breaker, dict) else None


FEATURES: Final = Features.detect()
_NOTHING: Final[dict[Task, Any]] = {}


def lock_holders(features: Features = FEATURES) -> dict[Task, Any]:
    """The live table of tasks that hold a trio lock; always empty in the degraded mode."""
    breaker = _find_lock_breaker() if features.lock_breaker else None
    return _NOTHING if breaker is None else breaker  # not `or`: the live table is mostly empty


def cancel_status(task: Task, features: Features = FEATURES) -> object:
    """The innermost cancel scope's status: the same object before and after clean code."""
    return task._cancel_status if features.cancel_status else None


def caller_is_cancelled(task: Task) -> bool:
    """Would the task's next checkpoint raise Cancelled?"""
    if FEATURES.cancel_status:
        return bool(task._cancel_status.effectively_cancelled)
    return trio.current_effective_deadline() == -math.inf


def close_left_open(task: Task, status: object) -> None:
    """Leave the scopes that an inline handler left open in its caller's task (innermost first)."""
    above: Any = task._cancel_status
    while above is not None and above is not status:
        above = above.parent
    if above is None:
        return  # it left a scope of its caller's instead, and trio will tell the caller
    while task._cancel_status is not status:
        task._cancel_status._scope.__exit__(None, None, None)


async def close_nurseries(task: Task, features: Features = FEATURES) -> bool:
    """Cancel and finish the nurseries that a handler left open in ``task``. Raises what must leave the runtime.

    False: they could only be cancelled and waited for; trio will complain when the task exits (see
    ``complains_of_stack``).
    """
    left = list(reversed(task.child_nurseries))
    for nursery in left:
        nursery.cancel_scope.cancel(reason="its handler ended and left this nursery open")
    for nursery in left:
        if features.nested_child_finished:
            error = await nursery._nested_child_finished(None)
            if error is not None and _is_fatal(error):
                raise error
        else:
            with trio.CancelScope(shield=True):
                seconds = 0.001
                while nursery.child_tasks:  # there is no public way to be told
                    await trio.sleep(seconds)
                    seconds = min(seconds * 2, 1.0)
    return features.nested_child_finished or not left


def complains_of_stack(error: BaseException) -> bool:
    """Is this trio's RuntimeError about a cancel scope or nursery that was left open?"""
    return isinstance(error, RuntimeError) and "stack corrupted" in str(error)


def fatal_within(error: BaseException) -> BaseException | None:
    """What must leave the runtime: ``error`` itself, or what was under way when trio complained of a scope left
    open."""
    if complains_of_stack(error) and error.__context__ is not None:
        error = error.__context__
    return error if _is_fatal(error) else None


def _is_fatal(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return error.split((KeyboardInterrupt, SystemExit))[0] is not None
    return isinstance(error, (KeyboardInterrupt, SystemExit))


def fatal_leaf(error: BaseException) -> BaseException:
    """The KeyboardInterrupt or SystemExit in ``error``: itself, or the first in a group. ``error`` if it is none."""
    while isinstance(error, BaseExceptionGroup) and _is_fatal(error):
        error = next(one for one in error.exceptions if _is_fatal(one))
    return error


is_fatal = _is_fatal
"""True for what must leave the runtime: KeyboardInterrupt and SystemExit, alone or in a group."""


WAKE_FRAMES: Final = 5
START_FRAMES: Final = 30
"""More calls than trio makes, one within the other, to reschedule a task and to start one."""


def room(frames: int) -> None:
    """Raise RecursionError now, while nothing is half done, if so many more calls would not fit on the stack."""
    if frames:
        room(frames - 1)


def take_back_unborn(nursery: trio.Nursery) -> None:
    """``start_soon`` has raised MemoryError, since one of trio's tables could not grow. The task is in some of them and
    will never run: take it out, or ``trio.run`` would wait for it for ever."""
    try:
        from trio._core._run import GLOBAL_RUN_CONTEXT

        tasks: set[Any] = GLOBAL_RUN_CONTEXT.runner.tasks
        children: set[Any] = nursery._children
        unborn = [t for t in tasks if t._next_send_fn is None and inspect.getcoroutinestate(t.coro) == CORO_CREATED]
    except (ImportError, AttributeError):
        return
    for task in unborn:
        tasks.discard(task)
        children.discard(task)
        task.coro.close()


def start_or_not(nursery: trio.Nursery, function: Any, *args: Any, name: str) -> bool:
    """Start a task of the runtime's own; False: there was no memory for it, and nothing is left of it."""
    try:
        nursery.start_soon(function, *args, name=name)
    except MemoryError:
        take_back_unborn(nursery)
        return False
    return True


def _never(_: Callable[[], Any]) -> Abort:
    return Abort.SUCCEEDED


def make_trap(abort: AbortFunction) -> Any:
    """What a task yields to sleep until it is rescheduled; reusable, made by public means."""
    sleeping: Any = wait_task_rescheduled(abort)
    trap = sleeping.send(None)
    sleeping.close()
    return trap


Trap: Final[Callable[[AbortFunction], Any]] = type(make_trap(_never))
WAKE: Final = outcome.Value(None)
"""The shared wake-up, told from a cancellation by identity."""


@types.coroutine
def park(trap: Any) -> Generator[Any, Any, Any]:
    """Sleep on ``trap``; returns the outcome that the task was rescheduled with. The sleeper must unwrap
    it unless it is WAKE: a cancellation taken for a wake-up corrupts trio."""
    return (yield trap)


__all__ = [
    "FEATURES",
    "START_FRAMES",
    "WAKE",
    "WAKE_FRAMES",
    "Features",
    "Trap",
    "caller_is_cancelled",
    "cancel_status",
    "close_left_open",
    "close_nurseries",
    "complains_of_stack",
    "current_task",
    "fatal_leaf",
    "fatal_within",
    "is_fatal",
    "lock_holders",
    "make_trap",
    "park",
    "room",
    "start_or_not",
    "take_back_unborn",
]
