"""Stepping user coroutines by hand, so that the current actor is known in every step of its code.

``Driver`` carries on a handler that has suspended: each step runs in the actor's context with
``current`` set, and what it yields is handed on to trio. ``Kid`` does the same for tasks in an
actor's own nurseries. An instrument sees such a task being spawned and puts the Kid in the place of
its coroutine, so it costs nothing for other tasks. Where trio does not let a task's coroutine be
replaced (degraded mode), an instrument around every step serves instead.

Both look like coroutines to trio's introspection (``Task.iter_await_frames``, Ctrl-C's search for
protected frames).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Final, Protocol

import trio
from trio.lowlevel import Task, enable_ki_protection

from ...heap.clock import nobodys
from ..base.activations import activation
from ..base.trio_internals import disarm, finalised_by, nurseries_held_by

if TYPE_CHECKING:
    import contextvars

    from ..actor.record import Record
    from ..base.trio_internals import Features

__all__ = ["BEGIN", "Attribution", "Driver", "Kid", "SteppedAttribution"]

BEGIN: Final = object()
"""The trap of a Driver whose coroutine has not begun. (Any object may be a trap: asyncio yields
None.)"""


class Steps(Protocol):
    """What is asked of the engine whose actors' code is stepped."""

    #: The actor whose code is on the stack.
    current: Record[Any] | None
    #: Called whenever that changes, while somebody has a budget.
    step_hook: Callable[[Record[Any] | None], None] | None
    #: For each task that runs an actor's code: an object whose ``actor`` says whose.
    holders: dict[Task, Any]
    features: Features


class Stepped:
    """What trio and inspect read of a coroutine, answered by the one inside."""

    __slots__ = ("coro",)

    coro: Any

    @property
    def cr_frame(self) -> Any:
        return self.coro.cr_frame

    @property
    def cr_await(self) -> Any:
        return self.coro.cr_await

    @property
    def cr_running(self) -> bool:
        return bool(self.coro.cr_running)

    @property
    def cr_suspended(self) -> bool:
        return bool(self.coro.cr_suspended)

    @property
    def cr_code(self) -> Any:
        return self.coro.cr_code

    def close(self) -> None:
        self.coro.close()


class Driver(Stepped):
    """A suspended handler, awaited by its worker."""

    __slots__ = ("actor", "context", "engine", "trap")

    def __init__(
        self, coro: Any, trap: Any, engine: Steps, actor: Record[Any], context: contextvars.Context | None
    ) -> None:
        self.coro = coro
        self.trap = trap
        self.engine = engine
        self.actor = actor
        self.context = context

    def __await__(self) -> Generator[Any, Any, Any]:
        return self

    def __iter__(self) -> Driver:
        return self

    def __next__(self) -> Any:
        return self.send(None)

    @activation
    @enable_ki_protection
    def send(self, value: Any) -> Any:
        trap = self.trap
        if trap is not BEGIN:
            self.trap = BEGIN
            return trap
        engine = self.engine
        engine.current = actor = self.actor
        hook = engine.step_hook
        if hook is not None:
            hook(actor)
        try:
            context = self.context
            return self.coro.send(value) if context is None else context.run(self.coro.send, value)
        finally:
            engine.current = None
            if hook is not None:
                hook(None)

    @activation
    @enable_ki_protection
    def throw(self, *error: Any) -> Any:
        self.trap = BEGIN
        engine = self.engine
        engine.current = actor = self.actor
        hook = engine.step_hook
        if hook is not None:
            hook(actor)
        try:
            context = self.context
            return self.coro.throw(*error) if context is None else context.run(self.coro.throw, *error)
        finally:
            engine.current = None
            if hook is not None:
                hook(None)


class Kid(Stepped):
    """A task in an actor's own nursery. The actor is ``current`` in its steps, its pending calls
    are the actor's, and by ``coro`` so are its frames."""

    __slots__ = ("actor", "engine", "task")

    def __init__(self, task: Task, engine: Steps, actor: Record[Any]) -> None:
        self.coro = task.coro
        self.task = task
        self.engine = engine
        self.actor = actor
        relations = actor.need_relations()
        if relations.kids is None:
            relations.kids = set()
        relations.kids.add(self)
        try:
            engine.holders[task] = self
        except MemoryError:
            relations.kids.discard(self)
            raise

    @enable_ki_protection
    def send(self, value: Any) -> Any:
        return self._step(self.coro.send, value)

    @enable_ki_protection
    def throw(self, *error: Any) -> Any:
        return self._step(self.coro.throw, *error)

    @activation
    @enable_ki_protection
    def _step(self, step: Any, *value: Any) -> Any:
        engine = self.engine
        engine.current = actor = self.actor
        hook = engine.step_hook
        if hook is not None:
            hook(actor)
        try:
            return step(*value)
        except BaseException:
            self.ended()
            raise
        finally:
            engine.current = None
            if hook is not None:
                hook(None)

    def ended(self) -> None:
        self.engine.holders.pop(self.task, None)
        relations = self.actor.relations
        if relations is not None and relations.kids is not None:
            relations.kids.discard(self)


class Attribution(trio.abc.Instrument):
    """Finds the tasks that actors start, at their start."""

    def __init__(self, engine: Steps) -> None:
        self.engine = engine

    @nobodys
    def task_spawned(self, task: Task) -> None:
        actor = owner_of(self.engine, task)
        if actor is not None:
            # trio drops an instrument that raises. Better one task is nobody's than all later ones.
            with contextlib.suppress(MemoryError, RecursionError):
                task.coro = Kid(task, self.engine, actor)  # type: ignore[assignment]
        elif (generator := finalised_by(task)) is not None:
            with contextlib.suppress(MemoryError, RecursionError):
                self._dropped(generator)

    def _dropped(self, generator: Any) -> None:
        """trio is about to close, in a task of its own, an async generator that somebody has
        dropped. If it holds a nursery open in the task of an actor, closing that would wake the
        actor's task from whatever it waits for, and never the task that waits for the nursery."""
        engine = self.engine
        if engine.features.open_nurseries:
            for nursery in nurseries_held_by(generator):
                if nursery.parent_task in engine.holders:
                    disarm(nursery)


class SteppedAttribution(trio.abc.Instrument):
    """The degraded mode. It costs about 1 µs for each step of each task while it is installed."""

    def __init__(self, engine: Steps) -> None:
        self.engine = engine
        self.kids: dict[Task, Kid] = {}

    @nobodys
    def task_spawned(self, task: Task) -> None:
        actor = owner_of(self.engine, task)
        if actor is not None:
            with contextlib.suppress(MemoryError, RecursionError):
                self.kids[task] = Kid(task, self.engine, actor)

    def before_task_step(self, task: Task) -> None:
        kid = self.kids.get(task)
        if kid is not None:
            self.engine.current = kid.actor
            if self.engine.step_hook is not None:
                self.engine.step_hook(kid.actor)

    def after_task_step(self, task: Task) -> None:
        if task in self.kids:
            self.engine.current = None
            if self.engine.step_hook is not None:
                self.engine.step_hook(None)

    def task_exited(self, task: Task) -> None:
        kid = self.kids.pop(task, None)
        if kid is not None:
            kid.ended()
            self.engine.current = None  # trio reports the exit before the end of the step
            if self.engine.step_hook is not None:
                self.engine.step_hook(None)


def owner_of(engine: Steps, task: Task) -> Record[Any] | None:
    """The actor whose nursery ``task`` was spawned into."""
    nursery = task.parent_nursery
    if nursery is None:
        return None
    holder = engine.holders.get(nursery.parent_task)
    return None if holder is None else holder.actor
