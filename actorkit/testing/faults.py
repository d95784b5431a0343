"""The kinds of faults that a ``FaultPlan`` knows: what happens, and when. Frozen data;
``fault_plan`` makes them happen.

A fault of a message happens at message number ``on`` of a life (1: the first; the callbacks
``init`` and ``terminate`` are not messages), or, with ``chance``, at any message with that
probability. ``times`` bounds how often it happens in all lives together.

Faults of your own: subclass ``WhileRunning``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Literal

import attrs
from attrs.validators import and_, ge, gt, in_, le, optional

from ..policy.memory.heap_limit import bytes_of

__all__ = [
    "Allocate",
    "Crash",
    "Fault",
    "Hang",
    "InjectedFault",
    "MessageFault",
    "Raise",
    "RefuseStart",
    "SwallowCancellation",
    "WhileRunning",
]


class InjectedFault(Exception):
    """What an injected fault raises: a test asked for it."""


@attrs.frozen
class Fault:
    """The base of all faults. Not used by itself."""

    @property
    def label(self) -> str:
        """Its name in ``FaultPlan.injected``."""
        return type(self).__name__


@attrs.frozen(kw_only=True)
class MessageFault(Fault):
    """A fault at a message.

    Args:
        on: at which message of each life, counted from 1.
        chance: instead of ``on``, the probability at each message, from the seed of the plan.
        times: how often at most, in all lives together.

    Raises ValueError for figures that cannot be.
    """

    on: int = attrs.field(default=1, validator=ge(1))
    chance: float | None = attrs.field(default=None, validator=optional(and_(gt(0), le(1))))
    times: float = attrs.field(default=math.inf, validator=ge(0))


@attrs.frozen(kw_only=True)
class CrashFault(MessageFault):
    """The handler raises ``InjectedFault`` before it does anything. Written ``faults.Crash``.

    Example::

        FaultPlan(faults.Crash(on=3, times=2))
    """

    @property
    def label(self) -> str:
        return "Crash"


Crash = CrashFault
"""The package has one class of that name: the exit reason of an actor whose handler has raised."""


@attrs.frozen(kw_only=True)
class RefuseStart(Fault):
    """The constructor raises. The first ``after`` starts succeed, and the next ``times`` fail.

    Args:
        times: how many starts fail.
        after: how many starts succeed before. 1: the tree starts, and its child does not restart.
    """

    times: int = attrs.field(default=1, validator=ge(0))
    after: int = attrs.field(default=0, validator=ge(0))


@attrs.frozen(kw_only=True)
class Hang(MessageFault):
    """``init``, ``terminate`` or a handler sleeps before it does anything. It can be cancelled.

    If a plan has such a fault for handlers, all handlers of the wrapped class are async, even those
    that were not: a synchronous handler cannot wait.

    Args:
        where: what hangs.
        seconds: how long, by trio's clock; inf: until it is cancelled.
    """

    where: Literal["init", "terminate", "handler"] = attrs.field(
        default="handler", validator=in_(("init", "terminate", "handler"))
    )
    seconds: float = attrs.field(default=math.inf, validator=ge(0))

    @property
    def label(self) -> str:
        return f"Hang in {self.where}"


@attrs.frozen(kw_only=True)
class SwallowCancellation(MessageFault):
    """The handler sleeps. If it is cancelled meanwhile, it ignores that, sleeps on behind a shield,
    and then does its work. A kill has to wait for it, and the node logs that.

    Args:
        seconds: how long it sleeps, by trio's clock. Must be finite: nothing could end the sleep.
    """

    seconds: float = attrs.field(default=10.0, validator=ge(0))

    def __attrs_post_init__(self) -> None:
        if math.isinf(self.seconds):
            raise ValueError("SwallowCancellation(seconds=inf) could never end: give a finite number of seconds")


@attrs.frozen(kw_only=True)
class Allocate(MessageFault):
    """The handler allocates, and keeps what it gets, until something stops it.

    Args:
        step: bytes of each piece, also as text such as ``"64 KiB"``.
        most: the handler raises MemoryError by itself when it has so much: a test without a budget
            must not take the machine down.
    """

    step: int = attrs.field(default=4096, converter=bytes_of, validator=ge(1))
    most: int = attrs.field(default=2**30, converter=bytes_of, validator=ge(1))


@attrs.frozen(kw_only=True)
class Raise(Fault):
    """A special method of the actor, and of a value in its state, raises ``InjectedFault`` whenever
    it is called.

    Args:
        where: ``__del__``, ``__repr__`` or ``__eq__``.
    """

    where: Literal["__del__", "__repr__", "__eq__"] = attrs.field(validator=in_(("__del__", "__repr__", "__eq__")))

    @property
    def label(self) -> str:
        return f"Raise in {self.where}"


@attrs.frozen(kw_only=True)
class WhileRunning(MessageFault):
    """A fault that is in force while the handler's own code runs, and nobody else's. Not used by
    itself: subclass it.

    Example::

        @attrs.frozen(kw_only=True)
        class NoFiles(WhileRunning):
            def begin(self, happened):
                happened()
                return functools.partial(unittest.mock.patch, "builtins.open", side_effect=OSError)
    """

    def begin(self, happened: Callable[[], None]) -> Callable[[], AbstractContextManager[Any]]:
        """A message begins at which the fault is due. The result is called for each step of the
        handler, from one ``await`` to the next, and the step runs within the context manager that
        it returns. Call ``happened`` when the fault has really happened: that is what the plan
        counts."""
        raise NotImplementedError


def __getattr__(name: str) -> Any:
    if name == "RefuseAllocation":
        raise ImportError(
            "actorkit.testing.faults.RefuseAllocation is no longer part of the package: it needed a hook in the "
            "interpreter's allocators, which is for actorkit's own tests. To see how an actor takes a MemoryError, "
            "give it a max_heap_size and let it ask for more at once, or write a WhileRunning fault that raises one"
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
