"""The engine of one node: the scheduler, and what a node has besides: a tree, an end, quotas, a way
to start actors.

``Node`` is the face that users see; all that it does, it asks of this. The rest of the package
reaches it as ``node.engine`` and ``record.engine``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial
from threading import get_ident
from typing import Any

import trio

from ...errors import NodeOutOfMemory, StartFailed
from ...policy.supervision.child_spec import ChildSpec
from ...reasons import KILLED, ExitReason, shown
from ..actor.doors import Admission, Memory, RestartGate, TimerGate
from ..actor.record import Record, RecordKind, resolve
from ..actor.ref import Ref
from ..base.timers import Timer
from .init_outcome import Watcher
from .node_settings import NodeSettings
from .node_stop import NodeStop
from .root import Body, Root
from .scheduler import Scheduler
from .starter import Starter
from .starter_cache import StarterCache

__all__ = ["NodeEngine", "Quotas"]

_incarnations = itertools.count(1)


class Quotas:
    """The supervisors of one node whose families may hold only so much together."""

    def __init__(self) -> None:
        #: How many bytes each of them may hold with all below it.
        self.all: dict[Record[Any], int] = {}
        #: Called when there is another one.
        self.on_another: Callable[[], None] | None = None

    def keep(self, supervisor: Record[Any], quota: int) -> None:
        """Whoever is below ``supervisor`` may hold ``quota`` bytes together, as long as it
        lives."""
        self.all[supervisor] = quota

        def forget(record: Record[Any], _: ExitReason) -> None:
            self.all.pop(record, None)

        supervisor.need_relations().call_at_exit(forget)
        if self.on_another is not None:
            self.on_another()


class NodeEngine(Scheduler):
    """See the module's docstring."""

    def __init__(self, settings: NodeSettings) -> None:
        super().__init__(settings, next(_incarnations))
        #: What ``ctx.node`` is. Set by the node's own constructor.
        self.node: Any = None
        self.body = Body()
        self.root = Root(self, self.body)
        self.stop = NodeStop(self, settings.stop_timeout)
        self.quotas = Quotas()
        #: What every automatic restart passes; a governor puts its own here.
        self.restart_gate: RestartGate = TimerGate(self.timers)
        #: How many children supervisors have restarted.
        self.restarts = 0
        #: The governor's data, while one runs.
        self.memory: Memory | None = None
        #: Whether new work may come in, while a governor runs.
        self.admission: Admission | None = None
        #: Why a governor stops the node; comes out of ``open_node``.
        self.out_of_memory: NodeOutOfMemory | None = None
        #: Called when no actor is left.
        self.at_close: list[Callable[[], None]] = []
        self.trio_token = trio.lowlevel.current_trio_token()
        self.starters = StarterCache(partial(Starter, self))
        self.kinds: dict[type, RecordKind] = self.starters.plain_kinds

    # --- starting actors ----------------------------------------------------------------------

    def spawn(
        self,
        start: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        link_to: Record[Any] | None = None,
        watcher: Watcher | None = None,
    ) -> Record[Any]:
        """See ``Node.spawn``. ``link_to`` is linked from the first moment; ``watcher`` hears of the
        outcome of ``init``."""
        if get_ident() != self.thread:
            raise self.home.refuse("start" if watcher is not None else "spawn", _start_shown(start))
        if isinstance(start, ChildSpec):
            if args or kwargs:
                raise TypeError("a child spec holds its arguments: give them to ak.child(…), not to spawn")
            starter = self.starters.of_spec(start)
            return starter(start.args, start.kwargs, link_to=link_to, watcher=watcher)
        return self.starters.of_start(start)(args, kwargs, link_to=link_to, watcher=watcher)

    async def start(self, start: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Record[Any] | None:
        """See ``Node.start``."""
        done = trio.Event()
        outcome: list[tuple[ExitReason | None, bool]] = []

        def watcher(_: Record[Any], reason: ExitReason | None, ignored: bool) -> None:
            outcome.append((reason, ignored))
            done.set()

        try:
            record = self.spawn(start, args, kwargs, watcher=watcher)
        except StartFailed:
            await trio.lowlevel.checkpoint()  # whoever tries again and again must let others run
            raise
        try:
            await done.wait()
        except trio.Cancelled:
            self.end_now(record, KILLED)
            raise
        reason, ignored = outcome[0]
        if reason is not None:
            raise StartFailed(record.kind.child_id, reason)
        return None if ignored else record

    async def start_root(self, tree: ChildSpec[Any]) -> None:
        """Start the tree. Raises StartFailed."""
        done = trio.Event()
        outcome: list[ExitReason | None] = []

        def watcher(_: Record[Any], reason: ExitReason | None, ignored: bool) -> None:
            outcome.append(reason)
            done.set()

        self.root.record = Starter(self, tree, self.root)(tree.args, tree.kwargs, watcher=watcher)
        await done.wait()
        if outcome[0] is not None:
            raise StartFailed(tree.id, outcome[0])

    # --- finding actors -----------------------------------------------------------------------

    def resolve(self, ref: Ref[Any]) -> Record[Any] | None:
        """The record behind a ref; None for a name that nobody holds on this node."""
        return resolve(ref, self)

    # --- time ---------------------------------------------------------------------------------

    def send_after(self, seconds: float, to: Ref[Any], arguments: tuple[object]) -> Timer:
        """See ``Context.send_after``. ``arguments``: the message alone, which nothing else here may
        hold (see ``Ref.cast_packed``)."""
        self.home.check("start", "a timer")
        if not (isinstance(seconds, (int, float)) and 0 <= seconds < math.inf):
            raise ValueError(f"cannot send after {seconds!r} s: give a finite number of seconds, 0 or more")
        if not isinstance(to, Ref):
            raise TypeError(f"cannot send after {seconds:g} s to {shown(to, 200)}: give a ref")
        return to.post_after(self, seconds, arguments)

    # --- end ----------------------------------------------------------------------------------

    async def stopped(self, ref: Ref[Any]) -> ExitReason | None:
        """See ``Node.stopped``."""
        record = self.resolve(ref)
        if get_ident() != self.thread:
            raise self.home.refuse("wait for", repr(ref))
        if record is None or not record.alive:
            await trio.lowlevel.checkpoint()
            return None
        done = trio.Event()
        reasons: list[ExitReason] = []

        def note(_: Record[Any], reason: ExitReason) -> None:
            reasons.append(reason)
            done.set()

        record.need_relations().call_at_exit(note)
        await done.wait()
        return reasons[0]

    def exit_noticed(self) -> None:
        self.stop.noticed()

    def leave(self, error: BaseException) -> None:
        super().leave(error)
        self.body.cancel(f"{type(self.left).__name__} leaves the node")
        self.stop.interrupted(error)


def _start_shown(start: Any) -> str:
    """What was to be started, for messages."""
    if isinstance(start, ChildSpec):
        return f"{start.id!r:.200}"
    return str(getattr(start, "__qualname__", None) or f"{start!r:.200}")
