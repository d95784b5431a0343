"""The states of an actor's life, and how it gets from one to the other.

They are plain ints, since the hot path compares them, and it is the hot path that sets them:
nothing looks into ``TRANSITIONS`` at run time. The table is for people; a test runs actors of all
kinds and compares.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

from ...policy.transition import Transition

__all__ = ["DEAD", "IDLE", "QUEUED", "RUNNING", "STATES", "SUSPENDED", "TRANSITIONS", "StateName"]

IDLE: Final = 0
"""It has nothing to do; a process: it waits in ``receive``."""
QUEUED: Final = 1
"""It is in its run queue."""
RUNNING: Final = 2
"""Its code is on the stack, or suspended in an await."""
DEAD: Final = 3
"""It has ended."""
SUSPENDED: Final = 4
"""``sys.suspend``: messages gather, and none is run."""

StateName = Literal["waiting", "runnable", "running", "exiting", "suspended"]
"""The word for each state, in the order of their numbers."""

STATES: Final[tuple[StateName, ...]] = get_args(StateName)
"""``STATES[state]`` is process_info's word for ``state``."""


def _step(source: int, when: str, target: int) -> Transition:
    return Transition(STATES[source], STATES[target], when)


TRANSITIONS: Final = (
    _step(RUNNING, "its constructor, or a message, is done and none waits", IDLE),
    _step(RUNNING, "its turn is over, or it is born, and messages wait", QUEUED),
    _step(RUNNING, "the message is done, and it was asked to suspend", SUSPENDED),
    _step(IDLE, "a message comes", QUEUED),
    _step(IDLE, "a call runs inline, a message comes to a process, or data to a connection", RUNNING),
    _step(IDLE, "`sys.suspend`", SUSPENDED),
    _step(QUEUED, "a worker takes it", RUNNING),
    _step(QUEUED, "`sys.suspend`", SUSPENDED),
    _step(SUSPENDED, "`sys.resume`, and messages wait, or it is to stop", QUEUED),
    _step(SUSPENDED, "`sys.resume`, and none waits", IDLE),
    *(_step(state, "it ends", DEAD) for state in (RUNNING, IDLE, QUEUED, SUSPENDED)),
)
"""The life of an actor, in the words of ``process_info``. It is born running: its constructor runs.
"""
