"""Engine: what a record asks of the scheduler that runs it.

The scheduler is built out of records, so records cannot be built out of the scheduler: everything
in ``runtime.actor`` (records, links, names, calls, events …) is typed against this Protocol, and
only the layers above know the class that fulfils it. What is not listed here is the business of
those layers: what is listed is all that a second engine, or a scripted one in a test, has to offer.

``R`` is the record that the engine runs.
"""

from __future__ import annotations

import contextvars
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import trio
from trio.lowlevel import Task

from ...policy.memory.heap_limit import HeapLimit
from ...reasons import ExitReason
from ..base.home import Home
from ..base.timers import Timers
from ..base.trio_internals import Features
from .dead_letters import DeadLetterReason
from .envelope import Message
from .events import Events
from .name_table import NameTable
from .waiting import Deadlines, Party

__all__ = ["BudgetDoor", "Ends", "Engine", "Handled", "R", "Signals"]

R = TypeVar("R", bound=Party)
R_contra = TypeVar("R_contra", bound=Party, contravariant=True)


class Handled(Protocol):
    """The message whose handler has just raised."""

    @property
    def record(self) -> Party:
        """Whose handler."""
        ...

    def told(self) -> str:
        """A line of the crash report."""
        ...


class Signals(Protocol[R]):
    """What links and monitors ask of an engine: to end a receiver, and to go on whatever that
    raises."""

    doomed: list[R]
    """Actors that must end and could not be ended yet: the stack was full."""
    monitor_count: int
    """Monitors made so far: the number of the last one."""
    telling: deque[Any] | None
    """Deaths whose links and monitors are being told now, in order; see ``links.tell_watchers``."""

    def end_now(self, record: R, reason: ExitReason) -> None:
        """End it now, or as soon as its code lets go, without ``terminate``."""

    def step_failed(self, error: BaseException) -> None:
        """A step of an end has raised: log it, or ``leave``. The end goes on."""

    def settle_later(self, step: Callable[..., None], *arguments: Any) -> None:
        """The stack is full: call ``step`` from a fresh one."""


class Ends(Signals[R], Protocol[R]):
    """The part of an engine that ends actors."""

    def die(self, record: R, reason: ExitReason) -> None:
        """End it here: its code is not on the stack, nor suspended."""

    def exit_signal(self, target: R, reason: ExitReason, source: R | None) -> None:
        """Deliver ``ref.exit(reason)``, sent by ``source``."""

    def stop_actor(self, record: R, reason: ExitReason) -> None:
        """An orderly end: ``terminate`` after the message at hand."""

    def shutdown_child(self, record: R, reason: ExitReason) -> None:
        """Its parent's shutdown: ``terminate`` if it traps exits, else an end at once."""

    def crashed(self, record: R, error: BaseException, reply: Any) -> bool:
        """Its code has raised. True: ``terminate`` is its next message; False: it is dead."""
        ...

    def blame(self, actor: R, why: str) -> None:
        """It broke a rule that the runtime found out after its handler: it ends as if it had
        raised."""

    def restart_idle_timer(self, record: R) -> None:
        """Count the actor's idle time anew."""

    def leave(self, error: BaseException) -> None:
        """Users' code has raised KeyboardInterrupt or SystemExit: the node stops in order, then
        raises it."""


class BudgetDoor(Protocol[R_contra]):
    """The budgets of one node, as an actor sees them."""

    looks: Any
    """What looks at its actors have found."""

    def change(self, record: R_contra, limit: HeapLimit | None) -> HeapLimit | None:
        """Give an actor another limit (None: no limit), in force at its next boundary. Returns the
        old one."""
        ...


