"""Running a service from a command line: signals in, exit status out.

The library itself sets up no signal handlers and ends no process. Whoever's ``main`` is the whole program may use
``ak.run`` instead of ``trio.run``: SIGTERM stops it in order, and a node that stopped itself for want of memory becomes
an exit status that tells it from a crash.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar, TypeVarTuple, Unpack

import trio

from .errors import NodeOutOfMemory

__all__ = ["run"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def run(main: Callable[[Unpack[Ts]], Awaitable[T]], *args: *Ts) -> T | None:
    """``trio.run`` for a service.

    SIGTERM cancels ``main``, so that its nodes stop in order; None is returned then. Not for programs that have signal
    handling of their own, nor for other threads than the main one: use ``trio.run`` there.

    Raises:
        SystemExit: with ``NodeOutOfMemory.exit_status``, when a node stopped itself for want of memory.

    Example::

        if __name__ == "__main__":
            ak.run(main)
    """

    async def until_told() -> T | None:
        result: T | None = None
        async with trio.open_nursery() as nursery:
            with trio.open_signal_receiver(signal.SIGTERM) as signals:

                async def stop() -> None:
                    async for _ in signals:
                        nursery.cancel_scope.cancel(reason="SIGTERM")

                nursery.start_soon(stop)
                result = await main(*args)
                nursery.cancel_scope.cancel(reason="main has returned")
        return result

    try:
        return trio.run(until_told, strict_exception_groups=True)
    except BaseException as error:
        found = _out_of_memory(error)
        if found is None:
            raise
        print(found, file=sys.stderr)
        raise SystemExit(found.exit_status) from None


def _out_of_memory(error: BaseException) -> NodeOutOfMemory | None:
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error if isinstance(error, NodeOutOfMemory) else None
