"""Connection: a socket's two ends in one actor, with at most one idle task.

Reading. One trio task a connection, the *reader*, sleeps until the socket is readable. What it has read is handled as an activation of the
actor in the reader's own task when the actor is idle, else as a message in the actor's mailbox whose end the reader waits for. So the actor does one thing at
a time, whoever asks, and a peer that sends faster than its actor works is slowed down by TCP.

Writing. ``write`` never waits: it adds to a buffer that is sent, in one system call, when the current slice of work is over. What the kernel
does not take stays in the buffer, and a task that lives only as long as that sends the rest. The buffer has a bound: a peer that does not
read is disconnected, or loses what is written, by the listener's choice.

Closing. The socket closes on every way out: end of the stream, a reset, a crash, a kill, the node's stop. After an orderly end what is
buffered may still go out, for ``linger`` seconds.
"""

from __future__ import annotations

import errno
import logging
import socket
import ssl
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal

import attrs
import trio
from trio.lowlevel import Abort, Task, current_task, notify_closing, reschedule, wait_readable, wait_writable

from ..reasons import ExitReason, Failure, NORMAL, Shutdown
from ..runtime.record import DEAD, IDLE, Record
from ..runtime.trio_internals import WAKE, Trap, close_nurseries, park
from .framing import Framer, FrameTooLong

if TYPE_CHECKING:
    from ..runtime.scheduler import Scheduler

__all__ = ["Connection", "ConnectionLimits", "Peer"]

logger = logging.getLogger("actorkit")

CHUNK: Final = 65_536
BATCH: Final = 64
WOULD_BLOCK: Final = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR)

Peer = Any
"""The peer's address: (host, port) for TCP, a path or empty for Unix sockets."""


@attrs.frozen
class ConnectionLimits:
    """What one connection may hold. ``max_unsent``: bytes written and not yet taken by the kernel; ``slow_reader``: what happens to one more:
    ``disconnect`` ends the actor with Failure, ``drop`` drops the data and ``write`` returns False. ``linger``: seconds that
    buffered output may take after an orderly end. ``handshake``: seconds for TLS."""

    max_unsent: int = 65_536
    slow_reader: Literal["disconnect", "drop"] = "disconnect"
    linger: float = 2.0
    handshake: float = 5.0


class _Turn:
    """The reader waits for a message of its own in the actor's mailbox; in the place of a caller."""

    __slots__ = ("caller", "later", "task")

    def __init__(self, task: Task) -> None:
        self.task: Task | None = task
        self.caller = None
        self.later = None

    def ok(self, value: object) -> None:
        task, self.task = self.task, None
        if task is not None:
            reschedule(task, WAKE)

    def fail(self, reason: ExitReason) -> None:
        self.ok(None)

    def refuse(self, error: Exception) -> None:
        self.ok(None)

    def abort(self, _: Callable[[], Any]) -> Abort:
        self.task = None
        return Abort.SUCCEEDED


