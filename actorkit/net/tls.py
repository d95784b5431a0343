"""TLS without I/O: what came from the socket goes in, what is to go to the socket comes out.

Everything here returns at once; ``transport`` does the I/O.
"""

from __future__ import annotations

import ssl

__all__ = ["Tls"]

RECORD = 65_536


class Tls:
    """The server's side of one connection."""

    __slots__ = ("_incoming", "_outgoing", "_ssl", "eof", "ready", "wire")

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._ssl = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.ready = False
        """Is the handshake done?"""
        self.eof = False
        """Has the peer said that nothing more comes?"""
        self.wire: bytes | memoryview = b""
        """Encrypted bytes that the kernel has not taken yet."""

    def handshake(self, data: bytes) -> None:
        """Go on with the handshake: ``data`` has come. Raises SSLError; then ``outgoing`` has an
        alert for the peer."""
        if data:
            self._incoming.write(data)
        try:
            self._ssl.do_handshake()
        except ssl.SSLWantReadError:
            return
        self.ready = True

    def decrypt(self, data: bytes) -> bytes:
        """The plain text of ``data``, as far as its records are complete. Raises SSLError for what
        is not TLS."""
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
                raise  # otherwise the good part goes first, and the error comes again
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def encrypt(self, data: bytes) -> None:
        """Add ``data``, encrypted, to ``outgoing``. Only when ``ready``."""
        view = memoryview(data)
        while view:
            view = view[self._ssl.write(view) :]

    def close(self) -> None:
        """Tell the peer that nothing more comes, so that it can tell the end from a cut."""
        try:
            self._ssl.unwrap()
        except (ssl.SSLError, OSError):
            pass  # nobody waits for the peer's own goodbye

    def outgoing(self) -> bytes | memoryview:
        """All that is to be sent: ``wire``, and behind it what is new."""
        if self._outgoing.pending:
            new = self._outgoing.read()
            self.wire = b"".join((self.wire, new)) if self.wire else new
        return self.wire
