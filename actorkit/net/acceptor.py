"""Acceptor: a listening socket, and the task that accepts from it.

How it works. Each pass accepts a limited number of connections, so a crowd of newcomers leaves time
for those who are in. When the process is out of descriptors, the one that was kept spare is given
up, to accept and refuse those who wait: they would not know why nobody answers otherwise.

An acceptor is not part of its listener's state. The state of a listener that is killed is cleared
at once, and there is still a socket to close.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import trio
from trio.lowlevel import checkpoint, notify_closing, wait_readable

from ..log import log
from .address import file_of
from .refusals import Refusals
from .transport import Peer

if TYPE_CHECKING:
    from ..runtime.life.node_engine import NodeEngine

__all__ = ["Acceptor"]

ACCEPTS_PER_PASS: Final = 32
REFUSALS_PER_PASS: Final = 256
"""More than are admitted in a pass: to refuse costs little, and a node that has no time left must
keep up with it."""
LOG_SECONDS: Final = 5.0
OUT_OF_DESCRIPTORS: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
ABORTED: Final = (errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.EINTR)
"""The peer went away before it was accepted (see accept(2))."""


class Acceptor:
    """See the module's docstring.

    Args:
        engine: the node's engine.
        sock: the listening socket, which is closed by ``close``.
        admit: takes over an accepted, non-blocking socket. False: there is no room, and the socket
            is refused here.
        refusal: bytes for a refused peer.
        who: the listener, for the log.
    """

    def __init__(
        self,
        engine: NodeEngine,
        sock: socket.socket,
        admit: Callable[[socket.socket, Peer], bool],
        refusal: bytes,
        who: str,
    ) -> None:
        self._engine = engine
        self._socket = sock
        self._admit = admit
        self._refusals = Refusals(refusal)
        self._who = who
        self._scope = trio.CancelScope(shield=True)
        self._logged = -LOG_SECONDS
        self._spare: int | None = os.open(os.devnull, os.O_RDONLY)
        self._path = file_of(sock)
        self.closed = False
        engine.stop.before.append(self.close)

    def address(self) -> Any:
        """(host, port), or a path."""
        name = self._socket.getsockname()
        return name[:2] if isinstance(name, tuple) else name

    def close(self) -> None:
        """Accept no more. The kernel resets those that are in its queue."""
        if self.closed:
            return
        self.closed = True
        self._scope.cancel(reason="the listener stops accepting")
        self._engine.stop.before.remove(self.close)
        path = self._path
        if path is not None and path == file_of(self._socket):
            with contextlib.suppress(OSError):
                os.unlink(path[0])
        notify_closing(self._socket)
        self._socket.close()
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None

    def end(self) -> None:
        """``close``, and close those that were refused, too."""
        self.close()
        self._refusals.end()

    # --- accepting ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Accept until closed."""
        listening = self._socket
        with self._scope as scope:
            await checkpoint()  # closed before this task had its first step?
            while not self.closed:
                await wait_readable(listening)
                if scope.cancel_called:  # closed after it was seen to be readable
                    return
                admissions, refusals = ACCEPTS_PER_PASS, REFUSALS_PER_PASS
                while admissions and refusals:
                    try:
                        sock, peer = listening.accept()
                    except BlockingIOError:
                        break
                    except OSError as error:
                        if error.errno in OUT_OF_DESCRIPTORS:
                            self._log(f"{error}; newcomers are refused until there are descriptors again")
                            self._refusals.close_all()
                            self._refuse_waiting()
                            await trio.sleep(0.05)
                        elif error.errno not in ABORTED:
                            self._log(f"accept failed: {error}")
                            await trio.sleep(0.1)
                        break
                    sock.setblocking(False)
                    if self._admit(sock, peer):
                        admissions -= 1
                    else:
                        refusals -= 1
                        self._refusals.refuse(sock, self._engine.nursery)
                    if self._scope.cancel_called:
                        return  # another task cancels it meanwhile

    def _log(self, what: str) -> None:
        """Not more often than is useful: what fails, fails many times a second."""
        now = trio.current_time()
        if now - self._logged >= LOG_SECONDS:
            self._logged = now
            log.error("listener %s: %s", self._who, what)

    # --- refusing -----------------------------------------------------------------------------

    @property
    def refused(self) -> int:
        """How many connections were refused so far."""
        return self._refusals.count

    def _refuse_waiting(self) -> None:
        """No descriptor is left but the spare one. Use it to refuse those who wait, one by one."""
        for _ in range(ACCEPTS_PER_PASS):
            if self._spare is not None:
                os.close(self._spare)
                self._spare = None
            try:
                sock, _peer = self._socket.accept()
            except OSError:
                sock = None
            if sock is not None:
                sock.setblocking(False)
                self._refusals.refuse(sock, None)
            with contextlib.suppress(OSError):
                self._spare = os.open(os.devnull, os.O_RDONLY)
            if sock is None or self._spare is None:
                return
