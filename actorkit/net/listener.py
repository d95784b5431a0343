"""Listener: a listening socket and the supervisor of its connections, as one child of a tree.

How it works. When the child has started, the socket is bound; ``Listener.addresses`` tells which
port it got if it was given ``port=0``. The acceptor, which has a task of its own, accepts and hands
each socket to ``_admit``. Its walk from there is one synchronous step:

1. ``_admit`` asks whether there is room, packs the socket into an ``Arrival``, and tells the
   supervision machine to start a child; the arrival travels in that start's arguments.
2. The machine answers with StartChild, and the shell calls ``start_one``: the actor is born, and
   the arrival connects it, which starts the reader (``Connection.serve``).
3. Back in ``_admit``: an arrival that nobody has connected is closed, and its place given back. The
   reason does not matter (the machine refused, the constructor raised, there was no memory, the
   listener itself has ended), so nothing below cleans up after itself.

From the moment that it is connected, a connection ends with its actor: ``Connections`` hears of
that end and closes the socket.

Beyond ``max_children`` a connection is accepted, told so, and closed; it does not rot in the
kernel's backlog. When the listener stops, first no more is accepted, then the connections get
Shutdown and their time.
"""

from __future__ import annotations

import socket
import ssl
from typing import Any, cast

import trio

from ..errors import InvalidChildSpec
from ..log import log
from ..policy.memory.footprint_samples import kind_of
from ..policy.supervision import supervision_events as ev
from ..policy.supervision.child_spec import ChildSpec
from ..policy.supervision.supervisor_flags import DynamicFlags
from ..reasons import Crash, ExitReason, Failure
from ..runtime.actor.dispatch import call
from ..runtime.actor.later import Later
from ..runtime.actor.record import Record
from ..runtime.base.trio_internals import start_or_not
from ..runtime.life.init_outcome import Stop, Watcher
from ..runtime.life.node_engine import NodeEngine
from ..runtime.life.starter import Starter
from ..supervision.dynamic import DynamicSupervisor
from ..supervision.shell import Door, SupervisionShell
from .acceptor import Acceptor
from .address import Address, TcpAddress
from .connection import Connection, ConnectionKind
from .framing import Framing
from .limits import Limits
from .stream_actor import stream_callbacks
from .transport import Peer

__all__ = ["Listener"]


class Connections(Door):
    """Hears of the ends of connections, also of those that outlive their listener: when it was
    killed, they may be in a handler, or trap exits."""

    __slots__ = ("connections", "kind")

    def __init__(self, shell: SupervisionShell) -> None:
        super().__init__(shell)
        self.connections: dict[Record[Any], Connection] = {}
        self.kind = ""
        """What the admission gate counts them as."""

    def child_exited(self, record: Record[Any], reason: ExitReason) -> None:
        connection = self.connections.pop(record, None)
        if connection is not None:
            connection.ended(reason)
            admission = cast("NodeEngine", record.engine).admission
            if admission is not None:
                admission.release(self.kind)
        super().child_exited(record, reason)


class Arrival:
    """An accepted socket on its way to the actor that will have it."""

    __slots__ = ("connected", "peer", "sock")

    def __init__(self, sock: socket.socket, peer: Peer) -> None:
        self.sock = sock
        self.peer = peer
        self.connected = False
        """Has a connection taken the socket over?"""

    def connect(self, record: Record[Any], engine: NodeEngine, door: Connections, kind: ConnectionKind) -> None:
        """Give the actor its connection. If there is no memory for that, the actor ends."""
        try:
            connection = Connection(record, self.sock, self.peer, kind)
            door.connections[record] = connection
            self.connected = True
            record.obj.connection = connection
            assert engine.nursery is not None
            name = "actorkit: a connection"
            if not start_or_not(engine.nursery, connection.serve, name=name, features=engine.features):
                raise MemoryError("no memory for the task of a connection")
        except MemoryError as error:
            engine.end_now(record, Crash.from_exception(error))


