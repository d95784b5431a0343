"""The only place where private names of trio are used.

Hand-driven handlers share the pool's trio tasks, so a handler that leaves a cancel scope, a nursery
or a lock behind leaves it in a task that others use. trio has no public way to ask whether a task
is clean, so a few private names are used, each tested for once at import (``FEATURES``). Without
them the runtime works in a *degraded mode*: a left-over scope is noticed later, by trio itself,
when the worker's own scope is left, and the worker is retired then; a left-over nursery or lock
costs the worker.

Which of them a node uses is in its ``features``, and nowhere else: ``FEATURES`` is their default.

The trap (what a task yields to sleep) is reached by public means: ``wait_task_rescheduled`` is
driven by hand once, and what it yields is kept.
"""

from __future__ import annotations

import gc
import inspect
import math
import types
from collections.abc import AsyncIterator, Callable, Collection, Generator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from inspect import CORO_CREATED
from typing import Any, Final, TypeVar

import attrs
import outcome
import trio
from trio.lowlevel import Abort, Task, current_task, wait_task_rescheduled

AbortFunction = Callable[[Callable[[], Any]], Abort]
F = TypeVar("F", bound=Callable[..., Any])

_OF_NURSERIES: Final = frozenset({"_parent_task", "_children", "_closed", "_cancel_status"})


@attrs.frozen
class Features:
    """Which private names of trio are there. ``degraded()`` is the mode without any."""

    cancel_status: bool
    open_nurseries: bool
    lock_breaker: bool
    settable_coro: bool

    @classmethod
    def detect(cls) -> Features:
        return cls(
            cancel_status=RUN is not None and hasattr(Task, "_cancel_status") and hasattr(Task, "_runner"),
            open_nurseries=hasattr(Task, "_child_nurseries")
            and hasattr(Task, "_parent_nursery")
            and _OF_NURSERIES.issubset(trio.Nursery.__init__.__code__.co_names),
            lock_breaker=_find_lock_breaker() is not None,
            settable_coro=hasattr(Task, "coro") and hasattr(Task, "_next_send_fn"),
        )

    @classmethod
    def degraded(cls) -> Features:
        return cls(False, False, False, False)


def _find_run() -> Any:
    try:
        from trio._core._run import GLOBAL_RUN_CONTEXT
    except ImportError:
        return None
    return GLOBAL_RUN_CONTEXT


RUN: Final = _find_run()
"""Its ``task`` is this thread's current task; AttributeError where there is none. For the hot path,
and where ``features.cancel_status`` is true: half as dear as ``current_task()``."""


def _find_task_step() -> types.CodeType | None:
    try:
        from trio._core._run import unrolled_run
    except ImportError:
        return None
    return unrolled_run.__code__ if isinstance(unrolled_run, types.FunctionType) else None


TASK_STEP: Final = _find_task_step()
"""The code in which trio steps its tasks."""


def _find_lock_breaker() -> dict[Task, Any] | None:
    try:
        from trio._core import _parking_lot
    except ImportError:
        return None
    breaker: Any = getattr(_parking_lot, "GLOBAL_PARKING_LOT_BREAKER", None)
    return breaker if isinstance(breaker, dict) else None


FEATURES: Final = Features.detect()
_NOTHING: Final[dict[Task, Any]] = {}


def lock_holders(features: Features) -> dict[Task, Any]:
    """The live table of tasks that hold a trio lock; always empty in the degraded mode."""
    breaker = _find_lock_breaker() if features.lock_breaker else None
    return _NOTHING if breaker is None else breaker  # not `or`: the live table is mostly empty


_IN_HOT_CODE: Final = {"trio_cancel_status": "_cancel_status", "trio_runner": "_runner"}


def reads_tasks(function: F) -> F:
    """In the code of ``function``, ``task.trio_cancel_status`` and ``task.trio_runner`` are trio's
    private attributes of a task.

    For the hot path alone, which reads them in each inline call: a function would cost 20 ns and
    more each time. Only to be read where ``features.cancel_status`` is true: they may not exist.
    """
    code = function.__code__
    names = tuple(_IN_HOT_CODE.get(name, name) for name in code.co_names)
    function.__code__ = code.replace(co_names=names)
    return function


def current_run(features: Features) -> object:
    """What all tasks of this run of trio share. None in the degraded mode."""
    return current_task()._runner if features.cancel_status else None


def runs_in(task: Task, run: object) -> bool:
    """Is ``task`` one of this run (see ``current_run``)? The degraded mode cannot tell, and says
    yes."""
    return run is None or task._runner is run


# --- cancel scopes --------------------------------------------------------------------------------


