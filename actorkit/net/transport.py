"""Transport: one connected socket, with or without TLS. Nothing above it knows which.

How it works. Everything here returns at once. Whoever wants to wait does so for the socket, with
trio's ``wait_readable`` and ``wait_writable``, and asks again. So reading and writing never wait
for each other, and a write needs no task.

Reading: ``read`` returns what has come, ``b""`` at the end of the stream, and None when nothing has
come that could be handed on (the socket would block, or a TLS record is incomplete).

Writing: what is written is added to a buffer, and ``send`` gives the kernel as much of it as it
takes, in one system call. ``unsent`` says how much is left. The buffer has no bound here: the bound
is policy, so ``Connection`` has it.

With TLS the buffer holds plain text until the handshake is done. TLS has something of its own to
say, too (its handshake, an alert): then ``owes`` is true, and ``send`` sends that.

``half_close`` says that nothing more will be written; ``close`` closes the socket. Whatever is
raised here is an OSError (ssl.SSLError is one) and means that the connection is lost.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
from typing import Any, Final

from trio.lowlevel import notify_closing, wait_readable

from .tls import Tls

__all__ = ["CHUNK", "Peer", "TlsTransport", "Transport", "open_transport"]

CHUNK: Final = 65_536
"""Bytes. What remains of a larger send is not copied."""
WOULD_BLOCK: Final = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR)

Peer = Any
"""The peer's address: (host, port) for TCP, a path or an empty string for Unix sockets."""


class Transport:
    """A socket without TLS; ``TlsTransport`` is one with it. ``open_transport`` makes the right
    one."""

    __slots__ = ("bytes_in", "bytes_out", "chunks", "full", "socket", "unsent")

    ready: bool = True
    """May what is written go out? With TLS: when the handshake is done."""
    eof: bool = False
    """Has the peer said that nothing more comes, behind the data that ``read`` has just
    returned?"""
    owes: bool = False
    """Has the transport something of its own to send?"""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.chunks: list[bytes | memoryview] | None = None
        """What was written and ``send`` has not taken. ``Connection.write`` adds to it: a call from
        there to here would cost a tenth of what a short line costs."""
        self.unsent = 0
        """Bytes that were written and that the kernel has not taken."""
        self.bytes_in = 0
        self.bytes_out = 0
        self.full = False
        """Did the last ``read`` get all that it asked for? Then there is probably more."""

    # --- reading ------------------------------------------------------------------------------

    def read(self, size: int) -> bytes | None:
        """At most ``size`` bytes from the wire; see the module's docstring."""
        try:
            data = self.socket.recv(size)
        except OSError as error:
            if error.errno not in WOULD_BLOCK:
                raise
            self.full = False
            return None
        got = len(data)
        self.bytes_in += got
        self.full = got == size
        return data

    def shake_hands(self) -> bool:
        """One step of the handshake, when the socket is readable. False: the peer has closed it."""
        return True

    def still_comes(self) -> bool:
        """Has the peer sent something that nobody has read? It is read and forgotten."""
        try:
            return bool(self.socket.recv(CHUNK))
        except OSError:
            return False

    async def read_away(self) -> None:
        """Read and forget, until the peer closes or breaks."""
        self.half_close()
        with contextlib.suppress(OSError):
            while True:
                await wait_readable(self.socket)
                if not self.socket.recv(CHUNK):
                    return

    # --- writing ------------------------------------------------------------------------------

    def send(self) -> None:
        """Give the kernel what it takes of the buffer."""
        chunks = self.chunks
        if not chunks:
            return
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        size = len(data)
        try:
            sent = self.socket.send(data)
        except OSError as error:
            if error.errno not in WOULD_BLOCK:
                raise
            sent = 0
        self.bytes_out += sent
        self.unsent = size - sent
        self.chunks = None if sent == size else [_rest(data, sent)]

    def can_send(self) -> bool:
        """Is there something in the buffer that may go out as soon as the kernel takes it?"""
        return self.unsent > 0

    def forget(self) -> None:
        """Nobody will take what is in the buffer."""
        self.chunks = None
        self.unsent = 0

    # --- the end ------------------------------------------------------------------------------

    def say_goodbye(self) -> None:
        """Tell the peer that nothing more comes, if the protocol has words for that; ``send`` sends
        them."""

    def half_close(self) -> None:
        """Nothing more will be written; the peer reads the end of the stream."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close the socket. Doing it again is nothing."""
        if self.socket.fileno() >= 0:
            notify_closing(self.socket)
            self.socket.close()


class TlsTransport(Transport):
    """A socket with TLS, the server's side. See the module's docstring."""

    __slots__ = ("_tls", "eof", "owes", "ready")

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        super().__init__(sock)
        self._tls = Tls(context)
        self._note()

    def read(self, size: int) -> bytes | None:
        wire = super().read(size)
        data = self._tls.decrypt(wire or b"")
        self._note()
        return data or (b"" if self.eof or wire == b"" else None)

    def shake_hands(self) -> bool:
        wire = super().read(CHUNK)
        if wire:
            try:
                self._tls.handshake(wire)
            finally:
                self._note()
            self.full = self.ready  # what came in one piece with the last of the handshake waits to be decrypted
        return wire != b""

    def send(self) -> None:
        tls = self._tls
        if self.chunks and tls.ready:
            tls.encrypt(b"".join(self.chunks))
            self.chunks = None
        wire = tls.outgoing()
        if wire:
            waiting, self.chunks = self.chunks, [wire]
            super().send()
            tls.wire = self.chunks[0] if self.chunks else b""
            self.chunks = waiting
            self.unsent += sum(map(len, waiting or ()))
            self._note()

    def can_send(self) -> bool:
        return self.unsent > 0 and (self.ready or self.owes)

    def forget(self) -> None:
        super().forget()
        self._tls.wire = b""
        self._note()

    def say_goodbye(self) -> None:
        if self.ready:
            self._tls.close()
            self._note()

    def _note(self) -> None:
        tls = self._tls
        self.ready, self.eof, self.owes = tls.ready, tls.eof, bool(tls.outgoing())


def _rest(data: bytes | memoryview, sent: int) -> bytes | memoryview:
    """A large rest is not copied each time that the kernel takes a part of it."""
    if not sent:
        return data
    return data[sent:] if len(data) - sent < CHUNK else memoryview(data)[sent:]


def open_transport(sock: socket.socket, tls: ssl.SSLContext | None) -> Transport:
    """The transport of an accepted socket, which must be non-blocking."""
    return Transport(sock) if tls is None else TlsTransport(sock, tls)
