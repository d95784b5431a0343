"""Listeners: a listening socket and the dynamic supervisor of its connections, as one child of a tree.

``tcp_listener``, ``tls_listener`` and ``unix_listener`` make the spec. When the child has started, the socket is bound
(so ``port=0`` can be asked with ``Listener.addresses``). Beyond ``max_children`` a connection is accepted, told so, and
closed: it does not rot in the kernel's backlog. When descriptors run out, a spare one is given up to refuse the
newcomer. Stopping: first no more is accepted, then the connections get Shutdown and their time.
"""

from __future__ import annotations

import math
import os
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final, Literal, TypeVar, cast

import trio

from ..errors import InvalidChildSpec
from ..log import log
from ..policy.memory.footprint_samples import kind_of
from ..policy.supervision import supervision_events as ev
from ..policy.supervision.child_spec import ChildSpec
from ..policy.supervision.supervisor_flags import DynamicFlags
from ..reasons import Crash, ExitReason, Failure
from ..runtime.actor.calls import Later
from ..runtime.actor.dispatch import call
from ..runtime.actor.record import Record
from ..runtime.base.trio_internals import start_or_not
from ..runtime.life.lifecycle import Stop
from ..runtime.life.starter import Starter, Watcher
from ..runtime.node import Node
from ..supervision.dynamic import DynamicSupervisor
from ..supervision.shell import Door, SupervisionShell
from .acceptor import Acceptor, Where, bind_tcp, bind_unix
from .connection import Connection, ConnectionLimits, Peer
from .framing import Framer, Frames, Lines, Raw
from .stream_actor import StreamActor, stream_callbacks

__all__ = ["Listener", "tcp_listener", "tls_listener", "unix_listener"]

C = TypeVar("C", bound=StreamActor)

FULL: Final = b"the server is full; try again later\n"
UNIX_PATH_BYTES: Final = 107
BACKLOG: Final = 65_535
"""As much as Linux allows at most (``net.core.somaxconn``): of those whom the backlog does not take the kernel drops
the first packet, and they try again a second later."""


def tcp_listener(
    connection: type[C] | ChildSpec[C],
    *args: Any,
    port: int,
    host: str = "127.0.0.1",
    max_line: int | None = None,
    max_frame: int | None = None,
    max_children: float = 10_000,
    backlog: int = BACKLOG,
    refusal: bytes | None = None,
    max_unsent: int = 65_536,
    slow_reader: Literal["disconnect", "drop"] = "disconnect",
    drain: float = 5.0,
    linger: float = 2.0,
    control: bool = False,
    name: str | None = None,
) -> ChildSpec[Listener]:
    """The spec of a TCP listener whose connections are actors of ``connection``.

    Args:
        connection: a StreamActor's class with its constructor's ``args``; or, for checked arguments and options
        (``mailbox``, ``overflow``,
            ``scheduling``), its child spec: ``ak.child(Chat, lobby).with_(mailbox=100)``.
        port: 0 for any free one; ask ``Listener.addresses``.
        host: "0.0.0.0" or "::" for all interfaces. A name is resolved at every start; the first of its addresses that
        can be bound is
            taken, IPv4 before IPv6.
        max_line: ``received`` gets lines without their end, of at most so many bytes; a longer one ends the connection.
        max_frame: ``received`` gets frames of at most so many bytes, each preceded by its length in 4 bytes, big-endian
        (not both).
            With neither it gets whatever was read.
        max_children: connections at a time. One more is sent ``refusal`` and closed.
        backlog: what the kernel may hold before it is accepted; by default as much as it allows.
        refusal: default: one line that says so, if ``max_line`` is set; else nothing.
        max_unsent, slow_reader: see ``StreamActor.write``.
        drain: seconds that connections get to end in when the listener stops (their ``shutdown``).
        linger: seconds in which output that is still buffered may go out after an orderly end.
        control: a listener for operators, probes and metrics: it is counted, but never refuses for want of memory.
        name: registers the listener.

    Raises InvalidChildSpec at once; StartFailed when the address cannot be bound.

    Example::

        ak.tcp_listener(Chat, ak.named(Room, "lobby"), port=7000, max_line=4096, name="chat")
    """
    return _listener(
        connection, args, ("tcp", host, port), None, max_line, max_frame, max_children, backlog, refusal,
        ConnectionLimits(max_unsent, slow_reader, linger), drain, control, name,
    )  # fmt: skip