class Engine(Ends[R], Protocol[R]):
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
    locks: Any
    """trio's table of tasks that hold a lock, or None."""
    repairs: int
    """How often a handler left something open in a task that is not its own."""
    base_context: contextvars.Context
    """The contextvars that every activation begins with."""
    free_contexts: list[contextvars.Context]
    """Clean copies of ``base_context``, to be used again."""

    nursery: trio.Nursery | None
    """Where the node's own tasks run; None before it is open."""

    # --- the run queue ------------------------------------------------------------------------

    queues: tuple[deque[R], ...]
    """Actors that have something to do, one queue per scheduling priority."""
    busy: bool
    """Does somebody draw from the queues already? If not, whoever queues an actor calls
    ``wake``."""

    def wake(self, what: str = "wake", whom: Any = "the node") -> None:
        """Have a worker draw from the queues. Raises RecursionError, and RuntimeError in another
        thread, with nothing done; ``what`` was to be done to ``whom``."""

    messages: int
    """Messages that have been handled."""

    def requeue(self, actor: R) -> None:
        """Its handler has ended: on to the next message, or idle."""

    def after_inline(self, callee: R) -> None:
        """A message or a signal came while ``callee`` ran inline."""

    # --- turns: one slice of work in each pass of trio -----------------------------------------

    inline_left: int
    """Operations without a wait until the clock is read again."""

    def slice_is_over(self) -> bool:
        """Has this turn used up its part of the pass? Asked when ``inline_left`` has run out."""
        ...

    async def breathe(self) -> None:
        """Wait for a turn, after an operation that is done and cannot be cancelled any more."""

    async def yield_if_due(self, task: Task) -> None:
        """Count an operation that did not have to wait; ``breathe`` if it is time."""

    async def turn_if_due(self) -> None:
        """Count an operation that comes next; ``take_turn`` if it is time."""

    async def take_turn(self) -> None:
        """Wait for a turn, before an operation: a checkpoint."""

    def woken(self) -> None:
        """trio has just woken the current task, which waited for I/O: it has a small turn."""

    async def checkpoint(self) -> None:
        """Let trio run others. Raises Cancelled if the task is cancelled."""

    # --- an actor's own task, such as a connection's reader ---------------------------------------

    flushes: list[Callable[[], None]]
    """Called once when this slice ends, before trio runs others: output that was gathered."""
    flush_promised: bool
    """Will they be called even if nobody is woken?"""

    async def run_here(self, worker: Any, actor: R, function: Any, args: tuple[Any, ...]) -> None:
        """One activation of an idle actor in the current task, which is its own."""

    # --- calls --------------------------------------------------------------------------------

    deadlines: Deadlines
    """The default deadline of calls."""
    timers: Timers
    """The node's timers."""

    @property
    def handling(self) -> Handled | None:
        """What was being handled when a handler raised, while its end is reported."""
        ...

    last_reason: ExitReason
    """Why the last actor to die has died: asked right after a death that was noticed late."""

    def received(self, value: object) -> None:
        """The current actor has got an answer: what it holds alone counts as its own from now
        on."""

    def inline_crash(self, callee: R, error: BaseException, function: Any, args: Any) -> BaseException:
        """An inline handler has raised in its caller's task: settle it; returns what the caller
        gets."""
        ...

    def left_scope_open(self, callee: R) -> BaseException:
        """An inline handler left a cancel scope open in its caller's task; returns what the caller
        gets."""
        ...

    # --- memory -------------------------------------------------------------------------------

    @property
    def budgets(self) -> BudgetDoor[R]:
        """Who may hold how much."""
        ...

    # --- names, events --------------------------------------------------------------

    names: NameTable[R]
    """Who is registered under which name."""
    events: Events
    """Who wants which system events."""
    memory_watchers: dict[R, None]
    """Actors that want ``MemoryPressure`` messages."""

    def dead_letter(self, record: R, message: Message, reason: DeadLetterReason, details: str = "") -> None:
        """Count a message to ``record`` that nobody will handle, and tell those who asked."""

    def dead_name(self, name: str, what: Any, args: tuple[Any, ...]) -> None:
        """As ``dead_letter``, for a name that nobody holds."""
