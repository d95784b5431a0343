"""May an exception be raised in the frame that an alarm has interrupted?

The alarm comes between any two bytecodes, also in the middle of trio's or the runtime's own code, which does
not expect it there and would be left half done. So the frames from the interrupted one up to the activation's
are looked at, and only if all are the actor's own (or its libraries') may the exception be raised; otherwise
the alarm is let pass, and comes again a little later.

The alarm is a Python function, so the frame that it interrupted is ``sys._getframe(1)`` in it.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FrameType
from typing import Final

__all__ = ["is_foreign", "may_raise"]

FOREIGN: Final = frozenset({"actorkit", "outcome", "trio"})


def is_foreign(frame: FrameType) -> bool:
    """Is this trio's code, or the runtime's? By the name of the module whose globals it runs in.

    Nothing is remembered by code object: two code objects of different modules can be equal, and the answer
    is two look-ups.
    """
    name = frame.f_globals.get("__name__")
    return isinstance(name, str) and name.partition(".")[0] in FOREIGN


def may_raise(
    top: FrameType | None,
    *,
    until: Callable[[FrameType], bool],
    foreign: Callable[[FrameType], bool] = is_foreign,
) -> bool:
    """True if no frame from ``top``, the interrupted one, up to the activation's own is foreign.

    ``until`` knows the activation's frame, which is where the walk ends and which is not asked about itself.
    If it is not found, the interrupted code is not the activation's: False.
    """
    frame = top
    while frame is not None:
        if until(frame):
            return True
        if foreign(frame):
            return False
        frame = frame.f_back
    return False
