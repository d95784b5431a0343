"""Activations: where the runtime enters an actor's account and calls the actor's code, and so where
a walk up the stack of that code ends.

Theory of operation. When an alarm interrupts an actor's code, two things are to be known: which
frames are the actor's, since what they hold is the actor's too, and whether an exception may be
raised there. Each function of the runtime is one of three things to such a walk.

- An **activation** has entered the account of the actor that it runs: the pump, an inline call, a
  birth, a step of a coroutine. The innermost one on the stack is the one that has entered the
  account at hand, whoever has called it. There the actor's frames end. It copes with whatever the
  code raises, at any point.
- A **way in** lies between an activation and code of the actor, or between two functions of it, and
  has nothing half done when it calls: a loop over a connection's messages, the function of a
  process, a search with a predicate. What it holds is the actor's, so it counts. An exception may
  pass through it, but none is raised while it is on top itself.
- **Any other** function of the runtime is at work for the actor. What it has at hand may be half
  done, so nothing is raised above it, and a walk from there proves nothing: a message may be
  charged and not queued yet.

So a new function of the runtime that calls users' code in an actor's turn is marked as one of the
first two, or the actor has no budget inside what it calls (``tests/architecture`` has the list).

Code objects are told apart by identity: those of two modules may be equal.
"""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any, Final, TypeVar

from ...heap.python.interruption import is_own
from .trio_internals import TASK_STEP

__all__ = ["activation", "is_activation", "is_way_in", "of_the_actor", "way_in"]

F = TypeVar("F", bound=Callable[..., Any])

_ACTIVATIONS: Final[dict[int, CodeType]] = {} if TASK_STEP is None else {id(TASK_STEP): TASK_STEP}
"""By the code's id; the code is kept, so that the id stays its own. Trio's step of a task is one in
the degraded mode, where an instrument enters the account of who owns the task."""

_WAYS_IN: Final[dict[int, CodeType]] = {}


def activation(function: F) -> F:
    """Mark a function that enters an actor's account and calls the actor's code. Above all other
    decorators: they may give it another code object."""
    code: CodeType = function.__code__
    _ACTIVATIONS[id(code)] = code
    return function


def way_in(function: F) -> F:
    """Mark a function that calls code of the actor while it has nothing half done."""
    code: CodeType = function.__code__
    _WAYS_IN[id(code)] = code
    return function


def is_activation(frame: FrameType) -> bool:
    """Has this frame entered the account of the actor whose code it calls?"""
    return id(frame.f_code) in _ACTIVATIONS


def is_way_in(frame: FrameType) -> bool:
    """Is this a frame of the runtime that has nothing half done when it calls code of the actor?"""
    return id(frame.f_code) in _WAYS_IN


def of_the_actor(top: FrameType | None) -> tuple[FrameType, ...] | None:
    """The frames that are the actor's, from ``top``, the interrupted one, down to the activation,
    which is not among them. None: the runtime is at work somewhere between, or there is no
    activation."""
    frames: list[FrameType] = []
    frame = top
    while frame is not None:
        code = id(frame.f_code)
        if code in _ACTIVATIONS:
            return tuple(frames)
        if is_own(frame) and code not in _WAYS_IN:
            return None
        frames.append(frame)
        frame = frame.f_back
    return None
