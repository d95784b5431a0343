"""Runs a program under one of trio's many orders: a seed decides which of the ready tasks runs
first.

trio promises no order among ready tasks. If it is asked to be deterministic (as its hypothesis
plugin asks), it shuffles each batch by a generator of its own, ``trio._core._run._r``. So a seed is
a schedule, and the same seed gives the same schedule, but for two things that no seed decides:
which of two equal deadlines comes first (trio goes by their addresses), and where the runtime's
time slices end (give ``slice_seconds``). Only this module touches trio's generator.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import trio
import trio._core._run as trio_run
from trio.testing import MockClock

T = TypeVar("T")


@contextmanager
def shuffled(seed: int) -> Iterator[None]:
    """Within the block, ``trio.run`` runs tasks in the order of this seed."""
    state, flag = trio_run._r.getstate(), trio_run._ALLOW_DETERMINISTIC_SCHEDULING
    trio_run._r.seed(seed)
    trio_run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
    try:
        yield
    finally:
        trio_run._r.setstate(state)
        trio_run._ALLOW_DETERMINISTIC_SCHEDULING = flag  # type: ignore[misc]


def run_shuffled(seed: int, program: Callable[..., Awaitable[T]], *args: Any) -> T:
    """``trio.run`` with the order of this seed, and a clock that jumps when nothing runs."""
    with shuffled(seed):
        return trio.run(program, *args, clock=MockClock(autojump_threshold=0))