class Connection:
    """See the module's docstring. Users meet it as ``StreamActor.connection``, for ``peer`` and the counters."""

    __slots__ = (
        "_framer",
        "_limits",
        "_lines",
        "_record",
        "_scheduled",
        "_scheduler",
        "_scope",
        "_secure",
        "_sender",
        "_socket",
        "_unsent",
        "actor",
        "bytes_in",
        "bytes_out",
        "dropped",
        "peer",
        "token",
        "unsent",
    )

    def __init__(
        self, record: Record[Any], sock: socket.socket, peer: Peer, framer: Framer, limits: ConnectionLimits
    ) -> None:
        self._record: Record[Any] | None = record
        self._socket = sock
        self._framer = framer
        self._limits = limits
        self._lines: deque[bytes] | None = None
        self._scope: trio.CancelScope | None = None
        self._secure: trio.SSLStream[trio.SocketStream] | None = None
        self._unsent: list[bytes] | None = None
        self._scheduled = False
        self._sender: trio.CancelScope | None = None
        self._scheduler: Scheduler = record.template.scheduler
        self.actor: Record[Any] | None = record
        self.token = False
        self.peer = peer
        self.unsent = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.dropped = 0

    # --- writing ------------------------------------------------------------------------------

    def write(self, data: bytes) -> bool:
        """See ``StreamActor.write``."""
        record = self._record
        if record is None:
            return False
        if self.unsent + len(data) > self._limits.max_unsent and not self._make_room(record, len(data)):
            return False
        self.unsent += len(data)
        if self._unsent is None:
            self._unsent = [data]
        else:
            self._unsent.append(data)
        if not self._scheduled:
            self._scheduled = True
            scheduler = self._scheduler
            scheduler.flushes.append(self._flush)
            if not scheduler.busy and not scheduler.flush_promised:
                scheduler.wake()
        return True

    def _make_room(self, record: Record[Any], size: int) -> bool:
        """The buffer is full. What only waits for the end of the slice is not the peer's slowness, so ask the kernel before judging."""
        limits = self._limits
        if self._sender is None and self._secure is None:
            self._send_some()
            if self.unsent + size <= limits.max_unsent:
                return True
        self.dropped += 1
        if limits.slow_reader == "disconnect":
            self._scheduler.end_now(
                record,
                Failure(
                    f"slow reader: {self.peer} left {self.unsent} bytes unread, {size} more exceed max_unsent={limits.max_unsent}"
                ),
            )
        return False

    def _flush(self) -> None:
        """The slice is over: hand the buffer to the kernel, and what it does not take to a task."""
        self._scheduled = False
        if self._sender is not None:
            return
        if self._secure is None:
            self._send_some()
        if self.unsent:
            self._sender = trio.CancelScope(shield=True)
            nursery = self._scheduler.nursery
            assert nursery is not None
            nursery.start_soon(self._send_rest, name="actorkit: unsent output of a connection")

    def _send_some(self) -> None:
        chunks = self._unsent
        if not chunks:
            return
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        try:
            sent = self._socket.send(data)
        except OSError as error:
            if error.errno in WOULD_BLOCK:
                self._unsent = [data]
            else:
                self._broken(error)
            return
        self.bytes_out += sent
        self.unsent -= sent
        self._unsent = None if sent == len(data) else [data[sent:]]

    async def _send_rest(self) -> None:
        """Send what the kernel did not take, as it takes it."""
        assert self._sender is not None
        with self._sender:
            try:
                while self.unsent:
                    if self._secure is not None:
                        data, self._unsent = b"".join(self._unsent or ()), None
                        await self._secure.send_all(data)
                        self.unsent -= len(data)
                        self.bytes_out += len(data)
                    else:
                        await wait_writable(self._socket)
                        self._send_some()
            except (trio.BrokenResourceError, trio.ClosedResourceError, OSError) as error:
                self._broken(error)
        self._sender = None
        if self._record is None:
            self._close_socket()

    def _broken(self, error: Exception) -> None:
        """The peer has gone while we wrote."""
        self._unsent = None
        self.unsent = 0
        record = self._record
        if record is not None:
            self._scheduler.stop_actor(record, Shutdown(f"connection lost: {error}"))

    # --- the reader ---------------------------------------------------------------------------

    def interrupt(self) -> None:
        """Its actor was killed in a handler that runs in the reader's task."""
        if self._scope is not None:
            self._scope.cancel(reason="its actor was killed")

    async def serve(self, tls: ssl.SSLContext | None) -> None:
        """The reader task, from the first byte to the closed socket."""
        record = self._record
        if record is None:
            return
        scheduler = record.template.scheduler
        task = current_task()
        scheduler.holders[task] = self
        try:
            with trio.CancelScope(shield=True) as self._scope:
                await self._read(record, scheduler, tls)
        except RuntimeError as error:
            if "ancel scope" not in str(error) and "ursery" not in str(error):
                raise
            scheduler.blame(record, "its handler left a cancel scope open: leave it in the message that opened it")
        finally:
            self._scope = None
            del scheduler.holders[task]
            if task.child_nurseries:
                scheduler.blame(record, "its handler left a nursery open: leave it in the message that opened it")
                with trio.CancelScope(shield=True):
                    await close_nurseries(task, scheduler.features)
            if record.state != DEAD:
                scheduler.stop_actor(record, NORMAL)
            record = None

    async def _read(self, record: Record[Any], scheduler: Scheduler, tls: ssl.SSLContext | None) -> None:
        template = record.template
        reason: ExitReason = NORMAL
        try:
            if tls is not None:
                await self._handshake(tls)
            connected, received = template.options["connected"], template.options["received"]
            if connected is not None:
                await self._turn(record, scheduler, connected, ())
            framer = self._framer
            sock = self._socket
            while record.state != DEAD:
                if self._secure is None:
                    await wait_readable(sock)
                    try:
                        data = sock.recv(CHUNK)
                    except OSError as error:
                        if error.errno in WOULD_BLOCK:
                            continue
                        raise
                else:
                    data = bytes(await self._secure.receive_some(CHUNK))
                if not data:
                    break
                self.bytes_in += len(data)
                try:
                    lines = framer.feed(data)
                except FrameTooLong as error:
                    lines = error.complete
                    reason = Shutdown(f"{self.peer} sent a {error}")
                data = b""
                if lines:
                    self._lines = deque(lines)
                    lines = []
                    while self._lines and record.state != DEAD:
                        await self._turn(record, scheduler, received, (self._lines,))
                    self._lines = None
                if reason is not NORMAL:
                    break
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError, ssl.SSLError) as error:
            reason = Shutdown(f"connection lost: {error}")
        except trio.TooSlowError:
            reason = Shutdown(f"{self.peer} did not finish its TLS handshake in {self._limits.handshake} s")
        if record.state != DEAD:
            scheduler.stop_actor(record, reason)

    async def _handshake(self, tls: ssl.SSLContext) -> None:
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(self._socket))
        secure = trio.SSLStream(stream, tls, server_side=True, https_compatible=True)
        with trio.fail_after(self._limits.handshake):
            await secure.do_handshake()
        self._secure = secure

    async def _turn(self, record: Record[Any], scheduler: Scheduler, function: Any, args: tuple[Any, ...]) -> None:
        """Have the actor run ``function``: here if it is idle, else through its mailbox."""
        if record.state == IDLE:
            await scheduler.run_here(self, record, function, args)
            if self._lines:
                await trio.lowlevel.checkpoint()  # a slice's worth of lines was handled, and there are more
        elif record.state != DEAD:
            turn = _Turn(current_task())
            record.post((function, args, turn))
            got = await park(Trap(turn.abort))
            if got is not WAKE:
                got.unwrap()

    # --- the end ------------------------------------------------------------------------------

    def ended(self, reason: ExitReason) -> None:
        """The actor is dead (told by its listener). What it wrote last still goes out, if the kernel takes it; after an orderly end
        the rest has ``linger`` seconds."""
        if self._record is None:
            return
        if self._secure is None and self._sender is None:
            self._send_some()
        self._record = self.actor = None
        self._lines = None
        if self._scope is not None:
            self._scope.cancel(reason="its actor has ended")
        if self.unsent and not reason.abnormal:
            self._flush()
        if self._sender is None:
            self._close_socket()
        elif reason.abnormal:
            self._sender.cancel(reason="its actor has ended")
        else:
            self._sender.deadline = trio.current_time() + self._limits.linger

    def _close_socket(self) -> None:
        self._unsent = None
        self.unsent = 0
        if self._socket.fileno() >= 0:
            notify_closing(self._socket)
            self._socket.close()
