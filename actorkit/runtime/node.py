"""Node, which ``open_node`` yields, and Context, which is ``self.ctx``: what ActorContext has, and
what asks the node (``spawn``, ``send_after``, ``ctx.node``).

``open_node`` is an ordinary async context manager of its host's task. What it promises:

* It sets up nothing global: no signal handlers, no logging configuration, no GC thresholds. Several
  nodes live side by side.
* The body runs when the whole tree has started. A tree that cannot start raises StartFailed, with
  nothing left running.
* Leaving the body, by whatever way (end, exception, cancellation from outside), stops the tree in
  reverse start order, then the actors outside it, each with its own shutdown time, all within
  ``stop_timeout``; then what is left is killed. trio cannot abandon a task: an actor that does not
  end even then is named in the log every second, and waited for.
* When the tree ends by itself, the body is cancelled: quietly if it ended normally, else
  SupervisorGaveUp comes out of ``open_node``.
* KeyboardInterrupt and SystemExit from a handler cancel the body, and come out when the node has
  stopped in order.
* An interrupt (Ctrl-C) that arrives while the node stops is noted, and the stop goes on. The second
  one cuts it short: what still runs is killed. KeyboardInterrupt comes out in the end.
* ``open_node`` adds no exception group of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from threading import get_ident
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, Unpack, cast, overload

from ..heap.capabilities import Capabilities, capabilities
from ..heap.explain import Explanation
from ..policy.memory.footprint import Footprint
from ..policy.supervision.child_spec import ChildSpec
from ..reasons import ExitReason
from .actor.context import ActorContext
from .actor.doors import Admission, Memory, RestartGate
from .actor.events import EventStream, SystemEvent
from .actor.notices import MonitorId
from .actor.ref import Ref
from .base.timers import Timer
from .budgets.budgeted_record import BudgetedRecord, budgeted
from .life.node_engine import NodeEngine
from .life.node_settings import NodeOptions, NodeSettings, check_options
from .life.process import BudgetedReceiver, Process, ReceivingContext
from .life.running import run_node
from .looking.heap_census import HeapCensus, heap_census
from .looking.heap_report import heap_explain
from .looking.introspection import NodeStatistics, ProcessInfo, TreeEntry, process_info, statistics, tree_below
from .thread_doors import FromThread

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Context", "Node", "ProcessContext", "open_node"]

A = TypeVar("A")
A_co = TypeVar("A_co", covariant=True)
P = ParamSpec("P")


class Node:
    """A running node: what ``open_node`` yields, and what ``self.ctx.node`` is.

    Its methods are for the thread of its trio run; other threads use ``node.from_thread``.
    ``node.engine`` is the runtime's own and changes without notice.

    Example::

        async with ak.open_node() as node:
            room = node.spawn(Room, "lobby")
            await room.call(Room.join, "ann")
    """

    def __init__(self, engine: NodeEngine) -> None:
        #: What runs it. Not for users.
        self.engine = engine
        #: Its parts that ``spawn`` needs: a lookup less at each spawn.
        self._plain_kinds = engine.kinds
        self._spawn_plain = engine.spawn_plain
        self._thread = engine.thread
        #: The door for other threads.
        self.from_thread = FromThread(engine)
        engine.node = self
        engine.context_class = Context
        engine.process_class = ProcessContext

    def __repr__(self) -> str:
        engine = self.engine
        return f"<node {engine.name!r}: {len(engine.actors)} actors{', stopping' if engine.stopping else ''}>"

    @property
    def name(self) -> str:
        """Its name: its part in pids and in messages."""
        return self.engine.name

    # --- starting actors ----------------------------------------------------------------------

    @overload
    def spawn(self, start: ChildSpec[A], /) -> Ref[A]: ...
    @overload
    def spawn(
        self,
        start: Callable[Concatenate[ProcessContext, P], Coroutine[Any, Any, object]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Ref[Process]: ...
    @overload
    def spawn(self, start: Callable[P, A], /, *args: P.args, **kwargs: P.kwargs) -> Ref[A]: ...
    def spawn(self, start: Any, /, *args: Any, **kwargs: Any) -> Ref[Any]:
        """Start an actor outside the tree, and return its ref at once.

        Use it for actors that nobody needs to restart; what should be restarted belongs under a
        supervisor. If the class has an ``init``, that runs as the first message, before what is
        sent after this; ``start`` waits for it.

        Args:
            start: an actor class or an async function (a process) with its arguments, or a child
                spec (for options).

        Raises:
            StartFailed: the constructor raised. The fault is the class's or its arguments'.
            AlreadyRegistered: the spec's name is taken.
            NodeStopped: the node is stopping.
            RuntimeError: this is not the node's thread.

        Example::

            room = node.spawn(Room, "lobby")
            big = node.spawn(ak.child(Room, "hall").with_(mailbox=100_000))
        """
        if type(start) is type and not kwargs:
            try:  # the hot path
                kind = self._plain_kinds[start]
            except KeyError:
                pass
            else:
                if get_ident() == self._thread:
                    return self._spawn_plain(kind, args)
        return self.engine.spawn(start, args, kwargs)

    @overload
    async def start(self, start: ChildSpec[A], /) -> Ref[A] | None: ...
    @overload
    async def start(self, start: Callable[P, A], /, *args: P.args, **kwargs: P.kwargs) -> Ref[A] | None: ...
    async def start(self, start: Any, /, *args: Any, **kwargs: Any) -> Ref[Any] | None:
        """As ``spawn``, but wait for ``init``. Cancelled meanwhile, it kills the actor. Source:
        gen_server:start/3.

        Returns:
            The actor's ref. None: its ``init`` returned ``ak.IGNORE``.

        Raises:
            StartFailed: the constructor or ``init`` raised, or ``init`` returned
                ``ak.Stop(reason)`` or was not done within the spec's ``init_timeout``.
                ``error.reason`` tells which. The fault is the class's or its arguments'.
            AlreadyRegistered, NodeStopped, RuntimeError: as ``spawn``.

        Example::

            store = await node.start(Store, path)
        """
        return await self.engine.start(start, args, kwargs)

    # --- finding actors -----------------------------------------------------------------------

    @property
    def root(self) -> Ref[Any] | None:
        """The tree's root supervisor; None: there is no tree."""
        return self.engine.root.record

    def whereis(self, name: str) -> Ref[Any] | None:
        """The living actor that is registered as ``name``; None: there is none. For a ref that
        outlives restarts, take ``ak.named``.

        Example::

            lobby = node.whereis("lobby")
        """
        return self.engine.names.whereis(name)

    def processes(self) -> Iterator[Ref[Any]]:
        """Refs of all living actors, in the order of their birth: a snapshot.

        Example::

            busy = [ref for ref in node.processes() if node.process_info(ref).mailbox > 100]
        """
        return iter(list(self.engine.actors.values()))

    # --- looking in ---------------------------------------------------------------------------

    def process_info(self, ref: Ref[Any], *, walk: bool = False) -> ProcessInfo | None:
        """What one actor is and does now; None: it is dead.

        That costs some microseconds. ``memory`` is what the last look or census has found,
        ``memory_age`` seconds ago. ``walk``: measure it now, cycles included, which takes time in
        proportion to what the actor holds or shares.

        Raises:
            TypeError: ``ref`` is no ref.

        Source: erlang:process_info/2.

        Example::

            info = node.process_info(room, walk=True)
            print(info.status, info.mailbox, info.memory.private)
        """
        record = self.engine.resolve(ref)
        return None if record is None else process_info(self.engine, record, measure=walk)

    def tree(self) -> TreeEntry | None:
        """The supervision tree, now; None: there is none.

        Example::

            print("\\n".join(node.tree().lines()))
        """
        root = self.engine.root.record
        return None if root is None or not root.alive else tree_below(root.kind.child_id, root, "running")

    def statistics(self) -> NodeStatistics:
        """What the node has counted since it opened, and what is there now.

        Example::

            print(node.statistics().dead_letters)
        """
        return statistics(self.engine, self.engine.restarts)

    def subscribe(self, *types: type[SystemEvent], capacity: int = 1_000) -> EventStream:
        """System events for a trio task, in an ``async with`` block. An actor uses
        ``ctx.subscribe``.

        Args:
            types: which events; all of them without ``types``.
            capacity: how many may wait to be read, 1 at least; beyond that the oldest are dropped,
                and counted.

        Example::

            async with node.subscribe(ak.ActorCrashed) as events:
                async for event in events: ...
        """
        self.engine.home.check("subscribe to", "system events")
        return EventStream(self.engine.events, types or (SystemEvent,), capacity)

    # --- memory -------------------------------------------------------------------------------

    @property
    def memory(self) -> Memory | None:
        """How the node stands for memory: level, data, receipts. None: no governor runs, since no
        ``memory_limit`` was given.

        Example::

            if node.memory is not None:
                print(node.memory.level.name)
        """
        return self.engine.memory

    @property
    def admission(self) -> Admission | None:
        """Whether new work may come in: ``async with node.admission.slot("upload")``. None: no
        governor runs."""
        return self.engine.admission

    @property
    def restart_gate(self) -> RestartGate:
        """What every automatic restart passes: a timer, or the governor's gate while one runs."""
        return self.engine.restart_gate

    @property
    def quotas(self) -> dict[Ref[Any], int]:
        """The supervisors that run with a ``memory_quota``, each with the bytes that all actors
        below it may hold."""
        return dict(self.engine.quotas.all.items())

    @property
    def capabilities(self) -> Capabilities:
        """What of the memory budgets is in force here, seen from the calling thread;
        ``python -m actorkit doctor`` tries it, and says how to get the rest.

        A node outside of the main thread has no ``stop_in_handler``, and ``stop_in_thread`` (a
        function in ``ak.to_thread``) is nowhere."""
        return capabilities(own_heaps=self.engine.budgets.own_heaps)

    async def heap_census(self, *, walk: bool = True) -> HeapCensus:
        """What every actor holds, and every class: one pass, in pieces, with others running in
        between. A few microseconds an actor with the extension.

        Args:
            walk: False is cheaper, and less: only actors with a budget, each with what its last
                look found, or with what its own heap has in use now, if that is more.
        """
        return await heap_census(self.engine, walk=walk)

    def heap_explain(self, ref: Ref[Any]) -> Explanation | None:
        """What one actor's heap consists of: its largest types, and the paths that hold the most;
        None if it is dead.

        For a person who wonders why an actor is so large: ``str()`` of it is a table. It is a walk
        in Python over up to 100,000 objects: a fraction of a second, in which nothing else runs. As
        in ``process_info``, what its code holds in running frames is not in it.

        Example::

            class Cache(ak.Actor):
                def __init__(self):
                    self.pages = {"/": b"x" * 100_000}

            async with ak.open_node() as node:
                cache = node.spawn(Cache)
                print(node.heap_explain(cache).paths[0][0])  # .pages['/']
        """
        record = self.engine.resolve(ref)
        return None if record is None else heap_explain(record)

    def footprints(self) -> tuple[Footprint, ...]:
        """What is learned of the sizes of supervised children: one row for each kind (class or
        function), and behind it one for each child of static supervisors, if there are several of
        that kind.

        Learned from their deaths (all of them as long as that is cheap, else some), and from those
        that live, whenever they are walked anyway: in a census, or in a sweep of budgets.

        Example::

            for footprint in node.footprints():
                print(footprint)
        """
        return self.engine.learned.all()

    def footprint_of(self, what: ChildSpec[Any] | str) -> Footprint | None:
        """What is learned of a spec's child, else of its kind; or of the kind with this name. None
        when nothing is. Cheap: it measures nothing.

        Example::

            footprint = node.footprint_of("Room")
            room = 0 if footprint is None else footprint.predict()
        """
        return self.engine.learned.of(what)

    # --- time and end -------------------------------------------------------------------------

    def send_after(self, seconds: float, to: Ref[Any], message: object) -> Timer:
        """Send ``message`` to ``to`` in ``seconds``. As ``ctx.send_after``, for code outside of
        actors.

        Raises:
            ValueError: ``seconds`` is no finite number, or negative.
            TypeError: ``to`` is no ref.
            RuntimeError: this is not the node's thread.

        Example::

            timer = node.send_after(60, cache, "clean up")
            timer.cancel()
        """
        arguments = (message,)
        del message  # it is the receiver's now
        return self.engine.send_after(seconds, to, arguments)

    async def stopped(self, ref: Ref[Any]) -> ExitReason | None:
        """Wait until this actor is dead.

        Returns:
            Its reason. None: it was dead already.

        Raises:
            TypeError: ``ref`` is no ref.
            RuntimeError: this is not the node's thread.

        Example::

            ref.stop()
            await node.stopped(ref)
        """
        return await self.engine.stopped(ref)

    async def finished(self) -> None:
        """Wait until the tree has ended by itself. That also cancels the body, so this is where a
        host's body can rest.

        Example::

            async with ak.open_node(tree) as node:
                await node.finished()
        """
        await self.engine.root.ended.wait()

    def shutdown(self) -> None:
        """Stop the node, as leaving the body does: the body is cancelled. Returns at once.

        Raises:
            RuntimeError: this is not the node's thread.
        """
        self.engine.home.check("stop", f"node {self.engine.name!r}")
        self.engine.body.cancel("node.shutdown() was called")


