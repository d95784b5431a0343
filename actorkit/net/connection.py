"""Connection: a socket's two ends in one actor, with at most one idle task.

Reading. One trio task a connection, the *reader*, sleeps until the socket is readable. What it has read is handled as
an activation of the actor in the reader's own task when the actor is idle, else as a message in the actor's mailbox
whose end the reader waits for. So the actor does one thing at a time, whoever asks, and a peer that sends faster than
its actor works is slowed down by TCP.

Writing. ``write`` never waits: it adds to a buffer that is sent, in one system call, when the current slice of work is
over. What the kernel does not take stays in the buffer, and a task that lives only as long as that sends the rest. The
buffer has a bound: a peer that does not read is disconnected, or loses what is written, by the listener's choice.

Closing. The socket closes on every way out: end of the stream, a reset, a crash, a kill, the node's stop. After an
orderly end what is buffered may still go out, for ``linger`` seconds; and if the peer is still sending, what it sends
is read and forgotten for as long, since a socket closed with unread input is reset, and the last words may be lost on
the way.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
from collections import deque
from collections.abc import Callable
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, Literal

import attrs
import trio
from trio.lowlevel import Abort, Task, current_task, notify_closing, reschedule, wait_readable, wait_writable

from ..reasons import NORMAL, Crash, ExitReason, Failure, Shutdown
from ..runtime.actor.record import DEAD, IDLE, Record
from ..runtime.base.trio_internals import (
    WAKE,
    Trap,
    cancel_status,
    close_left_open,
    close_nurseries,
    complains_of_stack,
    is_fatal,
    left_open,
    park,
    start_or_not,
)
from .framing import Framer, FrameTooLong
from .tls import Tls

if TYPE_CHECKING:
    from ..runtime.life.scheduler import Scheduler

__all__ = ["Connection", "ConnectionLimits", "Peer", "read_away"]

CHUNK: Final = 65_536
SMALL_CHUNK: Final = 4_096
"""How much a reader asks for at first, and again when many messages come at once. What is read is cut up in one go: for
64 KiB of short lines that takes as long as a slice."""
FEW: Final = 128
MANY: Final = 512
"""Messages in a read that filled its chunk: up to ``FEW`` ask for a larger one, more than ``MANY`` for a
smaller one."""
WOULD_BLOCK: Final = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR)

Peer = Any
"""The peer's address: (host, port) for TCP, a path or empty for Unix sockets."""


async def read_away(sock: socket.socket) -> None:
    """Read and forget, until the peer closes or breaks."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_WR)
    with contextlib.suppress(OSError):
        while True:
            await wait_readable(sock)
            if not sock.recv(CHUNK):
                return


class _LeftOpen(Exception):
    """A handler has left a scope, a nursery or a lock in the reader's task."""


@attrs.frozen
class ConnectionLimits:
    """What one connection may hold. ``max_unsent``: bytes written and not yet taken by the kernel; ``slow_reader``:
    what happens to one more: ``disconnect`` ends the actor with Failure, ``drop`` drops the data and ``write`` returns
    False. ``linger``: seconds that buffered output may take after an orderly end. ``handshake``: seconds for TLS."""

    max_unsent: int = 65_536
    slow_reader: Literal["disconnect", "drop"] = "disconnect"
    linger: float = 2.0
    handshake: float = 5.0


class _Turn:
    """The reader waits for a message of its own in the actor's mailbox; in the place of a caller."""

    __slots__ = ("caller", "later", "refused", "task")

    def __init__(self, task: Task) -> None:
        self.task: Task | None = task
        self.refused = False
        self.caller = None
        self.later = None

    def ok(self, value: object) -> None:
        task, self.task = self.task, None
        if task is not None:
            reschedule(task, WAKE)

    def fail(self, reason: ExitReason) -> None:
        self.ok(None)

    def refuse(self, error: Exception) -> None:
        """A full mailbox with ``drop_oldest`` threw it out. What the peer sent is not dropped: the reader asks
        again."""
        self.refused = True
        self.ok(None)

    def abort(self, _: Callable[[], Any]) -> Abort:
        self.task = None
        return Abort.SUCCEEDED


