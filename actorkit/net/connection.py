"""Connection: a socket's two ends in one actor, with at most one idle task.

Reading. One trio task a connection, the *reader*, sleeps until the socket is readable. What it has
read is handled as an activation of the actor, in the reader's own task, when the actor is idle;
otherwise it is put into the actor's mailbox as a message, and the reader waits until it has been
handled. So the actor does one thing at a time, whoever asks, and a peer that sends faster than its
actor works is slowed down by TCP.

Writing. ``write`` never waits. It adds to a buffer, which is sent in one system call when the
current slice of work is over. What the kernel does not take stays in the buffer, and a task that
lives only as long as that sends the rest. The buffer has a bound: a peer that does not read is
disconnected, or loses what is written, as the listener was told.

Closing. The socket is closed on every way out: end of the stream, a reset, a crash, a kill, the
node's stop. After an orderly end, what is buffered may still go out for ``linger`` seconds. If the
peer is still sending then, what it sends is read and forgotten for as long: a socket that is closed
with unread input is reset, and the last words may be lost on the way.

``transport`` moves the bytes and hides whether there is TLS; ``framing`` cuts them into messages;
``stream_actor`` runs the handlers. Here is who waits for what, and what ends when.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections import deque
from collections.abc import Callable
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final

import attrs
import trio
from trio.lowlevel import Task, current_task, wait_readable, wait_writable

from ..reasons import NORMAL, Crash, ExitReason, Failure, Shutdown
from ..runtime.actor.record import Record, RecordEngine
from ..runtime.actor.states import DEAD, IDLE
from ..runtime.base.trio_internals import (
    cancel_status,
    close_left_open,
    close_nurseries,
    complains_of_stack,
    is_fatal,
    left_open,
    start_or_not,
)
from .framing import BadFrame, Framing
from .limits import Limits
from .mailbox_turn import run_by_mailbox
from .transport import CHUNK, Peer, open_transport

if TYPE_CHECKING:
    from ..runtime.life.worker import Carrier

__all__ = ["Connection", "ConnectionKind"]

SMALL_CHUNK: Final = 4_096
"""Bytes that a reader asks for at first, and again when many messages come at once. What is read is
cut up in one go: for 64 KiB of short lines that takes as long as a slice."""
FEW: Final = 128
MANY: Final = 512
"""Messages in a read that filled its chunk: up to ``FEW`` ask for a larger chunk, more than
``MANY`` for a smaller one."""

HEADER: Final = 48
"""Bytes that a message takes beside its contents."""


@attrs.frozen
class ConnectionKind:
    """What all connections of one listener have in common."""

    connected: Callable[..., Any] | None
    """Run with the actor when there is a peer; None: nothing is."""
    received: Callable[..., Any]
    """Run with the actor and a deque of messages, from which it takes as many as it handles."""
    framing: Framing
    limits: Limits
    tls: ssl.SSLContext | None


class _LeftOpen(Exception):
    """A handler has left a scope, a nursery or a lock in the reader's task."""