class Context(ActorContext[A_co]):
    """``self.ctx``: the actor's own view of itself, and of its node."""

    __slots__ = ()

    @property
    def node(self) -> Node:
        """The node that this actor lives on."""
        node: Node = cast(NodeEngine, self.kind.engine).node
        return node

    def spawn(self, start: Callable[P, A] | ChildSpec[A], *args: P.args, **kwargs: P.kwargs) -> Ref[A]:
        """Start an actor: ``spawn(Room, "lobby")``, or of a child spec. Not linked. See
        ``Node.spawn``."""
        self._self("spawn")
        return self.node.spawn(start, *args, **kwargs)

    def spawn_link(self, start: Callable[P, A] | ChildSpec[A], *args: P.args, **kwargs: P.kwargs) -> Ref[A]:
        """``spawn`` and ``link`` in one step: the new actor is linked from its first moment. If its
        constructor raises, that is StartFailed here and no exit signal."""
        self._self("spawn_link")
        return self.node.engine.spawn(start, args, kwargs, link_to=self)

    def spawn_monitor(
        self, start: Callable[P, A] | ChildSpec[A], *args: P.args, **kwargs: P.kwargs
    ) -> tuple[Ref[A], MonitorId]:
        """``spawn`` and ``monitor`` in one step."""
        ref = self.spawn(start, *args, **kwargs)
        return ref, self.monitor(ref)

    def send_after(self, seconds: float, to: Ref[Any], message: object) -> Timer:
        """Send ``message`` to ``to`` in ``seconds``; ``.cancel()`` takes it back: the seconds left.

        A timer for an actor goes with that actor; one for a named ref is resolved when it fires. No
        mailbox's bound applies, but the ``max_heap_size`` does: what does not fit is a dead letter
        at once. Source: erlang:send_after/3.
        """
        self._self("send_after")
        arguments = (message,)
        del message  # it is the receiver's now
        return self.node.engine.send_after(seconds, to, arguments)