def tls_listener(
    connection: type[C] | ChildSpec[C],
    *args: Any,
    port: int,
    tls: ssl.SSLContext,
    host: str = "127.0.0.1",
    max_line: int | None = None,
    max_frame: int | None = None,
    max_children: float = 10_000,
    backlog: int = BACKLOG,
    max_unsent: int = 65_536,
    slow_reader: Literal["disconnect", "drop"] = "disconnect",
    handshake: float = 5.0,
    drain: float = 5.0,
    linger: float = 2.0,
    control: bool = False,
    name: str | None = None,
) -> ChildSpec[Listener]:
    """As ``tcp_listener``, with TLS. ``tls`` is a server-side context; a peer has ``handshake`` seconds. There is no
    refusal text: beyond ``max_children`` a connection is closed."""
    return _listener(
        connection, args, ("tcp", host, port), tls, max_line, max_frame, max_children, backlog, b"",
        ConnectionLimits(max_unsent, slow_reader, linger, handshake), drain, control, name,
    )  # fmt: skip


def unix_listener(
    connection: type[C] | ChildSpec[C],
    *args: Any,
    path: str | os.PathLike[str],
    mode: int = 0o600,
    max_line: int | None = None,
    max_frame: int | None = None,
    max_children: float = 10_000,
    backlog: int = BACKLOG,
    refusal: bytes | None = None,
    max_unsent: int = 65_536,
    slow_reader: Literal["disconnect", "drop"] = "disconnect",
    drain: float = 5.0,
    linger: float = 2.0,
    control: bool = False,
    name: str | None = None,
) -> ChildSpec[Listener]:
    """As ``tcp_listener``, on a Unix socket at ``path``. A stale socket that nobody serves is replaced; the path is
    removed at the end."""
    return _listener(
        connection, args, ("unix", path, mode), None, max_line, max_frame, max_children, backlog, refusal,
        ConnectionLimits(max_unsent, slow_reader, linger), drain, control, name,
    )  # fmt: skip


def _listener(
    connection: Any, args: tuple[Any, ...], address: tuple[Any, ...], tls: ssl.SSLContext | None, max_line: int | None,
    max_frame: int | None, max_children: float, backlog: int, refusal: bytes | None, limits: ConnectionLimits,
    drain: float, control: bool, name: str | None,
) -> ChildSpec[Listener]:  # fmt: skip
    spec: ChildSpec[Any] = connection if isinstance(connection, ChildSpec) else ChildSpec(connection, args=args)
    if isinstance(connection, ChildSpec) and args:
        raise InvalidChildSpec("args", args, "the child spec has arguments of its own", "give them to ak.child(…)")
    if not (isinstance(spec.start, type) and issubclass(spec.start, StreamActor)):
        raise InvalidChildSpec("start", spec.start, "not a connection's class", "give a subclass of ak.StreamActor")
    if spec.name is not None:
        raise InvalidChildSpec("name", spec.name, "every connection would take it", "name the listener: name=")
    if max_line is not None and max_frame is not None:
        raise InvalidChildSpec("max_frame", max_frame, "max_line is given too", "give one of them, or neither")
    _check_numbers(
        {
            "max_line": max_line,
            "max_frame": max_frame,
            "max_children": max_children,
            "backlog": backlog,
            "max_unsent": limits.max_unsent,
        },
        {"linger": limits.linger, "handshake": limits.handshake},
    )
    if limits.slow_reader not in ("disconnect", "drop"):
        raise InvalidChildSpec("slow_reader", limits.slow_reader, "unknown", 'give "disconnect" or "drop"')
    if refusal is not None and not isinstance(refusal, bytes):
        raise InvalidChildSpec("refusal", refusal, "not bytes", "encode it, or give None for the default")
    if tls is not None and not isinstance(tls, ssl.SSLContext):
        raise InvalidChildSpec(
            "tls",
            tls,
            "not a TLS context",
            "give ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) with a certificate",
        )
    address = _checked_unix(address) if address[0] == "unix" else _checked_tcp(address)
    framer: Callable[[], Framer]
    if max_line is not None:
        line = max_line
        framer = lambda: Lines(line)  # noqa: E731
    elif max_frame is not None:
        frame = max_frame
        framer = lambda: Frames(frame)  # noqa: E731
    else:
        framer = Raw
    if refusal is None:
        refusal = FULL if max_line is not None else b""
    spec = spec.with_(restart="temporary", shutdown=drain, significant=False)
    return ChildSpec(
        Listener,
        args=(spec, address, tls, framer, DynamicFlags(max_children=max_children), backlog, refusal, limits, control),
        kind="supervisor",
        mailbox=100_000,
        id=name if name is not None else f"listener {_shown(address)}",
        name=name,
    )


