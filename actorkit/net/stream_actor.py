"""StreamActor: the class to subclass for connections."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ..behaviours.actor import Actor
from ..runtime.actor.dispatch import is_synchronous
from ..runtime.base.interrupts import interruptible

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["StreamActor", "stream_callbacks"]

BATCH: Final = 64
"""Messages of one connection per activation, as the scheduler's quantum. Fewer when the slice is over."""


class StreamActor(Actor):
    """A connection as an actor: it reads its socket *and* gets messages from others, with one idle task.

    Give it to ``ak.tcp_listener``, ``ak.tls_listener`` or ``ak.unix_listener``; every accepted connection becomes one,
    under the listener's dynamic supervisor. All of it happens one at a time: ``connected``, each ``received``, each
    cast, call and info. So no locks, and nothing reads the socket while a handler waits: a peer that sends too fast is
    slowed down by TCP.

    ``connected()``       first, when there is a peer (after the TLS handshake).
    ``received(data)``    one line (or frame, or chunk: the listener's choice), without its end.
    ``write(data)``       to the peer; never waits. See there for slow readers.
    ``connection``        ``peer``, ``bytes_in``, ``bytes_out``, ``unsent``, ``dropped``.

    ActorBase may be plain or async; plain ones are several times faster. When the peer closes or resets, the actor
    stops with Normal or Shutdown (so ``terminate`` runs, if it has one); when the actor ends, for whatever reason, the
    socket is closed. ``connection`` and ``write`` are there from ``connected`` on, not in the constructor.

    Example::

        class Echo(ak.StreamActor):
            def received(self, line: bytes) -> None:
                self.write(line + b"\\n")

            @ak.cast
            def announce(self, text: bytes) -> None:       # other actors: ref.cast(Echo.announce, b"hi")
                self.write(text)

        tree = ak.supervisor(ak.tcp_listener(Echo, port=7000, max_line=4096))
    """

    __slots__ = ("connection",)

    callbacks_of_its_kind = ("connected", "received")
    """What the connection's reader calls: no messages."""

    connection: Connection

    def connected(self) -> Any:
        """There is a peer. May be async."""

    def received(self, data: Any, /) -> Any:
        """A message from the peer, as bytes. May be async."""

    def write(self, data: bytes) -> bool:
        """Send to the peer, without waiting. Several writes of one slice of work go out in one system call.

        Bound and policy: what the peer has not taken stays in a buffer of ``max_unsent`` bytes (a single write may be
        larger, if the buffer is empty). One write too many, and the connection ends (Failure, "slow reader"), or with
        ``slow_reader="drop"`` the data is dropped. False: not accepted, for that or because the connection has ended.
        Raises TypeError for what is not bytes.
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


def _receive(actor: StreamActor, messages: deque[bytes]) -> None:
    received = actor.received
    context = actor.ctx
    scheduler = context.scheduler
    left = scheduler.inline_left
    for _ in range(min(BATCH, len(messages))):
        received(messages.popleft())
        if context.control is not None:
            break
        left -= 1
        if left <= 0:
            over = scheduler.slice_is_over()
            left = scheduler.inline_left
            if over:
                break
    scheduler.inline_left = left


async def _receive_async(actor: StreamActor, messages: deque[bytes]) -> None:
    received = actor.received
    context = actor.ctx
    scheduler = context.scheduler
    for _ in range(min(BATCH, len(messages))):
        await received(messages.popleft())
        if context.control is not None:
            break
        scheduler.inline_left -= 1
        if scheduler.inline_left <= 0 and scheduler.slice_is_over():
            break
