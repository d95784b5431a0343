"""Looks between two steps of trio's tasks: a node's governor does not wait for its turn.

A task that looks at memory is one of ten thousand. When ten thousand sockets are readable, trio
runs a step of each of their readers before it runs the governor's task again, and each step may
take memory: the node can go from plenty to dead within one pass of the loop. So the governor does
not rely on a task. trio calls an *instrument* at the end of every step. If a look is due by then,
it is taken there and acted upon there. No actor's code runs at that moment, an idle victim is
cleared at once, and the next step finds the memory.

That costs one reading of the clock per step, a fraction of a microsecond, while a governor runs.

The *step fence* goes further, for processes in which nothing is seen inside a message. With the
extension, a budget ends an actor in the middle of its message. Without it, one handler can take all
memory before anybody looks. The kernel has a limit that fails a request instead of killing the
process: RLIMIT_DATA, on memory that is private and writable (setrlimit(2), Linux 4.7). It applies
to the whole process, so it is set before each step of a task and lifted after it: the MemoryError
is raised in the step that asked for too much, and trio's own bookkeeping is never refused.

The fence is opt-in. It refuses small requests as well as large ones, and code in C does not always
survive that; threads share it; and it costs about two microseconds per step. Where the allocation
clock runs, budgets do better.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import trio
from trio.lowlevel import Task

from ..pressure.process_memory import ProcessMemory

resource: Any
try:
    import resource as _resource

    resource = _resource
except ImportError:  # Windows
    resource = None

__all__ = ["BetweenSteps", "StepFence", "can_fence"]

SHARE: Final = 0.75
"""Part of the headroom that one step may take: the resident set holds more than what is private and
writable, and the next look needs some memory too."""


class BetweenSteps(trio.abc.Instrument):
    """Takes the looks that are due. It is one of trio's instruments while the governor runs.

    Args:
        look: takes a look and returns when the next one is due, on trio's clock. It never raises:
            trio drops an instrument that does.
    """

    def __init__(self, look: Callable[[], float]) -> None:
        self._look = look
        self._now: Callable[[], float] = trio.lowlevel.current_clock().current_time
        #: When the next look is due, on trio's clock. Set it to 0 to have one after the present
        #: step.
        self.due = 0.0

    def after_task_step(self, task: Task) -> None:
        """trio has run a step of some task, an actor's or not."""
        if self._now() >= self.due:
            self.look()

    def look(self) -> None:
        """Take a look now."""
        self.due = self._look()

    def close(self) -> None:
        """The governor has ended."""


def can_fence() -> bool:
    """Does this system limit data, and say how much of it there is?"""
    if resource is None or not hasattr(resource, "RLIMIT_DATA"):
        return False
    process = ProcessMemory()
    try:
        return process.read().data is not None
    finally:
        process.close()


class StepFence(BetweenSteps):
    """``BetweenSteps``, with a limit of data during each step that leaves room for what is left,
    and no more.

    Args:
        look: see ``BetweenSteps``.
        headroom: bytes that were left at the last look.
    """

    def __init__(self, look: Callable[[], float], headroom: Callable[[], int]) -> None:
        super().__init__(look)
        self._headroom = headroom
        self._process = ProcessMemory()
        #: The program's own limits, in force between the steps.
        self._soft, self._hard = resource.getrlimit(resource.RLIMIT_DATA)
        #: The limit in force during a step.
        self._bound = self._soft

    def before_task_step(self, task: Task) -> None:
        """trio is about to run a step of some task."""
        resource.setrlimit(resource.RLIMIT_DATA, (self._bound, self._hard))

    def after_task_step(self, task: Task) -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (self._soft, self._hard))
        super().after_task_step(task)

    def look(self) -> None:
        super().look()
        data = self._process.read().data
        if data is not None:
            bound = data + int(SHARE * self._headroom())
            self._bound = bound if self._soft == resource.RLIM_INFINITY else min(bound, self._soft)

    def close(self) -> None:
        super().close()
        resource.setrlimit(resource.RLIMIT_DATA, (self._soft, self._hard))
        self._process.close()
