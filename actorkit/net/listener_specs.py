"""The specs of listeners: ``tcp_listener``, ``tls_listener``, ``unix_listener``.

All three make a ``Listener``; they differ in the address and in whether there is TLS. Every
argument is checked here, in the stack of whoever gives it.
"""

from __future__ import annotations

import os
import ssl
from typing import Any, Final, TypeVar

from ..errors import InvalidChildSpec
from ..policy.supervision.child_spec import ChildSpec
from .address import Address, TcpAddress, UnixAddress
from .framing import framing_of
from .limits import BACKLOG, Limits, SlowReader
from .listener import Listener
from .stream_actor import StreamActor

__all__ = ["tcp_listener", "tls_listener", "unix_listener"]

C = TypeVar("C", bound=StreamActor)

FULL: Final = b"the server is full; try again later\n"


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
    slow_reader: SlowReader = "disconnect",
    drain: float = 5.0,
    linger: float = 2.0,
    control: bool = False,
    name: str | None = None,
) -> ChildSpec[Listener]:
    """The spec of a TCP listener, which makes an actor of every connection.

    Use it for peers on the network that you trust to be who they say, or behind a proxy that does
    TLS; ``ak.tls_listener`` does TLS itself, and ``ak.unix_listener`` is for peers on the same
    machine.

    Args:
        connection: a subclass of StreamActor, whose constructor gets ``args``. Or its child spec,
            for options (``mailbox``, ``overflow``, ``scheduling``, ``max_heap_size``):
            ``ak.child(Chat, lobby).with_(mailbox=100)``.
        port: 0 for any free one; ask ``Listener.addresses`` which.
        host: "0.0.0.0" or "::" for all interfaces. A name is looked up at every start; the first of
            its addresses that can be bound is taken, IPv4 before IPv6.
        max_line: ``received`` gets lines without their end, of at most so many bytes each; a longer
            one ends the connection.
        max_frame: ``received`` gets frames of at most so many bytes each, which come behind their
            length in 4 bytes, big-endian. With neither this nor ``max_line`` it gets whatever was
            read.
        max_children: connections at a time. One more is sent ``refusal`` and closed.
        backlog: connections that the kernel holds until they are accepted; by default as many as it
            allows.
        refusal: bytes for a peer that is refused. None: one line that says so if ``max_line`` is
            given, nothing otherwise.
        max_unsent: bytes of one connection that may wait for the peer to read them.
        slow_reader: what happens to a write beyond that: "disconnect" ends the connection, "drop"
            drops the data. See ``StreamActor.write``.
        drain: seconds that each connection gets to end in when the listener stops (its
            ``shutdown``).
        linger: seconds in which output that is still buffered may go out after an orderly end.
        control: for operators, probes and metrics: these connections are counted, but never refused
            for want of memory.
        name: registers the listener under this name.

    Raises:
        InvalidChildSpec: at once, for an argument that cannot be; the fault of whoever wrote it.
        StartFailed: at the start, if the address cannot be bound.

    Example::

        tree = ak.supervisor(
            ak.tcp_listener(Chat, ak.named(Room, "lobby"), port=7000, max_line=4096, name="chat")
        )
    """
    limits = Limits(
        max_children=max_children, backlog=backlog, max_unsent=max_unsent, slow_reader=slow_reader, linger=linger
    )
    return _listener(
        connection, args, TcpAddress(host, port), limits,
        max_line=max_line, max_frame=max_frame, refusal=refusal, drain=drain, control=control, name=name,
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
    slow_reader: SlowReader = "disconnect",
    handshake: float = 5.0,
    drain: float = 5.0,
    linger: float = 2.0,
    control: bool = False,
    name: str | None = None,
) -> ChildSpec[Listener]:
    """The spec of a TCP listener that speaks TLS.

    As ``tcp_listener``, but for ``refusal``: a connection beyond ``max_children`` is closed without
    a word, since that would take a handshake.

    Args:
        tls: the server's context, with its certificate:
            ``ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)`` and ``load_cert_chain``.
        handshake: seconds that a peer has for its handshake.

    Raises InvalidChildSpec and StartFailed as ``tcp_listener`` does.

    Example::

        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain("server.pem")
        tree = ak.supervisor(ak.tls_listener(Chat, port=7443, tls=context, max_line=4096))
    """
    limits = Limits(
        max_children=max_children, backlog=backlog, max_unsent=max_unsent, slow_reader=slow_reader,
        handshake=handshake, linger=linger,
    )  # fmt: skip
    if not isinstance(tls, ssl.SSLContext):
        raise InvalidChildSpec(
            "tls",
            tls,
            "not a TLS context",
            "give ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) with a certificate",
        )
    return _listener(
        connection, args, TcpAddress(host, port), limits,
        max_line=max_line, max_frame=max_frame, refusal=b"", drain=drain, control=control, name=name, tls=tls,
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
    slow_reader: SlowReader = "disconnect",
    drain: float = 5.0,
    linger: float = 2.0,
    control: bool = False,
    name: str | None = None,
) -> ChildSpec[Listener]:
    """The spec of a listener on a Unix socket, for peers on the same machine.

    As ``tcp_listener``, but for the address. A socket file that a killed server has left behind is
    replaced; the file is removed at the end.

    Args:
        path: of the socket file, at most 107 bytes.
        mode: of the file. By default only the same user may connect.

    Raises InvalidChildSpec and StartFailed as ``tcp_listener`` does.

    Example::

        admin = ak.unix_listener(Admin, path="/run/chat.sock", max_line=1000, control=True)
        tree = ak.supervisor(admin)
    """
    limits = Limits(
        max_children=max_children, backlog=backlog, max_unsent=max_unsent, slow_reader=slow_reader, linger=linger
    )
    return _listener(
        connection, args, UnixAddress(path, mode), limits,
        max_line=max_line, max_frame=max_frame, refusal=refusal, drain=drain, control=control, name=name,
    )  # fmt: skip


def _listener(
    connection: Any,
    args: tuple[Any, ...],
    address: Address,
    limits: Limits,
    *,
    max_line: int | None,
    max_frame: int | None,
    refusal: bytes | None,
    drain: float,
    control: bool,
    name: str | None,
    tls: ssl.SSLContext | None = None,
) -> ChildSpec[Listener]:
    """Where the three meet."""
    spec: ChildSpec[Any] = connection if isinstance(connection, ChildSpec) else ChildSpec(connection, args=args)
    if isinstance(connection, ChildSpec) and args:
        raise InvalidChildSpec("args", args, "the child spec has arguments of its own", "give them to ak.child(…)")
    if not (isinstance(spec.start, type) and issubclass(spec.start, StreamActor)):
        raise InvalidChildSpec("start", spec.start, "not a connection's class", "give a subclass of ak.StreamActor")
    if spec.name is not None:
        raise InvalidChildSpec("name", spec.name, "every connection would take it", "name the listener: name=")
    framing = framing_of(max_line, max_frame)
    if refusal is None:
        refusal = FULL if max_line is not None else b""
    if not isinstance(refusal, bytes):
        raise InvalidChildSpec("refusal", refusal, "not bytes", "encode it, or give None for the default")
    return ChildSpec(
        Listener,
        args=(spec.with_(restart="temporary", shutdown=drain, significant=False), address, framing, limits),
        kwargs={"tls": tls, "refusal": refusal, "control": control},
        kind="supervisor",
        mailbox=100_000,
        id=name if name is not None else f"listener {address}",
        name=name,
    )
