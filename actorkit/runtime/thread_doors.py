"""Threads: how other threads reach the actors of a node, and how an actor has a thread work for it.

Nothing of a node may be used outside the thread of its trio run, but for ``node.from_thread``. What
it is given passes through trio's entry queue, so order is kept per thread and receiver.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, overload

import trio

from ..heap.threads import in_account
from ..log import log
from .actor.names import CURRENT_ENGINE
from .actor.ref import BoundedCall, Ref

if TYPE_CHECKING:
    from .actor.later import Later
    from .life.node_engine import NodeEngine

__all__ = ["FromThread", "to_thread"]

A = TypeVar("A")
R = TypeVar("R")
P = ParamSpec("P")


class FromThread:
    """``node.from_thread``: the door for other threads.

    All of it raises trio.RunFinishedError when trio has ended.

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
        """``ref.cast`` from a thread. Returns at once; whether the message was accepted is not
        told.

        Raises NotAMessage for what is no declared message of the actor. The fault is the caller's.
        """
        ref.check_declared(method)
        self._soon(lambda: ref.cast_packed(method, args, kwargs))

    def send(self, ref: Ref[Any], message: object) -> None:
        """``ref.send`` from a thread. Returns at once; whether the message was accepted is not
        told."""
        arguments = (message,)
        del message  # it is the receiver's now
        self._soon(lambda: ref.send_packed(arguments))

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
        """``await ref.call`` from a thread, which waits for the answer. ``ref`` may be
        ``ref.within(seconds)``.

        Not for a thread that an actor waits for and that calls this very actor: neither would go
        on.

        Raises what the call raises.
        """

        async def ask() -> Any:
            nonlocal args, kwargs
            CURRENT_ENGINE.set(self._engine)
            answer = ref.call(method, *args, **kwargs)
            args, kwargs = (), {}  # they are the receiver's now, see ``call_door``
            return await answer

        return trio.from_thread.run(ask, trio_token=self._engine.trio_token)

    def _soon(self, send: Callable[[], object]) -> None:
        context = self._engine.base_context.copy()

        def run() -> None:
            try:
                context.run(send)
            except Exception:
                log.exception("a message from a thread could not be sent")

        self._engine.trio_token.run_sync_soon(run)


async def to_thread(function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a blocking ``function`` in a worker thread, as ``trio.to_thread.run_sync`` does, on the
    account of the actor that asks: what it allocates there counts against the actor's
    ``max_heap_size``, and requests beyond its hard cap are refused.

    Use it in actors with a budget. The thread itself cannot be interrupted: a loop of small
    allocations is found out when it returns.

    Returns what ``function`` returns, and raises what it raises. Raises MemoryError for a request
    beyond the hard cap; the fault is the function's.

    Example::

        rows = await ak.to_thread(parse, text)
    """
    engine = CURRENT_ENGINE.get(None)
    current = None if engine is None else engine.current
    call = partial(function, *args, **kwargs)
    account = None if current is None else current.account
    return await trio.to_thread.run_sync(call if account is None else in_account(account, call))