def cancel_status(task: Task, features: Features) -> object:
    """The innermost cancel scope's status: the same object before and after clean code. None in the
    degraded mode."""
    return task._cancel_status if features.cancel_status else None


def left_open(task: Task, status: object, features: Features) -> bool:
    """Has code that ran in ``task`` since ``status`` was its cancel status left a scope or a
    nursery open? The degraded mode sees nurseries only."""
    if features.cancel_status:
        return task._cancel_status is not status
    return bool(task.child_nurseries)


def caller_is_cancelled(task: Task, features: Features) -> bool:
    """Would the next checkpoint of ``task``, which is the current one, raise Cancelled?"""
    if features.cancel_status:
        return bool(task._cancel_status.effectively_cancelled)
    return trio.current_effective_deadline() == -math.inf


async def close_left_open(task: Task, status: object, features: Features) -> None:
    """Leave the scopes and nurseries that code which has ended left open in ``task``, which is the
    current one, since ``status`` was its cancel status (innermost first)."""
    left: list[object] = []
    above: Any = task._cancel_status
    while above is not None and above is not status:
        left.append(above)
        above = above.parent
    if above is None:
        return  # it left a scope of its caller's instead, and trio will tell the caller
    if task.child_nurseries and features.open_nurseries:
        await close_nurseries(task, features, left)
    while task._cancel_status is not status:
        task._cancel_status._scope.__exit__(None, None, None)


# --- nurseries ------------------------------------------------------------------------------------

LEFT: Final = "its handler ended and left this nursery open"


async def close_nurseries(task: Task, features: Features, statuses: Collection[object] | None = None) -> None:
    """End the nurseries that code which has ended left open in ``task``, which is the current one,
    and wait for their tasks. Raises what must leave the runtime. ``statuses``: only those that have
    one of these cancel statuses.

    Somebody else may leave such a nursery after all: an async generator that was dropped is closed
    by trio in a task of trio's own, at any time from now on. So nothing may wait in that nursery
    when that happens, and it is disarmed first.

    In the degraded mode they are only cancelled, and ``task`` must exit before anybody else runs:
    then trio marks them as closed, which makes them harmless too, and complains. So it must have
    been started with ``contained``, which waits for their tasks.
    """
    left: list[Any] = task.child_nurseries
    if not features.open_nurseries:
        for nursery in reversed(left):
            nursery.cancel_scope.cancel(reason=LEFT)
        return
    if statuses is not None:
        left = [nursery for nursery in left if nursery._cancel_status in statuses]
    if not left:
        return
    for nursery in reversed(left):
        disarm(nursery)
        task._child_nurseries.remove(nursery)
    try:
        async with trio.open_nursery() as heir:
            for nursery in left:
                orphans: set[Any] = nursery._children
                for orphan in list(orphans):
                    heir._children.add(orphan)  # or MemoryError: then it stays where it is
                    orphan._parent_nursery = heir
                    orphans.discard(orphan)
    except BaseException as error:
        if _is_fatal(error):
            raise


class _Nobody:
    """In the place of the task that a disarmed nursery was opened in: it waits for nothing, and the
    nursery is always the innermost one that it has. (trio pops it from there.)"""

    __slots__ = ("_nursery", "name")

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self.name = "<whoever left a nursery open>"

    def __repr__(self) -> str:
        return self.name

    @property
    def _child_nurseries(self) -> _Nobody:
        return self

    def pop(self) -> trio.Nursery:
        return self._nursery


def disarm(nursery: Any) -> None:
    """Cancel a nursery, and see to it that whoever leaves it, in whatever task, waits for nobody,
    wakes nobody, and takes it from nobody's list. Nothing can be started in it any more."""
    nursery.cancel_scope.cancel(reason=LEFT)
    nursery._closed = True
    nursery._parent_task = _Nobody(nursery)


def _find_finaliser() -> types.CodeType | None:
    try:
        from trio._core._asyncgens import AsyncGenerators

        code: types.CodeType = AsyncGenerators._finalize_one.__code__
    except (ImportError, AttributeError):
        return None
    return code if "agen" in code.co_varnames else None


_FINALISER: Final = _find_finaliser()


def finalised_by(task: Task) -> Any:
    """The async generator that ``task``, which has not begun, is to close; None for all other
    tasks."""
    coro: Any = task.coro
    if _FINALISER is None or getattr(coro, "cr_code", None) is not _FINALISER:
        return None
    return coro.cr_frame.f_locals.get("agen")


_MANAGER: Final[type] = type(trio.open_nursery(strict_exception_groups=True))


@asynccontextmanager
async def _any_manager() -> AsyncIterator[None]:
    yield


_GENERATOR_MANAGER: Final[type] = type(_any_manager())


