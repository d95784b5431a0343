"""What all rooms of an engine share: who lives on the node, under which name, and whose code runs.

An engine is built of rooms, each a class that adds one idea and knows only the rooms before it::

    NodeTables            who lives here; what could not be delivered
    Deaths                an end, and why it cannot fail
    OrderlyEnds           stop, shutdown, terminate
    Crashes               a handler has raised
    AfterMessage          the control lane, between two messages
        Births            from a kind and arguments to an actor
        SenderPays        arguments that do not fit their handler
        InlineCalls       a callee has run in its caller's task
        MessagePump       the hot loop
        Pool              workers, and the token
        OwnTaskRuns       an activation in the actor's own task
    Scheduler             all of them, opened and closed
    NodeEngine            a tree, a stop, quotas, starting by spec

They are one object because the hot path reads fields of several of them in one loop; see
``docs/design/0032``.
"""

from __future__ import annotations

import contextvars
import sys
from collections import deque
from collections.abc import Callable
from threading import get_ident
from typing import TYPE_CHECKING, Any

from ...log import log
from ...reasons import NORMAL, ExitReason, shown
from ..actor.dead_letters import DeadLetterReason
from ..actor.envelope import Message, function_of
from ..actor.events import ActorStarted, DeadLetter, Events
from ..actor.name_table import NameTable
from ..base.home import Home
from ..base.timers import Timers
from ..base.trio_internals import current_run, fatal_leaf, is_fatal
from ..budgets.footprints import Footprints

if TYPE_CHECKING:
    from trio.lowlevel import Task

    from ..actor.record import Record
    from ..base.timers import Timer
    from ..budgets.node_budgets import Budgets
    from .node_settings import NodeSettings

__all__ = ["NodeTables"]


class NodeTables:
    """See the module's docstring."""

    #: The node's memory budgets.
    budgets: Budgets

    def __init__(self, settings: NodeSettings, incarnation: int) -> None:
        # --- who and where
        self.name = settings.name
        self.incarnation = incarnation
        self.home = Home(settings.name)
        #: ``home.ident``, for the hot path.
        self.thread = self.home.ident
        self.features = settings.features
        #: trio's object for the run that the node lives in.
        self.runner = current_run(settings.features)
        #: Is the thread of every message checked?
        self.debug = sys.flags.dev_mode if settings.debug is None else settings.debug
        #: Seconds after which a killed actor that still runs is reported.
        self.kill_timeout = settings.kill_timeout

        # --- who lives
        #: All living actors, in the order of their birth.
        self.actors: dict[int, Record[Any]] = {}
        #: The number of the newest.
        self.numbers = 0
        self.names: NameTable[Record[Any]] = NameTable()
        self.timers = Timers(self.home, self.leave)
        self.events = Events(self.home, self.step_failed)
        #: What is learned of the sizes of supervised children.
        self.learned = Footprints()
        #: Actors that want ``MemoryPressure`` messages.
        self.memory_watchers: dict[Record[Any], None] = {}

        # --- whose code runs
        #: The actor whose code is on the stack.
        self.current: Record[Any] | None = None
        #: Called whenever ``current`` changes, while somebody has a budget.
        self.step_hook: Callable[[Record[Any] | None], None] | None = None
        #: For each task that runs an actor's code: an object whose ``actor`` says whose.
        self.holders: dict[Task, Any] = {}
        #: The contextvars that each activation begins with.
        self.base_context = contextvars.copy_context()
        #: Clean copies of it, to be used again.
        self.free_contexts: list[contextvars.Context] = []

        # --- who ends
        #: The node stops: nothing is started that no supervisor asks for.
        self.stopping = False
        #: KeyboardInterrupt or SystemExit from users' code: it comes out of the node when that has
        #: stopped.
        self.left: BaseException | None = None
        #: Why the last actor to die has died.
        self.last_reason: ExitReason = NORMAL
        #: Actors that must end and could not: the stack was full.
        self.doomed: list[Record[Any]] = []
        #: Steps of ends that found the stack full, to be taken from a fresh one: (function,
        #: arguments).
        self.unsettled: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        #: Actors whose awaits were cancelled, with the timer that reports those who stay.
        self.dying: dict[Record[Any], Timer] = {}
        #: Those that have been reported.
        self.unkillable: dict[Record[Any], None] = {}
        #: Deaths whose links and monitors are being told now, in order; see
        #: ``links.tell_watchers``.
        self.telling: deque[Any] | None = None

        # --- counted
        #: Monitors made so far: the number of the last one.
        self.monitor_count = 0
        self.crashed_count = 0
        self.dead_letters = 0
        #: Handlers that left a scope or a nursery behind.
        self.repairs = 0

    # --- what ends the node, and what does not ---------------------------------------------------

    def leave(self, error: BaseException) -> None:
        """Users' code has raised KeyboardInterrupt or SystemExit, alone or in a group. That is for
        whoever runs the node: it stops in order, then raises the first of them."""
        if self.left is None:
            self.left = fatal_leaf(error)

    def step_failed(self, error: BaseException) -> None:
        """A step of an end, or of something else that must not fail, has raised. The others are
        taken."""
        if is_fatal(error):
            self.leave(error)
        else:
            log.error("a step of an actor's end raised; the end goes on", exc_info=error)

    def exit_noticed(self) -> None:
        """An actor has ended while the node stops."""

    # --- what is told ----------------------------------------------------------------------------

    def announce(self, record: Record[Any]) -> None:
        """Tell of a newborn."""
        if self.events.wanted(ActorStarted):
            self.events.emit(ActorStarted(record, record.pid, record.started_as))

    def dead_letter(self, record: Record[Any], message: Message, reason: DeadLetterReason, details: str = "") -> None:
        """Count a message that nobody will handle, and tell those who asked."""
        if self.events.listened:
            self.home.check("send to", record)
        self.dead_letters += 1
        if self.events.wanted(DeadLetter):
            name = getattr(function_of(message), "__qualname__", "send")
            self.events.emit(
                DeadLetter(record, record.pid, record.started_as, name, message[1], reason.text(details), reason)
            )

    def dead_name(self, name: str, what: Any, args: tuple[Any, ...]) -> None:
        """As ``dead_letter``, for a name that nobody holds."""
        if get_ident() != self.thread:
            raise self.home.refuse("send to", repr(name))
        self.dead_letters += 1
        if self.events.wanted(DeadLetter):
            reason = DeadLetterReason.NO_SUCH_NAME
            message = what if isinstance(what, str) else getattr(what, "__qualname__", None) or shown(what, 100)
            self.events.emit(DeadLetter(None, None, repr(name), message, args, reason.text(), reason))
