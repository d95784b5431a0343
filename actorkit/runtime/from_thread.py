"""Sending from other threads. Nothing else of a node may be used outside its own thread.

Order is kept per thread and receiver: requests pass through trio's entry queue.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, overload

import trio

from ..log import log
from .actor.names import CURRENT_SCHEDULER
from .actor.ref import BoundedCall, Ref

if TYPE_CHECKING:
    from .actor.later import Later
    from .life.node_engine import NodeEngine

__all__ = ["FromThread"]

A = TypeVar("A")
R = TypeVar("R")
P = ParamSpec("P")


class FromThread:
    """``node.from_thread``: the door for threads.

    Example::

        def worker() -> None:                            # in a thread
            node.from_thread.cast(room, Room.say, b"hi")
            members = node.from_thread.call(room, Room.count)
    """

    def __init__(self, engine: NodeEngine) -> None:
        self._engine = engine

    def cast(
        self, ref: Ref[A], method: Callable[Concatenate[A, P], object], /, *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """``ref.cast`` from a thread; returns at once. Raises NotAMessage, and trio.RunFinishedError when trio has
        ended."""
        ref.check_declared(method)
        self._soon(lambda: ref.cast(method, *args, **kwargs))

    def send(self, ref: Ref[Any], message: object) -> None:
        """``ref.send`` from a thread; returns at once."""
        self._soon(lambda: ref.send(message))

    @overload
    def call(
        self,
        ref: Ref[A] | BoundedCall[A],
        method: Callable[Concatenate[A, P], Coroutine[Any, Any, R]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R: ...
    @overload
    def call(
        self,
        ref: Ref[A] | BoundedCall[A],
        method: Callable[Concatenate[A, P], Later[R]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R: ...
    @overload
    def call(
        self, ref: Ref[A] | BoundedCall[A], method: Callable[Concatenate[A, P], R], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...
    def call(self, ref: Ref[Any] | BoundedCall[Any], method: Any, /, *args: Any, **kwargs: Any) -> Any:
        """``await ref.call`` from a thread: blocks the thread for the answer. Raises what the call raises.
        ``ref`` may be ``ref.within(seconds)``. Not from a thread that an actor waits for and that calls this very
                actor."""

        async def ask() -> Any:
            CURRENT_SCHEDULER.set(self._engine)
            return await ref.call(method, *args, **kwargs)

        return trio.from_thread.run(ask, trio_token=self._engine.trio_token)

    def _soon(self, send: Callable[[], object]) -> None:
        context = self._engine.base_context.copy()

        def run() -> None:
            try:
                context.run(send)
            except Exception:
                log.exception("a message from a thread could not be sent")

        self._engine.trio_token.run_sync_soon(run)