class Connection:
    """One connection of a StreamActor; users meet it as ``StreamActor.connection``.

    ``peer``       the peer's address: (host, port) for TCP; a path, or empty, for Unix sockets
    ``bytes_in``   bytes that came over the wire (with TLS: encrypted ones)
    ``bytes_out``  bytes that went over the wire
    ``unsent``     bytes that were written and that the kernel has not taken yet
    ``dropped``    writes that found the buffer full and were refused

    To write, use ``StreamActor.write``.
    """

    __slots__ = (
        "_engine",
        "_framer",
        "_kind",
        "_max_unsent",
        "_messages",
        "_record",
        "_scheduled",
        "_scope",
        "_sender",
        "_transport",
        "coro",
        "dropped",
        "peer",
    )

    coro: Any
    """The suspended handler that the reader's task carries."""
    token: bool = False
    """The reader never draws from the run queue."""

    def __init__(self, record: Record[Any], sock: socket.socket, peer: Peer, kind: ConnectionKind) -> None:
        self._record: Record[Any] | None = record
        self._kind = kind
        self._max_unsent = kind.limits.max_unsent
        self._transport = open_transport(sock, kind.tls)
        self._framer = kind.framing()
        self._messages: deque[bytes] | None = None
        self._scope: trio.CancelScope | None = None
        self._scheduled = False
        self._sender: trio.CancelScope | None = None
        self._engine: RecordEngine = record.kind.engine
        self.peer = peer
        self.dropped = 0

    @property
    def bytes_in(self) -> int:
        """Bytes that came over the wire."""
        return self._transport.bytes_in

    @property
    def bytes_out(self) -> int:
        """Bytes that went over the wire."""
        return self._transport.bytes_out

    @property
    def unsent(self) -> int:
        """Bytes that were written and that the kernel has not taken."""
        return self._transport.unsent

    # --- as a carrier of handlers (see ``runtime.life.worker``) ----------------------------------

    @property
    def actor(self) -> Record[Any] | None:
        """Whose code the reader's task runs, and whose tasks its nurseries start."""
        return self._record

    def interrupt(self) -> None:
        """The actor was killed while a handler of it runs in the reader's task."""
        if self._scope is not None:
            self._scope.cancel(reason="its actor was killed")

    # --- writing ------------------------------------------------------------------------------

    def write(self, data: bytes) -> bool:
        """See ``StreamActor.write``."""
        record = self._record
        if record is None:
            return False
        if type(data) is not bytes:
            data = _as_bytes(data)
        transport = self._transport
        size = len(data)
        if transport.unsent and transport.unsent + size > self._max_unsent and not self._make_room(record, size):
            return False
        if not self._scheduled:
            engine = self._engine
            if get_ident() != engine.thread:
                raise engine.home.refuse("write to the peer of", record)
            self._scheduled = True
            engine.flushes.append(self._flush)
            if not engine.busy and not engine.flush_promised:
                engine.wake()
        transport.unsent += size
        if transport.chunks is None:
            transport.chunks = [data]
        else:
            transport.chunks.append(data)
        return True

    def _make_room(self, record: Record[Any], size: int) -> bool:
        """The buffer is full. What only waits for the end of the slice is not the peer's slowness,
        so the kernel is asked before the peer is judged."""
        self._engine.home.check("write to the peer of", record)
        limits, transport = self._kind.limits, self._transport
        self._send()
        if self._record is None:
            return False
        if not transport.unsent or transport.unsent + size <= limits.max_unsent:
            return True
        self.dropped += 1
        if limits.slow_reader == "disconnect":
            self._engine.end_now(
                record,
                Failure(
                    f"slow reader: {self.peer} left {transport.unsent} bytes unread, {size} more exceed "
                    f"max_unsent={limits.max_unsent}"
                ),
            )
        return False

    def _flush(self) -> None:
        """The slice is over: hand the buffer to the kernel, and what it does not take to a task."""
        self._scheduled = False
        if self._sender is not None:
            return
        transport = self._transport
        try:
            transport.send()
        except OSError as error:
            self._broken(error)
        if transport.unsent and transport.can_send():
            self._sender = trio.CancelScope(shield=True)
            nursery = self._engine.nursery
            assert nursery is not None
            if not start_or_not(nursery, self._send_rest, name="actorkit: unsent output of a connection"):
                self._sender = None
                self._broken(MemoryError("no memory for the task that sends the rest"))

    def _send(self) -> None:
        try:
            self._transport.send()
        except OSError as error:
            self._broken(error)

    async def _send_rest(self) -> None:
        """Send what the kernel did not take, as it takes it."""
        sender, transport = self._sender, self._transport
        assert sender is not None
        try:
            with sender:
                while transport.unsent:
                    await wait_writable(transport.socket)
                    self._send()
        except (trio.ClosedResourceError, OSError, MemoryError) as error:
            self._broken(error)
        late = sender.cancelled_caught
        self._sender = None
        if self._record is None:
            self._close(orderly=not late)

    def _broken(self, error: Exception) -> None:
        """The peer has gone while we wrote, or there is no memory to go on."""
        self._transport.forget()
        record = self._record
        if record is not None:
            self._engine.stop_actor(record, Shutdown(f"connection lost: {error}"))

    # --- the reader ---------------------------------------------------------------------------

    async def serve(self) -> None:
        """The reader task, from the first byte to the closed socket."""
        record = self._record
        if record is None:
            return
        engine = self._engine
        task = current_task()
        try:
            engine.holders[task] = self
            with trio.CancelScope(shield=True) as self._scope:
                await self._read(record, engine, task)
        except RuntimeError as error:
            # Without trio's private names, leaving the scope is what finds one that a handler left
            # open inside.
            if engine.features.cancel_status or not complains_of_stack(error):
                raise
            engine.blame(record, "its handler left a cancel scope open: leave it in the message that opened it")
        except MemoryError as error:  # for its scope or for what was read: it costs this connection, not the node
            if record.state != DEAD:
                engine.end_now(record, Crash.from_exception(error))
        finally:
            self._scope = None
            engine.holders.pop(task, None)

    async def _read(self, record: Record[Any], engine: RecordEngine, task: Task) -> None:
        """``_receive``, what comes before it, and what follows from the way that it ends."""
        status = cancel_status(task, engine.features)
        reason: ExitReason = NORMAL
        kind = self._kind
        try:
            if not self._transport.ready:
                await self._shake_hands()
            if kind.connected is not None:
                await self._turn(record, engine, task, status, kind.connected, ())
            reason = await self._receive(record, engine, task, status)
        except (OSError, trio.ClosedResourceError) as error:
            reason = Shutdown(f"connection lost: {error}")
        except trio.TooSlowError:
            reason = Shutdown(f"{self.peer} did not finish its TLS handshake in {kind.limits.handshake:g} s")
        except _LeftOpen as what:
            engine.repairs += 1
            engine.blame(record, f"its handler left a {what} open: leave it in the message that opened it")
            with trio.CancelScope(shield=True):
                try:
                    await close_nurseries(task, engine.features)
                except BaseException as error:
                    if not is_fatal(error):
                        raise
                    engine.leave(error)
            if status is not None:
                await close_left_open(task, status, engine.features)
        self._scope = None  # it is left in any case, and to cancel it costs a tenth of a short connection
        if record.state != DEAD:
            engine.stop_actor(record, reason)

    async def _receive(self, record: Record[Any], engine: RecordEngine, task: Task, status: object) -> ExitReason:
        """Read, cut into messages and have them handled, until the stream or the actor ends.
        Returns the reason to stop the actor with."""
        transport, framer, received = self._transport, self._framer, self._kind.received
        sock = transport.socket
        chunk = SMALL_CHUNK
        while record.state != DEAD:
            if transport.full:  # there is more, and to wait for it would cost a pass
                await engine.turn_if_due()
            else:
                await wait_readable(sock)
                engine.woken()
            data = transport.read(chunk)
            if transport.owes:
                self._answer()
            if data is None:
                continue
            if not data:
                break
            reason: ExitReason | None = None
            try:
                messages = framer.feed(data)
            except BadFrame as error:
                messages = error.complete
                reason = Shutdown(f"{self.peer} sent a {error}")
            if transport.full:
                chunk = _next_chunk(chunk, len(messages))
            if record.account is not None:  # what it keeps of them was allocated in nobody's account
                record.account.charge(len(data) + HEADER * len(messages))
            # What waits is held by the deque alone, so that it is gone as soon as it is handled.
            data = b""
            self._messages = deque(messages)
            messages = []
            while self._messages and record.state != DEAD:
                await self._turn(record, engine, task, status, received, (self._messages,))
            self._messages = None
            if reason is not None:
                return reason
            if transport.eof:
                break
        return NORMAL

    async def _shake_hands(self) -> None:
        """Raises OSError, and TooSlowError."""
        transport = self._transport
        with trio.fail_after(self._kind.limits.handshake):
            while not transport.ready:
                await wait_readable(transport.socket)
                try:
                    if not transport.shake_hands():
                        raise ConnectionError(f"{self.peer} closed it before the TLS handshake was done")
                finally:
                    self._answer()
        if transport.unsent:
            self._flush()

    def _answer(self) -> None:
        """Send what the transport itself has to say (its handshake, an alert)."""
        if self._transport.owes and self._sender is None:
            self._flush()

    async def _turn(
        self,
        record: Record[Any],
        engine: RecordEngine,
        task: Task,
        status: object,
        function: Any,
        args: tuple[Any, ...],
    ) -> None:
        """Have the actor run ``function``: here if it is idle, otherwise through its mailbox."""
        if record.state == IDLE:
            await engine.run_here(self, record, function, args)
            if left_open(task, status, engine.features):
                raise _LeftOpen("cancel scope or nursery")
            if engine.locks and task in engine.locks:
                raise _LeftOpen("trio lock")
            if self._messages:  # a quantum of messages was handled, or a slice's worth, and there are more
                if engine.slice_is_over():
                    await engine.take_turn()
                else:
                    await trio.lowlevel.checkpoint()
        else:
            await run_by_mailbox(record, task, function, args)

    # --- the end ------------------------------------------------------------------------------

    def ended(self, reason: ExitReason) -> None:
        """The actor is dead; the listener says so. What the actor wrote last still goes out, as far
        as the kernel takes it; after an orderly end the rest has ``linger`` seconds."""
        if self._record is None:
            return
        orderly = not reason.abnormal
        transport = self._transport
        self._record = None
        self._messages = None
        if self._scope is not None:
            self._scope.cancel(reason="its actor has ended")
        self._send()
        if orderly:
            transport.say_goodbye()
            self._send()
            if transport.unsent:
                self._flush()
        if self._sender is None:
            self._close(orderly)
        elif orderly:
            self._sender.deadline = trio.current_time() + self._kind.limits.linger
        else:
            self._sender.cancel(reason="its actor has ended")

    def _close(self, orderly: bool) -> None:
        """Nothing more goes out. Is the peer still sending?"""
        transport = self._transport
        transport.forget()
        nursery = self._engine.nursery
        if orderly and transport.bytes_out and nursery is not None and transport.still_comes():
            name = "actorkit: a connection's peer still sends"
            if start_or_not(nursery, self._see_off, name=name):
                return
        transport.close()

    async def _see_off(self) -> None:
        with contextlib.suppress(MemoryError), trio.move_on_after(self._kind.limits.linger, shield=True):
            await self._transport.read_away()
        self._transport.close()


def _next_chunk(chunk: int, messages: int) -> int:
    """How much to ask for after a read that filled its chunk and had so many messages."""
    if messages <= FEW:
        return min(4 * chunk, CHUNK)
    if messages > MANY:
        return max(chunk // 4, SMALL_CHUNK)
    return chunk


def _as_bytes(data: Any) -> bytes:
    """A copy: what is written must not change while it waits."""
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    raise TypeError(f"write takes bytes, not {type(data).__name__}: encode it first")


if TYPE_CHECKING:

    def _as_carrier(connection: Connection) -> Carrier:
        """The reader takes the place of a worker; type checkers see to it that it can."""
        return connection