class Connection:
    """See the module's docstring. Users meet it as ``StreamActor.connection``, for ``peer`` and the counters.

    ``bytes_in`` and ``bytes_out`` count what went over the wire (with TLS: encrypted); ``unsent`` is what waits in the
                 buffer; ``dropped``
    counts writes that found it full.
    """

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
        "bytes_in",
        "bytes_out",
        "coro",
        "dropped",
        "peer",
        "unsent",
    )

    token = False
    """The reader is never the worker that draws from the run queue."""

    def __init__(
        self,
        record: Record[Any],
        sock: socket.socket,
        peer: Peer,
        framer: Framer,
        limits: ConnectionLimits,
        tls: ssl.SSLContext | None,
    ) -> None:
        self._record: Record[Any] | None = record
        self._socket = sock
        self._framer = framer
        self._limits = limits
        self._lines: deque[bytes] | None = None
        self._scope: trio.CancelScope | None = None
        self._secure = None if tls is None else Tls(tls)
        self._unsent: list[bytes | memoryview] | None = None
        self._scheduled = False
        self._sender: trio.CancelScope | None = None
        self._scheduler: Scheduler = record.kind.scheduler
        self.peer = peer
        self.unsent = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.dropped = 0

    @property
    def actor(self) -> Record[Any] | None:
        """Whose tasks the reader's nurseries start."""
        return self._record

    # --- writing ------------------------------------------------------------------------------

    def write(self, data: bytes) -> bool:
        """See ``StreamActor.write``."""
        record = self._record
        if record is None:
            return False
        if type(data) is not bytes:
            data = _as_bytes(data)
        size = len(data)
        if self.unsent and self.unsent + size > self._limits.max_unsent and not self._make_room(record, size):
            return False
        self.unsent += size
        if self._unsent is None:
            self._unsent = [data]
        else:
            self._unsent.append(data)
        if not self._scheduled:
            self._scheduled = True
            scheduler = self._scheduler
            if get_ident() != scheduler.thread:
                self._take_back(size)
                raise scheduler.home.refuse("write to the peer of", record)
            scheduler.flushes.append(self._flush)
            if not scheduler.busy and not scheduler.flush_promised:
                scheduler.wake()
        return True

    def _take_back(self, size: int) -> None:
        """What another thread has just written."""
        assert self._unsent is not None
        self._scheduled = False
        self._unsent.pop()
        self.unsent -= size
        if not self._unsent:
            self._unsent = None

    def _make_room(self, record: Record[Any], size: int) -> bool:
        """The buffer is full. What only waits for the end of the slice is not the peer's slowness, so ask the kernel
        before judging."""
        self._scheduler.home.check("write to the peer of", record)
        limits = self._limits
        self._send_some()
        if self._record is None:
            return False
        if not self.unsent or self.unsent + size <= limits.max_unsent:
            return True
        self.dropped += 1
        if limits.slow_reader == "disconnect":
            self._scheduler.end_now(
                record,
                Failure(
                    f"slow reader: {self.peer} left {self.unsent} bytes unread, {size} more exceed "
                    f"max_unsent={limits.max_unsent}"
                ),
            )
        return False

    def _flush(self) -> None:
        """The slice is over: hand the buffer to the kernel, and what it does not take to a task."""
        self._scheduled = False
        if self._sender is not None:
            return
        self._send_some()
        secure = self._secure
        if self.unsent and (secure is None or secure.ready or secure.wire):
            self._sender = trio.CancelScope(shield=True)
            nursery = self._scheduler.nursery
            assert nursery is not None
            if not start_or_not(nursery, self._send_rest, name="actorkit: unsent output of a connection"):
                self._sender = None
                self._broken(MemoryError("no memory for the task that sends the rest"))

    def _send_some(self) -> None:
        chunks = self._unsent
        secure = self._secure
        data: bytes | memoryview
        if secure is not None:
            if chunks and secure.ready:
                try:
                    secure.encrypt(b"".join(chunks))
                except ssl.SSLError as error:
                    self._broken(error)
                    return
                chunks = self._unsent = None
            data = secure.outgoing()
            if not data:
                return
        elif chunks:
            data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        else:
            return
        size = len(data)
        try:
            sent = self._socket.send(data)
        except OSError as error:
            if error.errno not in WOULD_BLOCK:
                self._broken(error)
                return
            sent = 0
        self.bytes_out += sent
        rest = (
            data[sent:] if sent == 0 or size - sent < CHUNK else memoryview(data)[sent:]
        )  # large: not copied at each turn
        if secure is not None:
            secure.wire = rest
            self.unsent = size - sent + sum(map(len, chunks or ()))
        else:
            self._unsent = [rest] if sent < size else None
            self.unsent = size - sent

    async def _send_rest(self) -> None:
        """Send what the kernel did not take, as it takes it."""
        sender = self._sender
        assert sender is not None
        try:
            with sender:
                while self.unsent:
                    await wait_writable(self._socket)
                    self._send_some()
        except (trio.ClosedResourceError, OSError, MemoryError) as error:
            self._broken(error)
        late = sender.cancelled_caught
        self._sender = None
        if self._record is None:
            self._close(orderly=not late)

    def _broken(self, error: Exception) -> None:
        """The peer has gone while we wrote, or there is no memory to go on."""
        self._unsent = None
        self.unsent = 0
        if self._secure is not None:
            self._secure.wire = b""
        record = self._record
        if record is not None:
            self._scheduler.stop_actor(record, Shutdown(f"connection lost: {error}"))

    # --- the reader ---------------------------------------------------------------------------

    def interrupt(self) -> None:
        """Its actor was killed in a handler that runs in the reader's task."""
        if self._scope is not None:
            self._scope.cancel(reason="its actor was killed")

    async def serve(self) -> None:
        """The reader task, from the first byte to the closed socket."""
        record = self._record
        if record is None:
            return
        scheduler = self._scheduler
        task = current_task()
        try:
            scheduler.holders[task] = self
            with trio.CancelScope(shield=True) as self._scope:
                await self._read(record, scheduler, task)
        except RuntimeError as error:
            # Without trio's private names, leaving the scope is what finds one that a handler left open inside.
            if scheduler.features.cancel_status or not complains_of_stack(error):
                raise
            scheduler.blame(record, "its handler left a cancel scope open: leave it in the message that opened it")
        except MemoryError as error:  # for its scope or for what was read: it costs this connection, not the node
            if record.state != DEAD:
                scheduler.end_now(record, Crash.from_exception(error))
        finally:
            self._scope = None
            scheduler.holders.pop(task, None)

    async def _read(self, record: Record[Any], scheduler: Scheduler, task: Task) -> None:
        status = cancel_status(task, scheduler.features)
        reason: ExitReason = NORMAL
        framer = self._framer
        sock = self._socket
        secure = self._secure
        try:
            if secure is not None:
                await self._handshake(secure)
            callbacks = record.kind.callbacks
            if callbacks["connected"] is not None:
                await self._turn(record, scheduler, task, status, callbacks["connected"], ())
            received = callbacks["received"]
            chunk = SMALL_CHUNK
            full = False
            while record.state != DEAD:
                if full:  # there is more, and to wait for it would cost a pass
                    await scheduler.turn_if_due()
                else:
                    await wait_readable(sock)
                    scheduler.woken()
                try:
                    data = sock.recv(chunk)
                except OSError as error:
                    if error.errno in WOULD_BLOCK:
                        full = False
                        continue
                    raise
                if not data:
                    break
                size = len(data)
                self.bytes_in += size
                full = size == chunk
                if secure is not None:
                    data = secure.decrypt(data)
                    self._answer(secure)
                    if not data:
                        if secure.eof:
                            break
                        continue
                try:
                    lines = framer.feed(data)
                except FrameTooLong as error:
                    lines = error.complete
                    reason = Shutdown(f"{self.peer} sent a {error}")
                data = b""
                if full:
                    if len(lines) <= FEW:
                        chunk = min(4 * chunk, CHUNK)
                    elif len(lines) > MANY:
                        chunk = max(chunk // 4, SMALL_CHUNK)
                if lines:
                    self._lines = deque(lines)
                    lines = []
                    while self._lines and record.state != DEAD:
                        await self._turn(record, scheduler, task, status, received, (self._lines,))
                    self._lines = None
                if reason is not NORMAL or (secure is not None and secure.eof):
                    break
        except (OSError, trio.ClosedResourceError) as error:
            reason = Shutdown(f"connection lost: {error}")
        except trio.TooSlowError:
            reason = Shutdown(f"{self.peer} did not finish its TLS handshake in {self._limits.handshake:g} s")
        except _LeftOpen as what:
            scheduler.repairs += 1
            scheduler.blame(record, f"its handler left a {what} open: leave it in the message that opened it")
            with trio.CancelScope(shield=True):
                try:
                    await close_nurseries(task, scheduler.features)
                except BaseException as error:
                    if not is_fatal(error):
                        raise
                    scheduler.leave(error)
            if status is not None:
                await close_left_open(task, status, scheduler.features)
        self._scope = None  # it is left in any case, and to cancel it costs a tenth of a short connection
        if record.state != DEAD:
            scheduler.stop_actor(record, reason)

    async def _handshake(self, secure: Tls) -> None:
        sock = self._socket
        with trio.fail_after(self._limits.handshake):
            while not secure.ready:
                await wait_readable(sock)
                try:
                    data = sock.recv(CHUNK)
                except OSError as error:
                    if error.errno in WOULD_BLOCK:
                        continue
                    raise
                if not data:
                    raise ConnectionError(f"{self.peer} closed it before the TLS handshake was done")
                self.bytes_in += len(data)
                try:
                    secure.handshake(data)
                finally:
                    self._answer(secure)
        if self._unsent:
            self._flush()

    def _answer(self, secure: Tls) -> None:
        """What TLS itself has to say (its handshake, an alert)."""
        if secure.outgoing() and self._sender is None:
            self._flush()

    async def _turn(
        self,
        record: Record[Any],
        scheduler: Scheduler,
        task: Task,
        status: object,
        function: Any,
        args: tuple[Any, ...],
    ) -> None:
        """Have the actor run ``function``: here if it is idle, else through its mailbox."""
        if record.state == IDLE:
            await scheduler.run_here(self, record, function, args)
            if left_open(task, status, scheduler.features):
                raise _LeftOpen("cancel scope or nursery")
            if scheduler.locks and task in scheduler.locks:
                raise _LeftOpen("trio lock")
            if self._lines:  # a quantum of lines was handled, or a slice's worth, and there are more
                if scheduler.slice_is_over():
                    await scheduler.take_turn()
                else:
                    await trio.lowlevel.checkpoint()
        else:
            while record.state != DEAD:
                turn = _Turn(task)
                record.post((function, args, turn))
                got = await park(Trap(turn.abort))
                if got is not WAKE:
                    got.unwrap()
                if not turn.refused:
                    return

    # --- the end ------------------------------------------------------------------------------

    def ended(self, reason: ExitReason) -> None:
        """The actor is dead (told by its listener). What it wrote last still goes out, if the kernel takes it; after an
        orderly end the rest has ``linger`` seconds."""
        if self._record is None:
            return
        orderly = not reason.abnormal
        self._record = None
        self._lines = None
        if self._scope is not None:
            self._scope.cancel(reason="its actor has ended")
        self._send_some()
        secure = self._secure
        if secure is not None and orderly and secure.ready:
            secure.close()
            self._send_some()
        if self.unsent and orderly:
            self._flush()
        if self._sender is None:
            self._close(orderly)
        elif orderly:
            self._sender.deadline = trio.current_time() + self._limits.linger
        else:
            self._sender.cancel(reason="its actor has ended")

    def _close(self, orderly: bool) -> None:
        """Nothing more goes out. Is the peer still sending?"""
        self._unsent = None
        self.unsent = 0
        sock = self._socket
        nursery = self._scheduler.nursery
        if orderly and self.bytes_out and nursery is not None:
            try:
                still = sock.recv(CHUNK)
            except OSError:
                still = b""
            if still and start_or_not(nursery, self._see_off, name="actorkit: a connection's peer still sends"):
                return
        self._close_socket()

    async def _see_off(self) -> None:
        with contextlib.suppress(MemoryError), trio.move_on_after(self._limits.linger, shield=True):
            await read_away(self._socket)
        self._close_socket()

    def _close_socket(self) -> None:
        if self._socket.fileno() >= 0:
            notify_closing(self._socket)
            self._socket.close()


def _as_bytes(data: Any) -> bytes:
    """What is written must not change while it waits, so it is copied."""
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    raise TypeError(f"write takes bytes, not {type(data).__name__}: encode it first")
