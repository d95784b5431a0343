"""Worker threads that work for an actor.

A thread begins in no account. What a function allocates in a worker thread is charged to the actor
that it works for only if the thread enters the actor's account. It must leave the account again,
since pools reuse their threads. In a worker thread the account can become due and large requests
are refused, but nothing is interrupted: only code of the main thread is.
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
    """Returns the function wrapped so that the thread that calls it is in the account meanwhile.

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