class ProcessContext(ReceivingContext, Context[Process]):
    """What a process's function gets as its first argument: all of ``Context``, and ``receive``."""

    __slots__ = ()


@budgeted
class BudgetedContext(BudgetedRecord, Context[Any]):
    """An actor's record, with a budget."""

    __slots__ = ()


@budgeted
class BudgetedProcess(BudgetedReceiver, ProcessContext):
    """A process's record, with a budget."""

    __slots__ = ()


def open_node(
    tree: ChildSpec[Any] | None = None,
    *,
    prepare: Callable[[Node], None] | None = None,
    **options: Unpack[NodeOptions],
) -> AbstractAsyncContextManager[Node]:
    """Run a supervision tree inside any trio program, for the length of a ``with`` block. See the
    module's docstring for its promises; ``ak.open_node`` is this, with a governor.

    Args:
        tree: the root's child spec, usually ``ak.supervisor(…)``; None: no tree, actors are started
            with ``node.spawn``.
        prepare: called with the node before anything is started on it.
        options: the fields of ``NodeSettings``.

    Raises:
        StartFailed: the tree did not start.
        SupervisorGaveUp: the tree ended abnormally, or passed its restart intensity.
        TypeError, ValueError: an option cannot be that.

    Example::

        async with ak.open_node(tree) as node:
            await node.finished()
    """
    check_options(options, open_node)
    settings = NodeSettings(**options)

    def make() -> tuple[NodeEngine, Node]:
        engine = NodeEngine(settings)
        return engine, Node(engine)

    return run_node(make, tree, prepare)
