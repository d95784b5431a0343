"""The step fence: no step of a task takes more than what is left. For where nothing is seen inside a message.

With the extension a budget ends an actor in the middle of its message. Without it one handler can take all memory
before anybody looks. The kernel knows a limit that fails a request instead of killing the process: RLIMIT_DATA, on
what is private and writable (setrlimit(2), Linux 4.7). It is the whole process's, so it is set before each step of a
task and lifted after it: the MemoryError lands in the step that asked for too much, and trio's own bookkeeping is
never refused.

It is opt-in, since it refuses small requests as well as large ones, and code in C does not always survive that; since
threads share it; and since it costs some two microseconds a step. Where the clock counts, budgets do better.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from trio.lowlevel import Task

from ..pressure.process_memory import ProcessMemory
from .between_steps import BetweenSteps

if TYPE_CHECKING:
    from .node_governor import Governor

resource: Any
try:
    import resource as _resource

    resource = _resource
except ImportError:  # Windows
    resource = None

__all__ = ["StepFence", "can_fence"]

SHARE: Final = 0.75
"""Of the headroom: what is resident is more than what is private and writable, and the next look needs some too."""


def can_fence() -> bool:
    """Does this system limit data, and tell how much there is?"""
    if resource is None or not hasattr(resource, "RLIMIT_DATA"):
        return False
    process = ProcessMemory()
    try:
        return process.read().data is not None
    finally:
        process.close()


class StepFence(BetweenSteps):
    """Takes the looks that are due, and keeps each step within what was left at the last one.

    Args:
        governor: whose looks they are, and whose samples say what is left.
    """

    def __init__(self, governor: Governor) -> None:
        super().__init__(governor)
        self._process = ProcessMemory()
        self._soft, self._hard = resource.getrlimit(resource.RLIMIT_DATA)
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
            bound = data + int(SHARE * self._governor.sample.headroom)
            self._bound = bound if self._soft == resource.RLIM_INFINITY else min(bound, self._soft)

    def close(self) -> None:
        super().close()
        resource.setrlimit(resource.RLIMIT_DATA, (self._soft, self._hard))
        self._process.close()