class Listener(DynamicSupervisor):
    """A running listener, and the supervisor of its connections.

    It is made by ``ak.tcp_listener``, ``ak.tls_listener`` or ``ak.unix_listener``; ask it through
    its ref.

    Example::

        chat = ak.named(ak.Listener, "chat")
        [(host, port)] = await chat.call(ak.Listener.addresses)
    """

    def __init__(
        self,
        spec: ChildSpec[Any],
        address: Address,
        framing: Framing,
        limits: Limits,
        *,
        tls: ssl.SSLContext | None = None,
        refusal: bytes = b"",
        control: bool = False,
    ) -> None:
        super().__init__(DynamicFlags(max_children=limits.max_children))
        self.spec = spec
        cls: Any = spec.start
        self.address = address
        self.limits = limits
        self.refusal = refusal
        self.control = control
        self.connection_kind = ConnectionKind(*stream_callbacks(cls), framing, limits, tls)
        self.acceptor: Acceptor | None = None
        self.door: Connections = Connections(self)
        self.connections = self.door.connections
        self.starter: Starter | None = None

    # --- what one may ask ---------------------------------------------------------------------

    @call
    def addresses(self) -> list[Any]:
        """Where it listens: ``[(host, port)]`` or ``[path]``; empty when it accepts no more."""
        acceptor = self.acceptor
        return [] if acceptor is None or acceptor.closed else [acceptor.address()]

    @call
    def counts(self) -> tuple[int, int]:
        """How many connections there are now, and how many were refused so far."""
        return len(self.connections), 0 if self.acceptor is None else self.acceptor.refused

    @call
    def stop_accepting(self) -> None:
        """Close the listening socket; the connections go on. Use it to drain before a stop. Doing
        it twice is nothing."""
        if self.acceptor is not None:
            self.acceptor.close()

    @call
    def start_child(self, spec: ChildSpec[Any]) -> Later[Any]:
        """Refused with InvalidChildSpec: a listener starts its connections itself."""
        later = Later[Any]()
        later.fail(
            InvalidChildSpec(
                "start",
                spec,
                "a listener starts its connections itself",
                "use an ak.dynamic_supervisor for other children",
            )
        )
        return later

    # --- life ---------------------------------------------------------------------------------

    def init(self) -> Any:
        self.door.kind = kind_of(self.spec.start)
        address = self.address
        if isinstance(address, TcpAddress) and address.needs_lookup:
            return self._look_up_and_listen(address)
        try:
            return self._listen(address.bind(self.limits.backlog))
        except OSError as error:
            return self._cannot_listen(error)

    async def _look_up_and_listen(self, address: TcpAddress) -> Any:
        try:
            return self._listen(await address.look_up_and_bind(self.limits.backlog))
        except OSError as error:
            return self._cannot_listen(error)

    def _cannot_listen(self, error: OSError) -> Stop:
        return Stop(Failure(f"cannot listen on {self.address}: {error.strerror or error}"))

    def _listen(self, sock: socket.socket) -> Any:
        engine = self.ctx.node.engine
        assert engine.nursery is not None
        try:
            acceptor = Acceptor(engine, sock, self._admit, self.refusal, self.ctx.describe())
        except BaseException:
            sock.close()
            raise
        self.acceptor = acceptor
        self.ctx.need_relations().call_at_exit(lambda *_: acceptor.end())
        engine.nursery.start_soon(_accept, acceptor, self.ctx, name=f"actorkit {engine.name}: accepting")
        return super().init()

    async def terminate(self, reason: ExitReason) -> None:
        if self.acceptor is not None:
            self.acceptor.close()
        await super().terminate(reason)

    # --- connections --------------------------------------------------------------------------

    def _admit(self, sock: socket.socket, peer: Peer) -> bool:
        """Take an accepted, non-blocking socket over, whatever becomes of it. False: there is no
        room, and the acceptor is to refuse it. See the module's docstring."""
        if len(self.connections) >= self.limits.max_children or self.ended is not None:
            return False
        ctx, door = self.ctx, self.door  # this listener may be gone after the start
        admission = ctx.node.admission
        if admission is not None and not admission.admit(door.kind, exempt=self.control):
            return False
        arrival = Arrival(sock, peer)
        try:
            if _is_usable(sock):
                unasked = Unasked(ctx)
                self._feed(ev.StartChildCommand(trio.current_time(), unasked, self.spec.with_args(arrival)))
        finally:
            if not arrival.connected:
                sock.close()
                if admission is not None:
                    admission.release(door.kind)
        return True

    def start_one(self, spec: Any, watcher: Watcher) -> Record[Any]:
        [arrival] = spec.args
        engine, door, kind, mine = self.ctx.node.engine, self.door, self.connection_kind, self.spec
        starter = self.starter
        if starter is None:
            starter = self.starter = self.make_starter(mine)
        record = starter(mine.args, mine.kwargs, watcher=watcher)
        # A constructor may end its actor, and its listener as well.
        if record.obj is not None and door.shell is not None:
            arrival.connect(record, engine, door, kind)
        return record


class Unasked(Later[Any]):
    """Nobody asked for a connection, so nobody is told that it did not start: that is logged."""

    __slots__ = ("_listener",)

    def __init__(self, listener: Record[Any]) -> None:
        super().__init__()
        self._listener = listener

    def fail(self, error: Exception) -> None:
        log.error("listener %s: a connection did not start: %s", self._listener.describe(), error)


def _is_usable(sock: socket.socket) -> bool:
    """Send small writes at once. False: the peer has gone already."""
    if sock.family != socket.AF_UNIX:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            return False
    return True


async def _accept(acceptor: Acceptor, listener: Record[Any]) -> None:
    """The acceptor's task. A fault in it ends its listener, not the node."""
    try:
        await acceptor.run()
    except Exception as error:
        log.exception("listener %s: its acceptor failed", listener.describe())
        listener.kind.engine.end_now(listener, Crash.from_exception(error))
