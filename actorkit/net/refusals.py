"""Refusals: many connections are refused quickly, and the peer gets to read why.

How it works. A socket that is closed with unread input is reset, and a reset may overtake the last
words. What a refused peer sends has often not even arrived when the peer is refused. So its socket
stays open for a moment after the refusal and the end of the stream have been sent. Then what has
come is read and forgotten, and the socket is closed. There is no task and no entry in epoll for
each: in a storm of refusals they would cost more than all the rest. One task closes the sockets
whose moment has passed; when too many are open, the oldest are closed at once, since they have had
the longest time.
"""

from __future__ import annotations

import contextlib
import socket
from collections import deque
from typing import Final

import trio

from ..runtime.base.trio_internals import start_or_not

__all__ = ["Refusals"]

AT_A_TIME: Final = 256
SECONDS: Final = 1.0
CHUNK: Final = 65_536
WITH_THE_END: Final = getattr(socket, "MSG_MORE", 0)
"""On Linux the words go out together with the end of the stream, in one packet: half the time."""


class Refusals:
    """The connections that a listener has refused and not closed yet.

    Args:
        words: bytes for a refused peer. Empty: the peer is told nothing, and its socket is closed
            at once.
    """

    def __init__(self, words: bytes) -> None:
        self._words = words
        self._open: deque[tuple[float, socket.socket]] = deque()
        self._seeing_off: trio.CancelScope | None = None
        self.count = 0

    def refuse(self, sock: socket.socket, nursery: trio.Nursery | None) -> None:
        """Tell the peer, and close the socket soon. ``nursery``: where the task that closes it may
        be started; None: close it at once."""
        self.count += 1
        if self._words:
            with contextlib.suppress(OSError):
                sock.send(self._words, WITH_THE_END)
                sock.shutdown(socket.SHUT_WR)
        if not self._words or nursery is None:
            _close(sock)
            return
        self._open.append((trio.current_time() + SECONDS, sock))
        if len(self._open) > AT_A_TIME:
            _close(self._open.popleft()[1])
        if self._seeing_off is None:
            scope = trio.CancelScope(shield=True)
            if start_or_not(nursery, self._see_off, scope, name="actorkit: refused connections"):
                self._seeing_off = scope
            else:
                self.close_all()

    def close_all(self) -> None:
        """Close those that are still open, now: their descriptors are needed."""
        while self._open:
            _close(self._open.popleft()[1])

    def end(self) -> None:
        """The listener has ended: close all."""
        if self._seeing_off is not None:
            self._seeing_off.cancel(reason="the listener has ended")

    async def _see_off(self, scope: trio.CancelScope) -> None:
        try:
            with scope:
                while self._open:
                    until, sock = self._open[0]
                    if until <= trio.current_time():
                        self._open.popleft()
                        _close(sock)
                    else:
                        await trio.sleep_until(until)
        except MemoryError:  # for the scope
            pass
        finally:
            self._seeing_off = None
            self.close_all()


def _close(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.recv(CHUNK)
    sock.close()
