"""The TLS of one connection, without I/O: what came from the socket in, what goes to the socket out.

Everything here returns at once. So reading and writing never wait for each other, a write needs no task, and the same
buffer and bound hold for TLS as for plain sockets.
"""

from __future__ import annotations

import ssl

__all__ = ["Tls"]

RECORD = 65_536


class Tls:
    """The server's side. ``ready``: the handshake is done; ``eof``: the peer has said that nothing more comes;
    ``wire``: encrypted, not yet taken by the kernel."""

    __slots__ = ("_incoming", "_outgoing", "_ssl", "eof", "ready", "wire")

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._ssl = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.ready = False
        self.eof = False
        self.wire: bytes | memoryview = b""

    def handshake(self, data: bytes) -> None:
        """``data`` has come, before ``ready``. Raises SSLError; then ``outgoing`` has an alert for the peer."""
        if data:
            self._incoming.write(data)
        try:
            self._ssl.do_handshake()
        except ssl.SSLWantReadError:
            return
        self.ready = True

    def decrypt(self, data: bytes) -> bytes:
        """What ``data`` says, as far as it is complete. Raises SSLError for what is not TLS."""
        if data:
            self._incoming.write(data)
        parts: list[bytes] = []
        try:
            while part := self._ssl.read(RECORD):
                parts.append(part)
            self.eof = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.eof = True
        except ssl.SSLError:
            if not parts:
                raise  # else the good part first; the error comes again
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def encrypt(self, data: bytes) -> None:
        """Add ``data`` to ``outgoing``. Needs ``ready``."""
        view = memoryview(data)
        while view:
            view = view[self._ssl.write(view) :]

    def close(self) -> None:
        """Tell the peer that nothing more comes, so that it can tell the end from a cut."""
        try:
            self._ssl.unwrap()
        except (ssl.SSLError, OSError):
            pass  # the peer's own goodbye is not waited for

    def outgoing(self) -> bytes | memoryview:
        """All that is to be sent: ``wire``, with what is new."""
        if self._outgoing.pending:
            new = self._outgoing.read()
            self.wire = b"".join((self.wire, new)) if self.wire else new
        return self.wire