def _check_numbers(counts: dict[str, Any], seconds: dict[str, Any]) -> None:
    for field, value in counts.items():
        if value is None or (field == "max_children" and value == math.inf):
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InvalidChildSpec(field, value, "not a number of bytes or connections", "give an int >= 1")
    for field, value in seconds.items():
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not value >= 0:
            raise InvalidChildSpec(field, value, "not a time", "give seconds >= 0")


def _checked_tcp(address: tuple[Any, ...]) -> tuple[Any, ...]:
    _, host, port = address
    if not isinstance(port, int) or isinstance(port, bool) or not 0 <= port <= 65_535:
        raise InvalidChildSpec("port", port, "not a port", "give an int from 0 to 65535")
    if not isinstance(host, str) or not host:
        raise InvalidChildSpec(
            "host", host, "not a host", 'give a name or an address; "0.0.0.0" or "::" for all interfaces'
        )
    return address


def _checked_unix(address: tuple[Any, ...]) -> tuple[Any, ...]:
    kind, where, mode = address
    try:
        path = os.fsdecode(where)
    except TypeError:
        path = ""
    if not 0 < len(os.fsencode(path)) <= UNIX_PATH_BYTES or "\0" in path:
        raise InvalidChildSpec("path", where, "not a socket's path", f"give one of 1 to {UNIX_PATH_BYTES} bytes")
    if not isinstance(mode, int) or isinstance(mode, bool) or not 0 <= mode <= 0o777:
        raise InvalidChildSpec("mode", mode, "not a file mode", "give one from 0 to 0o777")
    return kind, path, mode


def _shown(address: tuple[Any, ...]) -> str:
    kind, where, detail = address
    if kind == "unix":
        return str(where)
    return f"[{where}]:{detail}" if ":" in where else f"{where}:{detail}"


class Connections(Door):
    """Hears of the ends of connections, also of those that outlive their listener (it was killed; they are in a
    handler, or trap exits)."""

    __slots__ = ("began", "connections", "kind")

    def __init__(self, shell: SupervisionShell) -> None:
        super().__init__(shell)
        self.connections: dict[Record[Any], Connection] = {}
        self.kind = ""
        self.began = 0

    def child_exited(self, record: Record[Any], reason: ExitReason) -> None:
        connection = self.connections.pop(record, None)
        if connection is not None:
            connection.ended(reason)
            admission = cast("Node", record.scheduler).admission
            if admission is not None:
                admission.release(self.kind)
        super().child_exited(record, reason)


