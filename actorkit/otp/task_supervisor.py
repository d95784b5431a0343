"""The task supervisor: one-off functions as supervised processes, with or without a result.

How it works. It is a dynamic supervisor whose children are temporary processes. The process's own
record tells the task's handle of its end (``behaviours.task``), so neither supervisor nor caller
keeps anything of a task that is over. What one task is to do travels in the arguments of its start
(``_Order``).
Source: Elixir's Task.Supervisor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import trio

from ..behaviours.task import Outcome, Task, perform, why_no_task
from ..errors import BadArguments, NotAlive
from ..policy.supervision import supervision_events as ev
from ..policy.supervision.child_spec import ChildSpec
from ..policy.supervision.supervisor_flags import DynamicFlags
from ..runtime.actor.dispatch import call
from ..runtime.actor.fitting import fits, misfit_in
from ..runtime.actor.later import Later
from ..runtime.actor.record import Record
from ..runtime.actor.ref import Ref
from ..runtime.life.init_outcome import Watcher
from ..runtime.life.process import Process
from ..runtime.life.starter import Starter
from ..supervision.dynamic import DynamicSupervisor, dynamic_supervisor
from .actor_set import living

__all__ = ["TaskSupervisor", "task_supervisor"]

T = TypeVar("T")


def task_supervisor(*, max_children: float = math.inf, name: str | None = None) -> ChildSpec[TaskSupervisor]:
    """The spec of a task supervisor.

    Use it for work that belongs to nobody's state and may fail alone: a request to elsewhere, a
    job. An actor stays free when it starts a task and lets the task send its result. To do several
    things at once and wait for them right here, trio's nursery is simpler.

    Args:
        max_children: tasks at a time; one more is refused with MaxChildrenReached.
        name: registers the supervisor under this name.

    Raises InvalidSupervisorFlag and InvalidChildSpec at once.

    Example::

        ak.task_supervisor(max_children=100, name="jobs")
        …
        jobs = ak.named(ak.TaskSupervisor, "jobs")
        task = await jobs.call(ak.TaskSupervisor.run, fetch, url)
        page = await task.result()
    """
    flags = DynamicFlags(max_restarts=0, max_seconds=1.0, max_children=max_children)
    common = dynamic_supervisor()
    return ChildSpec(
        TaskSupervisor,
        args=(flags,),
        name=name,
        kind="supervisor",
        mailbox=common.mailbox,
        init_timeout=common.init_timeout,
    )


class _Order:
    """What one task is to do, who gets its outcome, and who is linked to it."""

    __slots__ = ("args", "function", "kwargs", "link_to", "outcome")

    def __init__(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        outcome: Outcome | None,
        link_to: Record[Any] | None,
    ) -> None:
        self.function = function
        self.args = args
        self.kwargs = kwargs
        self.outcome = outcome
        self.link_to = link_to


_SPEC: ChildSpec[Any] = ChildSpec(perform, restart="temporary", shutdown=5.0, id="task")


class TaskSupervisor(DynamicSupervisor):
    """A running task supervisor; ``ak.task_supervisor`` is its spec. Its methods are messages: call
    them through its ref. Its tasks are temporary, and get 5 s to end in when it stops."""

    @call
    def run(self, function: Callable[..., Coroutine[Any, Any, T]], /, *args: Any, **kwargs: Any) -> Later[Task[T]]:
        """Run an async function as a process of its own, and return its handle. What the function
        raises ends only the task: it is reported, and ``task.result()`` raises TaskFailed.

        Raises MaxChildrenReached, SupervisorStopping, and BadArguments for a function that is not
        async or does not take these arguments. Source: Task.Supervisor.async_nolink/3.

        Example::

            task = await jobs.call(ak.TaskSupervisor.run, fetch, url)
            with trio.fail_after(2):
                page = await task.result()
        """
        return self._begin(_Order(function, args, kwargs, Outcome(), None))

    @call
    def run_linked(
        self, owner: Ref[Any], function: Callable[..., Coroutine[Any, Any, T]], /, *args: Any, **kwargs: Any
    ) -> Later[Task[T]]:
        """As ``run``, and link the task to ``owner``: neither outlives a failure of the other. An
        owner that traps exits gets an ``Exit`` when the task ends, also when it ends normally.

        Use it for work whose result the owner cannot do without.

        Raises what ``run`` raises, and NotAlive for an owner that is dead.
        Source: Task.Supervisor.async/3.
        """
        try:
            record = living(self.ctx.node.engine, owner, "link a task to its owner")
        except NotAlive as error:
            refused = Later[Task[T]]()
            refused.fail(error)
            return refused
        return self._begin(_Order(function, args, kwargs, Outcome(), record))

    @call
    def start(
        self, function: Callable[..., Coroutine[Any, Any, object]], /, *args: Any, **kwargs: Any
    ) -> Later[Ref[Process]]:
        """As ``run``, without a result: for work that is done for its effect. Returns the ref of
        the process. Source: Task.Supervisor.start_child/3 (temporary only)."""
        return self._begin(_Order(function, args, kwargs, None, None))

    @call
    def _run_item(self, begun: Callable[[Task[Any]], None], function: Callable[..., Any], /, *args: Any) -> Later[None]:
        """As ``run``, for streams: the handle is given to ``begun(task)`` in the very step in which
        the task starts. So a stream that has given up waiting for this call has the handle all the
        same, and can end the task. ``begun`` must neither raise nor wait."""
        return self._begin(_Order(function, args, {}, Outcome(), None), begun)

    def start_one(self, spec: Any, watcher: Watcher) -> Record[Any]:
        if spec.start is not perform:
            return super().start_one(spec, watcher)
        order: _Order = spec.args[0]
        starter = self._labelled(order.function)
        record = starter(
            (order.outcome, order.function, order.args, order.kwargs), {}, link_to=order.link_to, watcher=watcher
        )
        if order.outcome is not None:
            record.need_relations().call_at_exit(order.outcome.ended)
        return record

    def _begin(self, order: _Order, begun: Callable[[Task[Any]], None] | None = None) -> Later[Any]:
        later = Later[Any]()
        refusal = why_no_task(order.function)
        if refusal is None and not fits(order.function, len(order.args), order.kwargs):
            head, why = misfit_in(order.function, order.args, order.kwargs)
            refusal = f"cannot run {head} as a task: {why}"
        if refusal is not None:
            later.fail(BadArguments(refusal))
            return later
        answer: Any = _TaskCall(later, order.outcome, begun)
        spec = _SPEC.with_args(order)
        self._feed(ev.StartChildCommand(trio.current_time(), answer, spec))
        return later

    def _labelled(self, function: Callable[..., Any]) -> Starter:
        """A starter whose processes bear the function's name. Nothing else is kept of the
        function."""
        label = getattr(function, "__qualname__", "task")
        starter = self.starters.get(label)
        if starter is None:
            learned = self.ctx.node.engine.learned.of_kind(label)
            spec = _SPEC.with_(id=label)
            starter = Starter(self.ctx.node.engine, spec, self.door, footprint=learned, label=label)
            return self.starters.put(label, starter)
        return starter


class _TaskCall:
    """Takes the place of the Later of a call that starts a child, and makes a Task of the child's
    ref."""

    __slots__ = ("begun", "later", "outcome")

    def __init__(self, later: Later[Any], outcome: Outcome | None, begun: Callable[[Task[Any]], None] | None) -> None:
        self.later = later
        self.outcome = outcome
        self.begun = begun

    def set(self, record: Any) -> None:
        if self.outcome is None:
            self.later.set(record)
            return
        task = Task[Any](record, self.outcome)
        if self.begun is None:
            self.later.set(task)
        else:
            self.begun(task)
            self.later.set(None)

    def fail(self, error: Exception) -> None:
        self.later.fail(error)
