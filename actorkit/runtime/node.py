"""Node: a scheduler with a supervision tree, inside any trio program.

``open_node`` is an ordinary async context manager of its host's task. What it promises:

* It sets up nothing global: no signal handlers, no logging configuration, no GC thresholds. Several nodes live side by
  side.
* The body runs when the whole tree has started. A tree that cannot start raises StartFailed, with nothing left running.
* Leaving the body, by whatever way (end, exception, cancellation from outside), stops the tree in reverse start order,
  then the actors outside it, each with its own shutdown time, all within ``stop_timeout``; then what is left is killed.
  trio cannot abandon a task: an actor that does not end even then is named in the log every second, and waited for.
* When the tree ends by itself, the body is cancelled: quietly if it ended normally, else SupervisorGaveUp comes out of
  ``open_node``.
* KeyboardInterrupt and SystemExit from a handler cancel the body, and come out when the node has stopped in order.
* An interrupt (Ctrl-C) that arrives while the node stops is noted, and the stop goes on. The second one cuts it short:
  what still runs is killed. KeyboardInterrupt comes out in the end.
* ``open_node`` adds no exception group of its own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, overload

import attrs
import trio

from ..errors import NodeOutOfMemory, StartFailed, SupervisorGaveUp
from ..heap.capabilities import Capabilities, capabilities
from ..heap.explain import Explanation
from ..log import log
from ..policy.memory.footprint import Footprint
from ..policy.memory.heap_limit import HeapLimit, as_heap_limit
from ..policy.seconds import as_seconds
from ..policy.supervision.child_spec import ChildSpec
from ..reasons import KILLED, SHUTDOWN, ExitReason, Normal, Shutdown, shown
from .actor.doors import Admission, Memory, RestartGate, TimerGate
from .actor.events import EventStream, SystemEvent
from .actor.names import CURRENT_SCHEDULER
from .actor.record import Record
from .actor.ref import Ref
from .base.interrupts import protected_context
from .base.timers import Timer
from .base.trio_internals import FEATURES, Features, fatal_leaf, is_fatal
from .from_thread import FromThread
from .life.process import Process, ProcessContext
from .life.scheduler import Scheduler
from .life.starter import Starter
from .life.starter_cache import StarterCache
from .looking.heap_census import HeapCensus, heap_census
from .looking.heap_report import heap_explain
from .looking.introspection import NodeStatistics, ProcessInfo, TreeEntry, process_info

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Node", "open_node"]

A = TypeVar("A")
P = ParamSpec("P")

_incarnations = itertools.count(1)

STOP_AGAIN_SECONDS = 0.05

ORPHAN_SHUTDOWN = 5.0
"""Seconds that actors outside the tree get to stop in: what a worker gets by default."""


class Node(Scheduler):
    """A running node; what ``open_node`` yields and ``self.ctx.node`` is."""

    def __init__(
        self,
        name: str,
        *,
        stop_timeout: float = 30.0,
        call_timeout: float = 5.0,
        kill_timeout: float = 5.0,
        slice_seconds: float = 0.000_5,
        quantum: int = 64,
        max_idle: int = 16,
        features: Features = FEATURES,
        max_heap_size: HeapLimit | int | str | None = None,
        debug: bool | None = None,
    ) -> None:
        if not isinstance(name, str):
            raise TypeError(f"name={shown(name, 100)}: a node's name is a text")
        for option, value in (("stop_timeout", stop_timeout), ("kill_timeout", kill_timeout)):
            as_seconds(value, option)
        as_seconds(call_timeout, "call_timeout", least=0.001)
        if as_seconds(slice_seconds, "slice_seconds") == math.inf:
            raise ValueError("slice_seconds=inf: trio would never run anything else; give seconds, as 0.0005")
        super().__init__(
            name,
            next(_incarnations),
            slice_seconds=slice_seconds,
            quantum=quantum,
            max_idle=max_idle,
            kill_timeout=kill_timeout,
            call_timeout=call_timeout,
            features=features,
            debug=debug,
        )
        self.stop_timeout = stop_timeout
        self.budgets.default = as_heap_limit(max_heap_size)
        self.restart_gate: RestartGate = TimerGate(self.timers)
        self.restarts = 0
        self.root: Record[Any] | None = None
        self.root_reason: ExitReason | None = None
        self.trio_token = trio.lowlevel.current_trio_token()
        self.from_thread = FromThread(self)
        self.before_stop: list[Callable[[], None]] = []
        """Called when the node begins to stop, before any actor is told: listeners close their doors here."""
        self.at_close: list[Callable[[], None]] = []
        """Called when no actor is left."""
        self.memory: Memory | None = None
        self.out_of_memory: NodeOutOfMemory | None = None
        """Why a governor stops it; comes out of ``open_node``."""
        self.admission: Admission | None = None
        self.quotas: dict[Record[Any], int] = {}
        """Supervisors with a memory quota."""
        self.on_quota: Callable[[], None] | None = None
        """Called when there is another one."""
        self._root_ended = trio.Event()
        self._exit_noticed = trio.Event()
        self._body: trio.CancelScope | None = None
        self._heard: BaseException | None = None
        self.interrupts = 0
        """How often somebody has pressed Ctrl-C, as far as the node's host was told."""
        self.starters = StarterCache(partial(Starter, self))
        self.kinds = self.starters.plain_kinds

    def __repr__(self) -> str:
        return f"<node {self.name!r}: {len(self.actors)} actors{', stopping' if self.stopping else ''}>"

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

        Use it for actors that nobody needs to restart; what should be restarted belongs under a supervisor. If the
        class has an ``init``, that runs as the first message, before what is sent after this; ``start`` waits for it.

        Args:
            start: an actor class or an async function (a process) with its arguments, or a child spec (for options).

        Raises:
            StartFailed: the constructor raised. The fault is the class's or its arguments'.
            AlreadyRegistered: the spec's name is taken.
            NodeStopped: the node is stopping.

        Example::

            room = node.spawn(Room, "lobby")
            big = node.spawn(ak.child(Room, "hall").with_(mailbox=100_000))
        """
        if get_ident() != self.thread:
            raise self.home.refuse("spawn", _start_shown(start))
        if type(start) is type and not kwargs:
            kind = self.kinds.get(start)
            if kind is not None:
                return self.spawn_plain(kind, args)
        return self._spawn(start, args, kwargs)

    def _spawn(
        self,
        start: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        link_to: Record[Any] | None = None,
        watcher: Any = None,
    ) -> Record[Any]:
        if get_ident() != self.thread:
            raise self.home.refuse("start", _start_shown(start))
        if isinstance(start, ChildSpec):
            if args or kwargs:
                raise TypeError("a child spec holds its arguments: give them to ak.child(…), not to spawn")
            starter = self.starters.of_spec(start)
            return starter(start.args, start.kwargs, link_to=link_to, watcher=watcher)
        return self.starters.of_start(start)(args, kwargs, link_to=link_to, watcher=watcher)

    @overload
    async def start(self, start: ChildSpec[A], /) -> Ref[A] | None: ...
    @overload
    async def start(self, start: Callable[P, A], /, *args: P.args, **kwargs: P.kwargs) -> Ref[A] | None: ...
    async def start(self, start: Any, /, *args: Any, **kwargs: Any) -> Ref[Any] | None:
        """As ``spawn``, but wait for ``init``. None: it returned ``ak.IGNORE``. Raises StartFailed with the reason
        otherwise. Cancelled meanwhile, it kills the actor. Source: gen_server:start/3."""
        done = trio.Event()
        outcome: list[tuple[ExitReason | None, bool]] = []

        def watcher(_: Record[Any], reason: ExitReason | None, ignored: bool) -> None:
            outcome.append((reason, ignored))
            done.set()

        try:
            record = self._spawn(start, args, kwargs, watcher=watcher)
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

    # --- finding actors -----------------------------------------------------------------------

    def whereis(self, name: str) -> Ref[Any] | None:
        """The living actor that is registered as ``name``. For a ref that outlives restarts, take ``ak.named``."""
        return self.names.whereis(name)

    def resolve(self, ref: Ref[Any]) -> Record[Any] | None:
        """The record behind a ref; None for a name that nobody holds on this node."""
        if not isinstance(ref, Ref):
            raise TypeError(f"{shown(ref, 200)} is not a ref of this node")
        record: Record[Any] | None = ref.resolve_on(self)
        return record

    def processes(self) -> Iterator[Ref[Any]]:
        """All living actors, in the order of their birth. A snapshot of refs."""
        return iter(list(self.actors.values()))

    def process_info(self, ref: Ref[Any]) -> ProcessInfo | None:
        """What one actor is and does now; None if it is dead. Source: erlang:process_info/2."""
        record = self.resolve(ref)
        return None if record is None else process_info(self, record)

    async def heap_census(self, *, walk: bool = True) -> HeapCensus:
        """What every actor holds, and every class: one pass, in pieces, with others running in between. A few
        microseconds an actor with the extension.

        Args:
            walk: False is cheaper, and less: only actors with a budget, each with what its last look found, or with
                what its own heap has in use now, if that is more.
        """
        return await heap_census(self, walk=walk)

    def heap_explain(self, ref: Ref[Any]) -> Explanation | None:
        """What one actor's heap consists of: its largest types, and the paths that hold the most; None if it is dead.

        For a person who wonders why an actor is so large: ``str()`` of it is a table. For the bare figure take
        ``process_info``, for that of all actors ``heap_census``. It is a walk in Python over up to 100,000 objects: a
        fraction of a second, in which nothing else runs. As in ``process_info``, what its code holds in running frames
        is not in it.

        Example::

            class Cache(ak.Actor):
                def __init__(self):
                    self.pages = {"/": b"x" * 100_000}

            async with ak.open_node() as node:
                cache = node.spawn(Cache)
                print(node.heap_explain(cache).paths[0][0])  # .pages['/']
        """
        record = self.resolve(ref)
        return None if record is None else heap_explain(record)

    def footprints(self) -> tuple[Footprint, ...]:
        """What is learned of the sizes of supervised children: one row for each kind (class or function), and behind it
        one for each child of static supervisors, if there are several of that kind.

        Learned from their deaths (all of them as long as that is cheap, else some) and, whenever actors are walked
        anyway, from those that live: in each census, and in each sweep for those that have a budget.

        Example::

            for footprint in node.footprints():
                print(footprint)
        """
        return self.learned.all()

    def footprint_of(self, what: ChildSpec[Any] | str) -> Footprint | None:
        """What is learned of a spec's child, or, when that one is not known, of its kind; or of the kind with this
        name. None when nothing is. Cheap: it measures nothing.

        Example::

            footprint = node.footprint_of("Room")
            room = 0 if footprint is None else footprint.predict()
        """
        return self.learned.of(what)

    @property
    def capabilities(self) -> Capabilities:
        """What of the memory budgets is in force here; ``python -m actorkit doctor`` says how to get the rest."""
        found = capabilities()
        return attrs.evolve(found, return_pages=found.return_pages and self.budgets.own_heaps)

    def tree(self) -> TreeEntry | None:
        """The supervision tree, now; None without one. ``print("\\n".join(node.tree().lines()))``"""
        root = self.root
        return None if root is None or not root.alive else _entry(root.kind.child_id, root, "running")

    def statistics(self) -> NodeStatistics:
        """Counters and gauges of the node."""
        return NodeStatistics(
            actors=len(self.actors),
            started=self.numbers,
            exited=self.numbers - len(self.actors),
            crashes=self.crashed_count,
            restarts=self.restarts,
            messages=self.messages,
            dead_letters=self.dead_letters,
            pending_calls=self.deadlines.pending,
            timers=len(self.timers),
            workers=self.workers,
            parked=len(self.idle),
            workers_started=self.workers_started,
            slices=self.slices,
            repairs=self.repairs,
            unkillable=len(self.unkillable),
        )

    def subscribe(self, *types: type[SystemEvent], capacity: int = 1_000) -> EventStream:
        """System events for a trio task; all of them without ``types``. An actor uses ``ctx.subscribe``.

        Example::

            async with node.subscribe(ak.ActorCrashed) as events:
                async for event in events: ...
        """
        self.home.check("subscribe to", "system events")
        return EventStream(self.events, types or (SystemEvent,), capacity)

    def send_after(self, seconds: float, to: Ref[Any], message: object) -> Timer:
        """See ``Context.send_after``."""
        self.home.check("start", "a timer")
        if not (isinstance(seconds, (int, float)) and 0 <= seconds < math.inf):
            raise ValueError(f"cannot send after {seconds!r} s: give a finite number of seconds, 0 or more")
        if not isinstance(to, Ref):
            raise TypeError(f"cannot send after {seconds:g} s to {shown(to, 200)}: give a ref")
        return to.post_after(self, seconds, message)

    # --- end ----------------------------------------------------------------------------------

    async def finished(self) -> None:
        """Wait until the tree has ended by itself. (It then cancels the body, so this is where a host's body can
        rest.)"""
        await self._root_ended.wait()

    async def stopped(self, ref: Ref[Any]) -> ExitReason | None:
        """Wait until this actor is dead; its reason if that happened while waiting."""
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

    def shutdown(self) -> None:
        """Stop the node: as leaving the body does, from anywhere in it."""
        self.home.check("stop", f"node {self.name!r}")
        if self._body is not None:
            self._body.cancel(reason="node.shutdown() was called")

    def keep_quota(self, supervisor: Record[Any], quota: int) -> None:
        """Whoever is below ``supervisor`` may hold so many bytes together, as long as it lives."""
        self.quotas[supervisor] = quota

        def forget(record: Record[Any], _: ExitReason) -> None:
            self.quotas.pop(record, None)

        supervisor.need_relations().call_at_exit(forget)
        if self.on_quota is not None:
            self.on_quota()

    def exit_noticed(self) -> None:
        self._exit_noticed.set()

    def leave(self, error: BaseException) -> None:
        super().leave(error)
        if self._body is not None:
            self._body.cancel(reason=f"{type(self.left).__name__} leaves the node")
        self._interrupted(error)

    def _interrupted(self, error: BaseException) -> None:
        """Somebody wants the program to end."""
        leaf = fatal_leaf(error)
        if isinstance(leaf, KeyboardInterrupt) and leaf is not self._heard:  # it passes several of us on its way out
            self._heard = leaf
            self.interrupts += 1
            if self.interrupts > 1:
                self._exit_noticed.set()  # whoever waits for actors in order waits no longer

    def child_exited(self, record: Record[Any], reason: ExitReason) -> None:
        """The root has ended (the node is its owner). How it ends when it is stopped from here says nothing about the
        tree."""
        if not self.stopping:
            self.root_reason = reason
        self._root_ended.set()
        if self._body is not None:
            self._body.cancel(reason=f"the supervision tree ended: {reason}")

    def companions(self, record: Record[Any]) -> list[Record[Any]]:
        """The root takes nobody along that is not below it."""
        return []

    async def _start_root(self, tree: ChildSpec[Any]) -> None:
        done = trio.Event()
        outcome: list[tuple[ExitReason | None, bool]] = []

        def watcher(_: Record[Any], reason: ExitReason | None, ignored: bool) -> None:
            outcome.append((reason, ignored))
            done.set()

        self.root = Starter(self, tree, self)(tree.args, tree.kwargs, watcher=watcher)
        await done.wait()
        reason, _ = outcome[0]
        if reason is not None:
            raise StartFailed(tree.id, reason)

    async def _stop_surely(self) -> None:
        """``_stop``, again and again while it fails: when there is no memory for a list of all actors, say. If it gave
        up, the workers would never be told, and the host would wait for them for ever."""
        while True:
            try:
                return await self._stop()
            except BaseException as error:
                if is_fatal(error):
                    self.leave(error)
                else:
                    log.error("node %r could not stop its %d actors: trying again", self.name, len(self.actors))
            await self._pause(STOP_AGAIN_SECONDS)

    async def _stop(self) -> None:
        """Root first, in its own order; then the others; then by force."""
        self.stopping = True
        deadline = trio.current_time() + self.stop_timeout
        for callback in list(self.before_stop):
            try:
                callback()
            except BaseException as error:
                self.step_failed(error)
        if self.root is not None and self.root.alive:
            self.shutdown_child(self.root, SHUTDOWN)
            await self._until(lambda: self.root is None or not self.root.alive, deadline)
        for record in reversed(list(self.actors.values())):
            if record.alive:
                self.shutdown_child(record, SHUTDOWN)
        await self._until(lambda: not self.actors, min(deadline, trio.current_time() + ORPHAN_SHUTDOWN))
        if self.actors:
            log.warning(
                "node %r stops by force: %d actors are killed, which had not stopped %s: %s",
                self.name,
                len(self.actors),
                "before the second Ctrl-C" if self.interrupts > 1 else f"within {self.stop_timeout:g} s",
                self._some_actors(),
            )
        for record in reversed(list(self.actors.values())):
            self.end_now(record, KILLED)
        while self.actors:
            if self.doomed or self.unsettled:
                self.bury_doomed()
            if not await self._until(lambda: not self.actors, trio.current_time() + 1.0, patient=True):
                log.error(
                    "node %r cannot stop: %d killed actors still run: %s; they are shielded, in a thread, or "
                    "swallow cancellation",
                    self.name,
                    len(self.actors),
                    self._some_actors(),
                )

    def _some_actors(self) -> str:
        return ", ".join(f"{record.pid} ({record.started_as})" for record in list(self.actors.values())[:10])

    async def _until(self, condition: Callable[[], bool], deadline: float, *, patient: bool = False) -> bool:
        """Wait for ``condition``, looked at after each exit. False: the deadline came first, or, unless ``patient``,
        somebody has pressed Ctrl-C a second time."""
        while not condition():
            if trio.current_time() >= deadline or (self.interrupts > 1 and not patient):
                return False
            self._exit_noticed = trio.Event()
            try:
                with trio.CancelScope(deadline=deadline):
                    await self._exit_noticed.wait()
            except KeyboardInterrupt as error:  # trio delivers it at the host's next checkpoint, shielded or not
                self.leave(error)
        return True

    async def _pause(self, seconds: float) -> None:
        try:
            await trio.sleep(seconds)
        except KeyboardInterrupt as error:
            self.leave(error)


def _entry(child_id: object, record: Record[Any], state: str) -> TreeEntry:
    relations = record.relations
    children: list[TreeEntry] = []
    if relations is not None and relations.family is not None:
        for info in relations.family.child_infos():
            if isinstance(info.ref, Record):
                children.append(
                    _entry(info.id if info.id is not None else info.ref.kind.child_id, info.ref, info.state)
                )
            else:
                children.append(TreeEntry(info.id, None, None, info.kind, info.state, 0))
    return TreeEntry(child_id, record, record.pid, record.kind.role, state, record.mailbox_length, tuple(children))


def open_node(
    tree: ChildSpec[Any] | None = None,
    *,
    name: str = "node",
    stop_timeout: float = 30.0,
    call_timeout: float = 5.0,
    kill_timeout: float = 5.0,
    slice_seconds: float = 0.000_5,
    quantum: int = 64,
    max_idle: int = 16,
    features: Features = FEATURES,
    max_heap_size: HeapLimit | int | str | None = None,
    own_heaps: bool = True,
    debug: bool | None = None,
    prepare: Callable[[Node], None] | None = None,
) -> AbstractAsyncContextManager[Node]:
    """Run a supervision tree inside any trio program, for the length of a ``with`` block. See the module's docstring
    for its promises.

    Args:
        tree: the root's child spec, usually ``ak.supervisor(…)``; None: no tree, actors are started with
            ``node.spawn``.
        name: the node's part in pids and messages.
        stop_timeout: seconds for the whole orderly stop; then what is left is killed.
        call_timeout: the default deadline of calls, in seconds.
        kill_timeout: seconds after which a killed actor that still runs is reported as unkillable.
        slice_seconds, quantum, max_idle: see ``runtime.scheduler``; the defaults are measured.
        max_heap_size: what each actor may hold unless its spec says otherwise: bytes, text such as ``"8 MiB"``, or a
            ``HeapLimit``, whose other knobs are the defaults of all. None: no limit.
        own_heaps: actors that have a limit and hold 6 KiB or more get pages of their own, so that killing them
            returns memory to the system (where the process can: ``actorkit.heap.own_heaps.why_not()``
            is None). Actors of 4 to 20 KB take a tenth to a fifth more memory for it, larger ones
            less. False: they share Python's allocator with all others, which hardly ever gives
            anything back.
        features: which private names of trio to use; ``Features.degraded()`` for tests.
        debug: check at every cast and send that it comes from the node's own thread, also where it only
            queues; without it that is checked where something is woken, started or ended. A cast costs
            half as much again. None: if Python runs in its development mode (``-X dev``).
        prepare: called with the node before anything is started on it.

    Raises:
        StartFailed: the tree did not start.
        SupervisorGaveUp: the tree ended abnormally, or passed its restart intensity.

    Example::

        async with ak.open_node(tree) as node:
            await node.finished()
    """

    def make() -> Node:
        node = Node(
            name,
            stop_timeout=stop_timeout,
            call_timeout=call_timeout,
            kill_timeout=kill_timeout,
            slice_seconds=slice_seconds,
            quantum=quantum,
            max_idle=max_idle,
            features=features,
            max_heap_size=max_heap_size,
            debug=debug,
        )
        node.budgets.own_heaps = own_heaps
        return node

    return _opened(make, tree, prepare)


@protected_context
@asynccontextmanager
async def _opened(
    make: Callable[[], Node], tree: ChildSpec[Any] | None, prepare: Callable[[Node], None] | None
) -> AsyncIterator[Node]:
    node = make()
    error: BaseException | None = None
    token = CURRENT_SCHEDULER.set(node)
    try:
        # The scope is there so that those within need no room in the nursery's, where every worker has its own: a node
        # that is short of memory must be able to stop.
        async with trio.open_nursery() as nursery:
            with trio.CancelScope():
                node.open(nursery)
                try:
                    if prepare is not None:
                        prepare(node)
                    with trio.CancelScope() as node._body:
                        if tree is not None:
                            await node._start_root(tree)
                        if node.left is None:
                            yield node
                        else:
                            raise node.left
                except BaseException as raised:
                    error = raised
                    node._interrupted(error)
                node._body = None
                with trio.CancelScope(shield=True):
                    await node._stop_surely()
                    for callback in node.at_close:
                        try:
                            callback()
                        except BaseException as raised:
                            node.step_failed(raised)
                    node.budgets.close()
                    node.close()
    except BaseExceptionGroup as group:
        error = _unwrapped(group, error)
    finally:
        node.closed()
        node._root_ended.set()
        try:
            CURRENT_SCHEDULER.reset(token)
        except ValueError:
            pass  # left in another context than entered: an async generator or fixture does that
    if node.left is not None and (error is None or not is_fatal(error)):
        error, node.left = node.left, None
    if node.out_of_memory is not None and (error is None or isinstance(error, trio.Cancelled)):
        raise node.out_of_memory
    if error is None or isinstance(error, trio.Cancelled):
        reason = node.root_reason
        if reason is not None and gave_up(reason):
            raise SupervisorGaveUp(
                f"the supervision tree of node {node.name!r} ended: {reason}; the reports before this tell which "
                f"children failed",
                reason,
            ) from None
    if error is not None:
        try:
            raise error
        finally:
            error = None


def _start_shown(start: Any) -> str:
    """What was to be started, for messages."""
    if isinstance(start, ChildSpec):
        return f"{start.id!r:.200}"
    return str(getattr(start, "__qualname__", None) or f"{start!r:.200}")


def gave_up(reason: ExitReason) -> bool:
    """Did the tree fail, rather than end?"""
    if isinstance(reason, Shutdown):
        return reason.detail == "reached_max_restart_intensity"
    return not isinstance(reason, Normal)


def _unwrapped(group: BaseExceptionGroup[BaseException], error: BaseException | None) -> BaseException:
    """What comes out when the node's own nursery has raised: KeyboardInterrupt, which trio delivers to the host while
    it waits for the workers, or a fault of the runtime's, on top of the body's ``error``. One, and no group."""
    if is_fatal(group):
        return fatal_leaf(group)
    if error is not None and not isinstance(error, trio.Cancelled):
        log.error("a node's own task has failed", exc_info=group)
        return error
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    if len(group.exceptions) > 1:
        log.error("several of a node's own tasks have failed", exc_info=group)
    return first