class Listener(DynamicSupervisor):
    """A running listener, and the supervisor of its connections. Ask it through its ref: ``await
    ref.call(ak.Listener.addresses)``."""

    def __init__(
        self,
        spec: ChildSpec[Any],
        address: tuple[Any, ...],
        tls: ssl.SSLContext | None,
        framer: Callable[[], Framer],
        flags: DynamicFlags,
        backlog: int,
        refusal: bytes,
        limits: ConnectionLimits,
        control: bool = False,
    ) -> None:
        super().__init__(flags)
        self.spec = spec
        self.address = address
        self.tls = tls
        self.framer = framer
        self.max_children = flags.max_children
        self.backlog = backlog
        self.refusal = refusal
        self.limits = limits
        self.control = control
        self.acceptor: Acceptor | None = None
        self.door: Connections = Connections(self)
        self.connections = self.door.connections
        self.starter: Starter | None = None
        self.accepted: tuple[socket.socket, Peer] | None = None

    # --- what one may ask ---------------------------------------------------------------------

    @call
    def addresses(self) -> list[Any]:
        """Where it listens: ``[(host, port)]``, or ``[path]``. Empty when it has stopped accepting."""
        acceptor = self.acceptor
        return [] if acceptor is None or acceptor.closed else [acceptor.address()]

    @call
    def counts(self) -> tuple[int, int]:
        """Connections now, and how many were refused so far."""
        return len(self.connections), 0 if self.acceptor is None else self.acceptor.refused

    @call
    def stop_accepting(self) -> None:
        """Close the listening socket; the connections go on. For draining before a stop."""
        if self.acceptor is not None:
            self.acceptor.close()

    @call
    def start_child(self, spec: ChildSpec[Any]) -> Later[Any]:
        """A listener starts its connections itself, so this is refused with InvalidChildSpec."""
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
        kind, where, detail = self.address
        if kind == "tcp" and not _is_numeric(where):
            return self._init_by_name(where, detail)
        try:
            if kind == "unix":
                return self._listen(bind_unix(where, detail, self.backlog))
            flags = socket.AI_PASSIVE | socket.AI_NUMERICHOST
            found = socket.getaddrinfo(where, detail, type=socket.SOCK_STREAM, flags=flags)
            return self._listen(bind_tcp(_in_order(found), self.backlog))
        except OSError as error:
            return self._cannot(error)

    async def _init_by_name(self, host: str, port: int) -> Any:
        try:
            found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            return self._listen(bind_tcp(_in_order(found), self.backlog))
        except OSError as error:
            return self._cannot(error)

    def _cannot(self, error: OSError) -> Stop:
        return Stop(Failure(f"cannot listen on {_shown(self.address)}: {error.strerror or error}"))

    def _listen(self, sock: socket.socket) -> Any:
        node = self.ctx.node
        assert node.nursery is not None
        try:
            acceptor = Acceptor(node, sock, self._admit, self.refusal, self.ctx.describe())
        except BaseException:
            sock.close()
            raise
        self.acceptor = acceptor
        self.ctx.need_relations().call_at_exit(lambda *_: acceptor.end())
        node.nursery.start_soon(_accept, acceptor, self.ctx, name=f"actorkit {node.name}: accepting")
        return super().init()

    async def terminate(self, reason: ExitReason) -> None:
        if self.acceptor is not None:
            self.acceptor.close()
        await super().terminate(reason)

    # --- connections --------------------------------------------------------------------------

    def _admit(self, sock: socket.socket, peer: Peer) -> bool:
        if len(self.connections) >= self.max_children or self.ended is not None:
            return False
        door, admission = self.door, self.ctx.node.admission
        began = door.began
        if admission is not None and not admission.admit(door.kind, exempt=self.control):
            return False
        if sock.family != socket.AF_UNIX:
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError:  # it has gone already
                sock.close()
                if admission is not None:
                    admission.release(door.kind)
                return True
        self.accepted = (sock, peer)
        self._feed(ev.StartChildCommand(trio.current_time(), _Outcome(self), self.spec))
        if admission is not None and door.began == began:
            admission.release(door.kind)
        return True

    def start_one(self, spec: Any, watcher: Watcher) -> Record[Any]:
        accepted, self.accepted = self.accepted, None
        assert accepted is not None
        sock, peer = accepted
        try:
            starter = self.starter
            if starter is None:
                starter = self.starter = self.make_starter(spec)
            record = starter(spec.args, spec.kwargs, watcher=watcher)
        except BaseException:
            sock.close()
            raise
        if record.obj is None:  # it has ended in its constructor
            sock.close()
            return record
        node = self.ctx.node
        try:
            self._connect(record, sock, peer)
        except MemoryError as error:
            if record not in self.connections:  # else that closes it
                sock.close()
            node.end_now(record, Crash.from_exception(error))
        return record

    def _connect(self, record: Record[Any], sock: socket.socket, peer: Peer) -> None:
        """Give the actor its connection. Raises MemoryError where there is no room for it in some table."""
        kind = record.kind
        if not kind.callbacks:
            kind.callbacks = stream_callbacks(kind.cls)
        connection = Connection(record, sock, peer, self.framer(), self.limits, self.tls)
        self.connections[record] = connection
        self.door.began += 1
        record.obj.connection = connection
        node = self.ctx.node
        assert node.nursery is not None
        name = "actorkit: a connection"
        if not start_or_not(node.nursery, connection.serve, name=name, features=node.features):
            raise MemoryError("no memory for the task of a connection")


class _Outcome(Later[Any]):
    """Nobody asked for a connection, so nobody hears of its StartFailed: it is logged."""

    __slots__ = ("_listener",)

    def __init__(self, listener: Listener) -> None:
        super().__init__()
        self._listener = listener

    def fail(self, error: Exception) -> None:
        listener = self._listener
        accepted, listener.accepted = listener.accepted, None
        if accepted is not None:  # the supervisor would not even try
            accepted[0].close()
        log.error("listener %s: a connection did not start: %s", listener.ctx.describe(), error)


async def _accept(acceptor: Acceptor, listener: Record[Any]) -> None:
    """The acceptor's task. A fault in it ends its listener, not the node."""
    try:
        await acceptor.run()
    except Exception as error:
        log.exception("listener %s: its acceptor failed", listener.describe())
        listener.kind.scheduler.end_now(listener, Crash.from_exception(error))


def _is_numeric(host: str) -> bool:
    return host.replace(".", "").isdigit() or ":" in host


def _in_order(found: Any) -> list[Where]:
    """IPv4 first: what binds the loopback's name is reached by most clients so."""
    return [(family, where) for family, _, _, _, where in sorted(found, key=lambda entry: entry[0] != socket.AF_INET)]
