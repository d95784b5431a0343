"""Engine: what a record asks of the scheduler that runs it.

The scheduler is built out of records, so records cannot be built out of the scheduler: everything in
``runtime.actor`` (records, links, names, calls, events …) is typed against this Protocol, and only
the layers above know the class that fulfils it. What is not listed here is the business of those
layers: what is listed is all that a second engine, or a scripted one in a test, has to offer.

``R`` is the record that the engine runs.
"""

from __future__ import annotations

import contextvars
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from trio.lowlevel import Task

from ...reasons import ExitReason
from ..base.home import Home
from ..base.timers import Timers
from ..base.trio_internals import Features
from .calls import Deadlines
from .events import Events
from .names import Names

if TYPE_CHECKING:
    from .record import Message

__all__ = ["Engine", "R"]

R = TypeVar("R")


class Engine(Protocol[R]):
    """See the module's docstring. ``Scheduler`` is the one there is."""

    # --- who and where ------------------------------------------------------------------------

    name: str
    """The node's name: part of each pid."""
    incarnation: int
    """Which life of the node: part of each pid."""
    home: Home
    """The thread that may use the node, and the refusals for any other."""
    thread: int
    """``home.ident``, for the hot path."""
    runner: Any
    """trio's own object for the run that the node lives in: a task of another run is refused."""
    features: Features
    """What this version of trio offers."""

    # --- whose code runs ----------------------------------------------------------------------

    current: R | None
    """The actor whose code is on the stack, or None."""
    step_hook: Callable[[R | None], None] | None
    """Called whenever ``current`` changes, while somebody has a budget."""
    holders: dict[Task, Any]
    """For each task that runs an actor's code: an object whose ``actor`` says whose."""
    base_context: contextvars.Context
    """The contextvars that every activation begins with."""
    free_contexts: list[contextvars.Context]
    """Clean copies of ``base_context``, to be used again."""

    # --- the run queue ------------------------------------------------------------------------

    queues: tuple[deque[R], ...]
    """Actors that have something to do, one queue per scheduling priority."""
    busy: bool
    """Does somebody draw from the queues already? If not, whoever queues an actor calls ``wake``."""

    def wake(self, what: str = "wake", whom: Any = "the node") -> None:
        """Have a worker draw from the queues. Raises RecursionError, and RuntimeError in another
        thread, with nothing done; ``what`` was to be done to ``whom``."""

    def after_inline(self, callee: R) -> None:
        """A message or a signal came while ``callee`` ran inline."""

    # --- turns: one slice of work in each pass of trio -----------------------------------------

    inline_left: int
    """Operations without a wait until the clock is read again."""

    def slice_is_over(self) -> bool:
        """Has this turn used up its part of the pass? Asked when ``inline_left`` has run out."""

    async def breathe(self) -> None:
        """Wait for a turn, after an operation that is done and cannot be cancelled any more."""

    async def yield_if_due(self, task: Task) -> None:
        """Count an operation that did not have to wait; ``breathe`` if it is time."""

    async def checkpoint(self) -> None:
        """Let trio run others. Raises Cancelled if the task is cancelled."""

    # --- calls --------------------------------------------------------------------------------

    deadlines: Deadlines
    """The default deadline of calls."""
    timers: Timers
    """The node's timers."""
    last_reason: ExitReason
    """Why the last actor to die has died: asked right after a death that was noticed late."""

    def received(self, value: object) -> None:
        """The current actor has got an answer: what it holds alone counts as its own from now on."""

    def inline_crash(self, callee: R, error: BaseException, function: Any, args: Any) -> BaseException:
        """An inline handler has raised in its caller's task: settle it; returns what the caller gets."""

    def left_scope_open(self, callee: R) -> BaseException:
        """An inline handler left a cancel scope open in its caller's task; returns what the caller gets."""

    # --- ends ---------------------------------------------------------------------------------

    doomed: list[R]
    """Actors that must end and could not be ended yet: the stack was full."""

    def end_now(self, record: R, reason: ExitReason) -> None:
        """End it now, or as soon as its code lets go, without ``terminate``."""

    def exit_signal(self, target: R, reason: ExitReason, source: R | None) -> None:
        """Deliver ``ref.exit(reason)``, sent by ``source``."""

    def stop_actor(self, record: R, reason: ExitReason) -> None:
        """An orderly end: ``terminate`` after the message at hand."""

    def restart_idle_timer(self, record: R) -> None:
        """Count the actor's idle time anew."""

    def leave(self, error: BaseException) -> None:
        """Users' code has raised KeyboardInterrupt or SystemExit: the node stops in order, then raises it."""

    def step_failed(self, error: BaseException) -> None:
        """A step of an end has raised: log it, or ``leave``. The end goes on."""

    def settle_later(self, step: Callable[..., None], *arguments: Any) -> None:
        """The stack is full: call ``step`` from a fresh one."""

    # --- names, monitors, events --------------------------------------------------------------

    names: Names
    """Who is registered under which name."""
    events: Events
    """Who wants which system events."""
    monitor_count: int
    """Monitors made so far: the number of the last one."""
    telling: deque[Any] | None
    """Deaths whose links and monitors are being told now, in order; see ``links.tell_watchers``."""
    memory_watchers: dict[R, None]
    """Actors that want ``MemoryPressure`` messages."""

    def dead_letter(self, record: R, message: Message, why: str) -> None:
        """Count a message to ``record`` that nobody will handle, and tell those who asked."""

    def dead_name(self, name: str, what: Any, args: tuple[Any, ...]) -> None:
        """As ``dead_letter``, for a name that nobody holds."""
