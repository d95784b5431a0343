"""Let go of an exception that has been reported: what its frames hold must be free when its actor
is.

An exception keeps the frames that it has passed, and they keep the actor's state. Once its report
is written, the frames of code that has ended are cleared. The frames of coroutines and generators
are only let go of: they may be suspended, with the exception shared, and clearing a suspended frame
would end its code (until Python 3.13).
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Collection
from types import FrameType
from typing import Final

__all__ = ["alone", "let_go"]

MAY_SUSPEND: Final = (
    inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR | inspect.CO_ITERABLE_COROUTINE
)

MOST: Final = 100
"""Exceptions that are followed from one, by cause, context and group."""


def alone(error: BaseException) -> BaseException:
    """``error``, or the only exception in its group: what a task in an actor's nursery has
    raised."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def let_go(error: BaseException) -> None:
    """Free what the frames of ``error`` hold, and those of the exceptions that led to it.

    An exception that a caller is handling at this moment is left alone: it is the caller's. (Python
    makes it the context of whatever is raised further down.)
    """
    todo: list[BaseException | None] = [error]
    running = _stack() if error.__context__ is not None else ()
    for _ in range(MOST):
        if not todo:
            break
        one = todo.pop()
        if one is None or (one is not error and _passes(one, running)):
            continue
        todo += (one.__cause__, one.__context__)
        if isinstance(one, BaseExceptionGroup):
            todo += one.exceptions
        tb = one.__traceback__
        one.__traceback__ = None
        while tb is not None:
            frame = tb.tb_frame
            if not frame.f_code.co_flags & MAY_SUSPEND:
                try:
                    frame.clear()
                except RuntimeError:  # it runs
                    pass
            tb = tb.tb_next


def _stack() -> set[FrameType]:
    """The frames that are being executed now, but for this one and its caller's (they would hold
    themselves)."""
    frames = set()
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        frames.add(frame)
        frame = frame.f_back
    return frames


def _passes(error: BaseException, frames: Collection[FrameType]) -> bool:
    """Has ``error`` passed one of ``frames``?"""
    tb = error.__traceback__
    while tb is not None:
        if tb.tb_frame in frames:
            return True
        tb = tb.tb_next
    return False
