"""The states of an actor's life, and how it gets from one to the other.

They are plain ints, since the hot path compares them, and it is the hot path that sets them:
nothing looks into ``TRANSITIONS`` at run time. The table is for people; a test runs actors of all
kinds and compares.
"""

from __future__ import annotations

from typing import Final

__all__ = ["DEAD", "IDLE", "QUEUED", "RUNNING", "STATES", "SUSPENDED", "TRANSITIONS"]

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

STATES: Final = ("waiting", "runnable", "running", "exiting", "suspended")
"""process_info's word for each state."""

TRANSITIONS: Final = (
    # from, when, to
    (RUNNING, "its constructor, or a message, is done and none waits", IDLE),
    (RUNNING, "its turn is over, or it is born, and messages wait", QUEUED),
    (RUNNING, "the message is done, and it was asked to suspend", SUSPENDED),
    (IDLE, "a message comes", QUEUED),
    (IDLE, "a call runs inline; a process: a message comes; a connection: its peer sends", RUNNING),
    (IDLE, "sys.suspend", SUSPENDED),
    (QUEUED, "a worker takes it", RUNNING),
    (QUEUED, "sys.suspend", SUSPENDED),
    (SUSPENDED, "sys.resume, and messages wait; or it is to stop", QUEUED),
    (SUSPENDED, "sys.resume, and none waits", IDLE),
    *((state, "it ends", DEAD) for state in (RUNNING, IDLE, QUEUED, SUSPENDED)),
)
"""Every step that there is. An actor is born RUNNING: its constructor runs."""