def nurseries_held_by(generator: Any) -> Iterator[Any]:
    """The nurseries that a suspended async generator is inside of, its own ones and those of the
    context managers that it is inside of: what leaving them needs is on its stack, where the
    collector can see it. No code of users' is run."""
    seen: set[int] = set()
    todo: list[Any] = [generator]
    while todo:
        one = todo.pop()
        kind = type(one)
        if id(one) in seen:
            continue
        seen.add(id(one))
        if kind is types.AsyncGeneratorType:
            todo += gc.get_referents(one)
        elif kind is types.MethodType:
            todo.append(one.__self__)
        elif kind is _MANAGER:
            yield one._nursery
        elif kind is _GENERATOR_MANAGER:
            todo.append(one.gen)
        elif kind is AsyncExitStack:
            todo += [callback for _, callback in vars(one).get("_exit_callbacks", ())]


async def contained(function: Any, args: tuple[Any, ...], name: str) -> None:
    """Degraded mode: a task of the runtime's that may leave nurseries open can only exit with
    trio's complaint. Let that go no further, and wait for the tasks in them."""
    task: Task | None = None
    with trio.CancelScope(shield=True):
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(function, *args, name=name)
                (task,) = nursery.child_tasks
        except BaseExceptionGroup as group:
            rest = group.split(complains_of_stack)[1]
            if rest is not None:
                raise rest from None
        finally:
            seconds = 0.001
            while task is not None and any(nursery.child_tasks for nursery in task.child_nurseries):
                await trio.sleep(seconds)  # there is no public way to be told
                seconds = min(seconds * 2, 1.0)


def complains_of_stack(error: BaseException) -> bool:
    """Is this trio's RuntimeError about a cancel scope or nursery that was left open?"""
    return isinstance(error, RuntimeError) and "stack corrupted" in str(error)


def fatal_within(error: BaseException) -> BaseException | None:
    """What must leave the runtime: ``error`` itself, or what was under way when trio complained of
    a scope left open."""
    if complains_of_stack(error) and error.__context__ is not None:
        error = error.__context__
    return error if _is_fatal(error) else None


def _is_fatal(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return error.split((KeyboardInterrupt, SystemExit))[0] is not None
    return isinstance(error, (KeyboardInterrupt, SystemExit))


def fatal_leaf(error: BaseException) -> BaseException:
    """The KeyboardInterrupt or SystemExit in ``error``: itself, or the first in a group. ``error``
    if it is none."""
    while isinstance(error, BaseExceptionGroup) and _is_fatal(error):
        error = next(one for one in error.exceptions if _is_fatal(one))
    return error


is_fatal = _is_fatal
"""True for what must leave the runtime: KeyboardInterrupt and SystemExit, alone or in a group."""


WAKE_FRAMES: Final = 5
START_FRAMES: Final = 30
"""More calls than trio makes, one within the other, to reschedule a task and to start one."""


def room(frames: int) -> None:
    """Raise RecursionError now, while nothing is half done, if so many more calls would not fit on
    the stack."""
    if frames:
        room(frames - 1)


def take_back_unborn(nursery: trio.Nursery) -> None:
    """``start_soon`` has raised MemoryError, since one of trio's tables could not grow. The task is
    in some of them and will never run: take it out, or ``trio.run`` would wait for it for ever."""
    try:
        tasks: set[Any] = RUN.runner.tasks
        children: set[Any] = nursery._children
        unborn = [t for t in tasks if t._next_send_fn is None and inspect.getcoroutinestate(t.coro) == CORO_CREATED]
    except AttributeError:
        return
    for task in unborn:
        tasks.discard(task)
        children.discard(task)
        task.coro.close()


def start_or_not(nursery: trio.Nursery, function: Any, *args: Any, name: str, features: Features | None = None) -> bool:
    """Start a task of the runtime's own; False: there was no memory for it, and nothing is left of
    it. ``features``: users' code may run in it, and leave something open."""
    try:
        if features is None or features.open_nurseries:
            nursery.start_soon(function, *args, name=name)
        else:
            nursery.start_soon(contained, function, args, name, name=name)
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
    """Sleep on ``trap``; returns the outcome that the task was rescheduled with. The sleeper must
    unwrap it unless it is WAKE: a cancellation taken for a wake-up corrupts trio."""
    return (yield trap)


__all__ = [
    "FEATURES",
    "RUN",
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
    "contained",
    "current_run",
    "current_task",
    "disarm",
    "fatal_leaf",
    "fatal_within",
    "finalised_by",
    "is_fatal",
    "left_open",
    "lock_holders",
    "make_trap",
    "nurseries_held_by",
    "park",
    "reads_tasks",
    "room",
    "runs_in",
    "start_or_not",
    "take_back_unborn",
]
