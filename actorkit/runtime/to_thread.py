"""Blocking calls in a worker thread, on the actor's account."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

import trio

from ..heap.threads import in_account
from .actor.names import CURRENT_SCHEDULER

__all__ = ["to_thread"]

P = ParamSpec("P")
R = TypeVar("R")


async def to_thread(function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a blocking ``function`` in a worker thread, as ``trio.to_thread.run_sync`` does, on the account of the actor
    that asks: what it allocates there counts against the actor's ``max_heap_size``, and requests beyond its hard cap
    are refused.

    Use it in actors with a budget. The thread itself cannot be interrupted: a loop of small allocations is found out
    when it returns.

    Example::

        rows = await ak.to_thread(parse, text)
    """
    scheduler = CURRENT_SCHEDULER.get(None)
    current = None if scheduler is None else scheduler.current
    call = partial(function, *args, **kwargs)
    account = None if current is None else current.account
    return await trio.to_thread.run_sync(call if account is None else in_account(account, call))
