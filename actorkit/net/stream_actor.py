"""StreamActor: the class to subclass for connections.

How it works. A connection's reader does not call ``received`` itself. It runs one activation of the
actor with what ``stream_callbacks`` has chosen for the class: a plain or an async loop over the
messages that have come, which stops early when the slice is over, or when the actor has something
more urgent to attend to (a kill, a system message). What is left stays in the deque for the next
activation.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ..behaviours.actor import Actor
from ..runtime.actor.dispatch import is_synchronous
from ..runtime.base.activations import way_in
from ..runtime.base.interrupts import interruptible

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["StreamActor", "stream_callbacks"]

BATCH: Final = 64
"""Messages of one connection in one activation, like the scheduler's quantum. Fewer when the slice
is over."""


class StreamActor(Actor):
    """A connection as an actor. It reads its socket *and* gets messages from others, and takes one
    task while it is idle.

    Give the class to ``ak.tcp_listener``, ``ak.tls_listener`` or ``ak.unix_listener``: every
    accepted connection becomes one actor, below the listener. Everything happens one at a time:
    ``connected``, each ``received``, each cast, call and info. So there are no locks; and nothing
    is read while a handler waits, so a peer that sends too fast is slowed down by TCP.

    Use it where the server answers what peers send. For a client, or a conversation of several
    steps, a process (an async function) with a trio stream is simpler.

    ``connected()``       called first, when there is a peer; with TLS, after the handshake
    ``received(data)``    called with one message: a line or a frame without its end, or whatever
                          was read, as the listener was told
    ``write(data)``       sends to the peer; it never waits
    ``connection``        has ``peer``, ``bytes_in``, ``bytes_out``, ``unsent`` and ``dropped``

    Callbacks may be plain or async; plain ones are several times faster. When the peer closes or
    resets the connection, the actor stops with Normal or Shutdown, so its ``terminate`` runs if it
    has one. When the actor ends, for whatever reason, the socket is closed. ``connection`` and
    ``write`` are there from ``connected`` on, not yet in the constructor.

    Example::

        class Echo(ak.StreamActor):
            def received(self, line: bytes) -> None:
                self.write(line + b"\\n")

            @ak.cast
            def announce(self, text: bytes) -> None:  # others: ref.cast(Echo.announce, b"hi")
                self.write(text)

        tree = ak.supervisor(ak.tcp_listener(Echo, port=7000, max_line=4096))
    """

    __slots__ = ("connection",)

    callbacks_of_its_kind = ("connected", "received")
    """The connection's reader calls these; they are not messages."""

    connection: Connection

    def connected(self) -> Any:
        """Called when there is a peer, before the first ``received``. May be async. By default it
        does nothing."""

    def received(self, data: Any, /) -> Any:
        """Called with each message of the peer, as bytes. May be async. Does nothing by default."""

    def write(self, data: bytes) -> bool:
        """Send to the peer, without waiting. All that one slice of work writes goes out in one
        system call.

        What the peer has not taken is buffered, up to the listener's ``max_unsent`` bytes; a single
        write may be larger if the buffer is empty. A write that finds no room ends the connection
        with Failure("slow reader: …"); with ``slow_reader="drop"`` it is dropped and counted in
        ``connection.dropped`` instead.

        Returns False if the data was not accepted: for want of room, or because the connection has
        ended.

        Raises TypeError for what is not bytes, and RuntimeError in the constructor, when there is
        no connection yet, and in a thread other than the node's. All of these are the caller's
        fault.
        """
        try:
            connection = self.connection
        except AttributeError:
            raise RuntimeError(
                f"{type(self).__qualname__} wrote before it had a connection: there is none in the "
                f"constructor yet; write from connected() on"
            ) from None
        return connection.write(data)


def stream_callbacks(cls: type[StreamActor]) -> tuple[Callable[..., Any] | None, Callable[..., Any]]:
    """What a connection's reader runs: ``connected`` (None: the class has none of its own), and a
    function that gives ``received`` a batch of messages, plain or async as ``received`` is."""
    connected = None if cls.connected is StreamActor.connected else interruptible(cls.connected)
    received = interruptible(cls.received)
    return connected, _receive if is_synchronous(received) else _receive_async


@way_in
def _receive(actor: StreamActor, messages: deque[bytes]) -> None:
    received = actor.received
    context = actor.ctx
    engine = context.engine
    left = engine.inline_left
    for _ in range(min(BATCH, len(messages))):
        received(messages.popleft())
        if context.control is not None:
            break
        left -= 1
        if left <= 0:
            over = engine.slice_is_over()
            left = engine.inline_left
            if over:
                break
    engine.inline_left = left


@way_in
async def _receive_async(actor: StreamActor, messages: deque[bytes]) -> None:
    received = actor.received
    context = actor.ctx
    engine = context.engine
    for _ in range(min(BATCH, len(messages))):
        await received(messages.popleft())
        if context.control is not None:
            break
        engine.inline_left -= 1
        if engine.inline_left <= 0 and engine.slice_is_over():
            break
