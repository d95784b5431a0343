"""Worker threads that work for an actor.

Each thread has an account of its own, and begins with none. What a function allocates in a worker thread is
charged to the actor that it works for only if the thread enters the actor's account, and since pools use
their threads again, it must leave it again. In a thread the account can become due and large requests are
refused, but nobody is interrupted: that is the main thread's alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from . import clock

__all__ = ["in_account"]

P = ParamSpec("P")
R = TypeVar("R")


def in_account(account: clock.Account | None, function: Callable[P, R]) -> Callable[P, R]:
    """The function, run with the account entered in whatever thread calls it.

    Example::

        await trio.to_thread.run_sync(in_account(account, parse), text)
    """

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        previous = clock.enter(account)
        try:
            return function(*args, **kwargs)
        finally:
            clock.enter(previous)

    return run
