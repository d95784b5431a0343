"""The states of an actor's life.

====================  ==================================  =============================================
from                  when                                to
====================  ==================================  =============================================
``RUNNING`` (birth)   its constructor has returned        ``IDLE``, or ``QUEUED`` if it has work
``IDLE``              a message comes                     ``QUEUED``
``IDLE``              a call runs inline                  ``RUNNING``
``QUEUED``            a worker takes it                   ``RUNNING``
``RUNNING``           its turn is over, messages wait     ``QUEUED``
``RUNNING``           no message waits                    ``IDLE``
any but ``DEAD``      ``sys.suspend``                     ``SUSPENDED`` (when its message is done)
``SUSPENDED``         ``sys.resume``                      ``IDLE`` or ``QUEUED``
any but ``DEAD``      it ends                             ``DEAD``
====================  ==================================  =============================================

``RUNNING`` is on the stack, or suspended in an await. A suspended actor gathers messages and runs
none of them. They are plain ints: the hot path compares them.
"""

from __future__ import annotations

from typing import Final

__all__ = ["DEAD", "IDLE", "QUEUED", "RUNNING", "STATES", "SUSPENDED"]

IDLE: Final = 0
QUEUED: Final = 1
RUNNING: Final = 2
DEAD: Final = 3
SUSPENDED: Final = 4

STATES: Final = ("waiting", "runnable", "running", "exiting", "suspended")
"""process_info's word for each state."""
