"""Listeners: a listening socket and the dynamic supervisor of its connections, as one child of a tree.

``tcp_listener``, ``tls_listener`` and ``unix_listener`` make the spec. When the child has started, the socket is bound (so ``port=0`` can be asked
with ``Listener.addresses``). Beyond ``max_children`` a connection is accepted, told so, and closed: it does not rot in the kernel's backlog. When
descriptors run out, a spare one is given up to refuse the newcomer. Stopping: first no more is accepted, then the connections get Shutdown
and their time.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import ssl
import stat
from collections.abc import Callable
from typing import Any, Final, Literal, TypeVar

import trio
from trio.lowlevel import notify_closing, wait_readable

from ..behaviours.dynamic_supervisor import DynamicSupervisor
from ..errors import InvalidChildSpec
from ..policy import supervision_events as ev
from ..policy.child_spec import ChildSpec, DynamicFlags
from ..reasons import ExitReason
from ..runtime.calls import Later
from ..runtime.dispatch import call
from ..runtime.record import Record
from ..runtime.starting import Watcher
from ..behaviours.supervision_shell import StartCall
from .connection import Connection, ConnectionLimits, Peer
from .framing import Framer, Frames, Lines, Raw
from .stream_actor import StreamActor, stream_callbacks

__all__ = ["Listener", "tcp_listener", "tls_listener", "unix_listener"]

logger = logging.getLogger("actorkit")

C = TypeVar("C", bound=StreamActor)

ACCEPTS_PER_PASS: Final = 32
REFUSALS_AT_A_TIME: Final = 64
OUT_OF_DESCRIPTORS: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
ABORTED: Final = (errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.EINTR)


def tcp_listener(
    connection: type[C] | ChildSpec[C],
    *args: Any,
    port: int,
    host: str = "127.0.0.1",
    max_line: int | None = None,
    max_frame: int | None = None,
    max_children: float = 10_000,
    backlog: int = 1_024,
    refusal: bytes | None = None,
    max_unsent: int = 65_536,
    slow_reader: Literal["disconnect", "drop"] = "disconnect",
    drain: float = 5.0,
    linger: float = 2.0,
    name: str | None = None,
) -> ChildSpec[Listener]:
    """The spec of a TCP listener whose connections are actors of ``connection``.

    Args:
        connection: a StreamActor's class with its constructor's ``args``; or, for checked arguments and options (``mailbox``, ``overflow``,
            ``scheduling``), its child spec: ``ak.child(Chat, lobby).with_(mailbox=100)``.
        port: 0 for any free one; ask ``Listener.addresses``. ``host``: "0.0.0.0" or "::" for all interfaces.
        max_line: ``received`` gets lines without their end, of at most so many bytes; a longer one ends the connection.
        max_frame: ``received`` gets frames of at most so many bytes, each preceded by its length in 4 bytes, big-endian (not both).
            With neither it gets whatever was read.
        max_children: connections at a time. One more is sent ``refusal`` and closed.
        backlog: what the kernel may hold before it is accepted.
        refusal: default: one line that says so, if ``max_line`` is set; else nothing.
        max_unsent, slow_reader: see ``StreamActor.write``.
        drain: seconds that connections get to end in when the listener stops (their ``shutdown``).
        linger: seconds in which output that is still buffered may go out after an orderly end.
        name: registers the listener.

    Raises InvalidChildSpec at once; StartFailed when the address cannot be bound.

    Example::

        ak.tcp_listener(Chat, ak.named(Room, "lobby"), port=7000, max_line=4096, name="chat")
    """
    return _listener(
        connection, args, ("tcp", host, port), None, max_line, max_frame, max_children, backlog, refusal,
        ConnectionLimits(max_unsent, slow_reader, linger), drain, name,
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
    backlog: int = 1_024,
    max_unsent: int = 65_536,
    slow_reader: Literal["disconnect", "drop"] = "disconnect",
    handshake: float = 5.0,
    drain: float = 5.0,
    linger: float = 2.0,
    name: str | None = None,
) -> ChildSpec[Listener]:
    """As ``tcp_listener``, with TLS. ``tls`` is a server-side context; a peer has ``handshake`` seconds. There is no refusal text: beyond
    ``max_children`` a connection is closed."""
    return _listener(
        connection, args, ("tcp", host, port), tls, max_line, max_frame, max_children, backlog, b"",
        ConnectionLimits(max_unsent, slow_reader, linger, handshake), drain, name,
    )  # fmt: skip


def unix_listener(
    connection: type[C] | ChildSpec[C],
    *args: Any,
    path: str | os.PathLike[str],
    mode: int = 0o600,
    max_line: int | None = None,
    max_frame: int | None = None,
    max_children: float = 10_000,
    backlog: int = 1_024,
    refusal: bytes | None = None,
    max_unsent: int = 65_536,
    slow_reader: Literal["disconnect", "drop"] = "disconnect",
    drain: float = 5.0,
    linger: float = 2.0,
    name: str | None = None,
) -> ChildSpec[Listener]:
    """As ``tcp_listener``, on a Unix socket at ``path``. A stale socket that nobody serves is replaced; the path is removed at the end."""
    return _listener(
        connection, args, ("unix", os.fspath(path), mode), None, max_line, max_frame, max_children, backlog, refusal,
        ConnectionLimits(max_unsent, slow_reader, linger), drain, name,
    )  # fmt: skip


def _listener(
    connection: Any, args: tuple[Any, ...], address: tuple[Any, ...], tls: ssl.SSLContext | None, max_line: int | None,
    max_frame: int | None, max_children: float, backlog: int, refusal: bytes | None, limits: ConnectionLimits, drain: float,
    name: str | None,
) -> ChildSpec[Listener]:  # fmt: skip
    spec: ChildSpec[Any] = connection if isinstance(connection, ChildSpec) else ChildSpec(connection, args=args)
    if isinstance(connection, ChildSpec) and args:
        raise InvalidChildSpec("args", args, "the child spec has arguments of its own", "give them to ak.child(…)")
    if not (isinstance(spec.start, type) and issubclass(spec.start, StreamActor)):
        raise InvalidChildSpec("start", spec.start, "not a connection's class", "give a subclass of ak.StreamActor")
    if max_line is not None and max_frame is not None:
        raise InvalidChildSpec("max_frame", max_frame, "max_line is given too", "give one of them, or neither")
    for field, value, low in (
        ("max_line", max_line, 1),
        ("max_frame", max_frame, 1),
        ("backlog", backlog, 1),
        ("max_unsent", limits.max_unsent, 1),
    ):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < low):
            raise InvalidChildSpec(field, value, "not a number of bytes or connections", f"give an int >= {low}")
    if limits.slow_reader not in ("disconnect", "drop"):
        raise InvalidChildSpec("slow_reader", limits.slow_reader, "unknown", 'give "disconnect" or "drop"')
    if address[0] == "tcp" and not (isinstance(address[2], int) and 0 <= address[2] <= 65_535):
        raise InvalidChildSpec("port", address[2], "not a port", "give an int from 0 to 65535")
    if refusal is None:
        refusal = b"the server is full; try again later\n" if max_line is not None else b""
    framer: Callable[[], Framer]
    if max_line is not None:
        line = max_line
        framer = lambda: Lines(line)  # noqa: E731
    elif max_frame is not None:
        frame = max_frame
        framer = lambda: Frames(frame)  # noqa: E731
    else:
        framer = Raw
    spec = spec.with_(restart="temporary", shutdown=drain, name=None)
    return ChildSpec(
        Listener,
        args=(spec, address, tls, framer, DynamicFlags(max_children=max_children), backlog, refusal, limits),
        kind="supervisor",
        mailbox=100_000,
        id=name if name is not None else f"listener {':'.join(map(str, address[1:]))}",
        name=name,
    )


class Listener(DynamicSupervisor):
    """A running listener, and the supervisor of its connections. Ask it through its ref: ``await ref.call(ak.Listener.addresses)``."""

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
        self.listening: socket.socket | None = None
        self.scope = trio.CancelScope(shield=True)
        self.spare: int | None = None
        self.connections: dict[Record[Any], Connection] = {}
        self.accepted: tuple[socket.socket, Peer] | None = None
        self.refused = 0
        self.refusing = 0

    # --- what one may ask ---------------------------------------------------------------------

    @call
    def addresses(self) -> list[Any]:
        """Where it listens: ``[(host, port)]``, or ``[path]``. Empty when it has stopped accepting."""
        return [] if self.listening is None else [_address(self.listening)]

    @call
    def counts(self) -> tuple[int, int]:
        """Connections now, and how many were refused so far."""
        return len(self.connections), self.refused

    @call
    def stop_accepting(self) -> None:
        """Close the listening socket; the connections go on. For draining before a stop."""
        self._close_listening()

    # --- life ---------------------------------------------------------------------------------

    def init(self) -> Any:
        """Bind and accept."""
        node = self.ctx.node
        self.ctx.need_extra().call_at_exit(lambda *_: self._close_listening())
        self.listening = _bind(self.address, self.backlog)
        self.spare = os.open(os.devnull, os.O_RDONLY)
        node.before_stop.append(self._close_listening)
        assert node.nursery is not None
        node.nursery.start_soon(self._accept, self.listening, name=f"actorkit {node.name}: accepting")
        return super().init()

    async def terminate(self, reason: ExitReason) -> None:
        self._close_listening()
        await super().terminate(reason)

    def _close_listening(self) -> None:
        listening, self.listening = self.listening, None
        if listening is None:
            return
        self.scope.cancel(reason="the listener stops accepting")
        self.ctx.node.before_stop.remove(self._close_listening)
        notify_closing(listening)
        listening.close()
        if self.address[0] == "unix":
            with contextlib.suppress(OSError):
                os.unlink(self.address[1])
        if self.spare is not None:
            os.close(self.spare)
            self.spare = None

    # --- accepting ----------------------------------------------------------------------------

    async def _accept(self, listening: socket.socket) -> None:
        with self.scope:
            while True:
                await wait_readable(listening)
                for _ in range(ACCEPTS_PER_PASS):
                    try:
                        sock, peer = listening.accept()
                    except BlockingIOError:
                        break
                    except OSError as error:
                        if error.errno in OUT_OF_DESCRIPTORS:
                            await self._out_of_descriptors(listening, error)
                        elif error.errno not in ABORTED:
                            logger.error("listener %s: accept failed: %s", self.ctx.describe(), error)
                            await trio.sleep(0.1)
                        break
                    self._admit(sock, peer)

    async def _out_of_descriptors(self, listening: socket.socket, error: OSError) -> None:
        """Use the spare descriptor to refuse whoever waits first, then give the others time to end."""
        logger.error("listener %s: %s: %d connections; refusing more", self.ctx.describe(), error, len(self.connections))
        if self.spare is not None:
            os.close(self.spare)
            self.spare = None
            with contextlib.suppress(OSError):
                sock, _ = listening.accept()
                sock.setblocking(False)
                with contextlib.suppress(OSError):
                    sock.send(self.refusal)
                sock.close()
                self.refused += 1
            with contextlib.suppress(OSError):
                self.spare = os.open(os.devnull, os.O_RDONLY)
        await trio.sleep(0.05)

    def _admit(self, sock: socket.socket, peer: Peer) -> None:
        sock.setblocking(False)
        if len(self.connections) >= self.max_children or self.ended is not None:
            self._refuse(sock)
            return
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.accepted = (sock, peer)
        self._feed(ev.StartChildCommand(trio.current_time(), StartCall(Later()), self.spec))
        if self.accepted is not None:  # its constructor raised, or the supervisor would not have it
            self.accepted = None
            sock.close()

    def start_one(self, spec: Any, watcher: Watcher) -> Record[Any]:
        accepted = self.accepted
        assert accepted is not None
        record = super().start_one(spec, watcher)
        self.accepted = None
        sock, peer = accepted
        if record.obj is None:
            sock.close()
            return record
        template = record.template
        if template.options.get("received") is None:
            template.options = stream_callbacks(template.cls)
        connection = Connection(record, sock, peer, self.framer(), self.limits)
        self.connections[record] = connection
        record.obj.connection = connection
        nursery = self.ctx.node.nursery
        assert nursery is not None
        nursery.start_soon(connection.serve, self.tls, name="actorkit: a connection")
        return record

    def child_exited(self, record: Record[Any], reason: ExitReason) -> None:
        connection = self.connections.pop(record, None)
        if connection is not None:
            connection.ended(reason)
        super().child_exited(record, reason)

    # --- refusing -----------------------------------------------------------------------------

    def _refuse(self, sock: socket.socket) -> None:
        """Say so, and close. A socket that is closed with unread input is reset, and the refusal may be lost on the way; so a bounded
        number of refused peers is read from until they close, for a second at most."""
        self.refused += 1
        with contextlib.suppress(OSError):
            if self.refusal:
                sock.send(self.refusal)
            sock.shutdown(socket.SHUT_WR)
        nursery = self.ctx.node.nursery
        if not self.refusal or self.refusing >= REFUSALS_AT_A_TIME or nursery is None:
            sock.close()
            return
        self.refusing += 1
        nursery.start_soon(self._see_off, sock, name="actorkit: a refused connection")

    async def _see_off(self, sock: socket.socket) -> None:
        with trio.move_on_after(1.0, shield=True), contextlib.suppress(OSError):
            while True:
                await wait_readable(sock)
                if not sock.recv(4_096):
                    break
        notify_closing(sock)
        sock.close()
        if self.ctx.alive:
            self.refusing -= 1


def _address(sock: socket.socket) -> Any:
    name = sock.getsockname()
    return name[:2] if isinstance(name, tuple) else name


def _bind(address: tuple[Any, ...], backlog: int) -> socket.socket:
    kind, where, detail = address
    if kind == "unix":
        _remove_stale(where)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.bind(where)
            os.chmod(where, detail)
        except BaseException:
            sock.close()
            raise
    else:
        family, _, _, _, found = socket.getaddrinfo(
            where, detail, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICHOST
        )[0] if _is_numeric(where) else socket.getaddrinfo(where, detail, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if where == "::" else 1)
            sock.bind(found)
        except BaseException:
            sock.close()
            raise
    sock.listen(backlog)
    sock.setblocking(False)
    return sock


def _is_numeric(host: str) -> bool:
    return host.replace(".", "").isdigit() or ":" in host


def _remove_stale(path: str) -> None:
    """A socket file that nobody listens on is what a killed server leaves behind."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except OSError:
        return
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        probe.settimeout(0.2)
        probe.connect(path)
    except ConnectionRefusedError:
        with contextlib.suppress(OSError):
            os.unlink(path)
    except OSError:
        pass
    finally:
        probe.close()
