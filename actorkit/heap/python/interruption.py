"""May an exception be raised in the frame that an alarm has interrupted?

The alarm can come between any two bytecodes, even in the middle of code of trio or of the runtime,
which does not expect it there and would be left half done. So the frames from the interrupted one
up to that of the activation are examined. Only if all of them are the actor's own (or of its
libraries) may the exception be raised; otherwise the alarm does nothing, and comes again a little
later.

``contextlib`` counts as foreign too: a context manager that is interrupted on its way out has not
done its work. For the same reason nothing is raised between a call and the ``await`` of what it has
returned: the ``__aexit__`` of an ``async with`` would be lost, and its nursery would stay open.

The same code is never refused memory, however much the actor holds: a MemoryError in the middle of
it could lose a table of the runtime's. The import machinery is not, either. The clock compares the
file of the innermost Python code with ``NEVER_REFUSED`` and ``REFUSED``.

The alarm is a Python function, so in it the interrupted frame is ``sys._getframe(1)``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from types import FrameType
from typing import Final

from ..interpreter.instructions import is_about_to_await

__all__ = ["NEVER_REFUSED", "REFUSED", "TABLES", "is_foreign", "is_own", "may_raise"]

FOREIGN: Final = frozenset({"actorkit", "contextlib", "outcome", "trio"})

STAND_IN: Final = "actorkit.testing."
"""Code that stands in for an actor's own: injected faults must be stopped as user code is."""


def _files_of(names: frozenset[str]) -> Iterator[str]:
    """How the paths begin of the files that the modules and packages of these names have."""
    for name in sorted(names):
        if name == "actorkit":
            yield os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(__file__))), "")
        elif (spec := find_spec(name)) is not None and spec.origin is not None:
            yield os.path.join(os.path.dirname(spec.origin), "") if spec.submodule_search_locations else spec.origin


NEVER_REFUSED: Final = (*_files_of(FOREIGN), "<frozen importlib", "<frozen zipimport")
"""Files of code that is never refused memory begin like this, but for those in ``REFUSED``."""

REFUSED: Final = tuple(
    os.path.join(path, *STAND_IN.split(".")[1:]) for path in NEVER_REFUSED if path.endswith(f"actorkit{os.sep}")
)
"""Files of code that stands in for an actor's own begin like this."""


TABLES: Final = tuple(
    os.path.join(path, *parts)
    for path in NEVER_REFUSED
    for package, *parts in (
        ("trio", "_core", ""),
        ("actorkit", "runtime", "actor", "mailbox.py"),
        ("actorkit", "runtime", "actor", "record.py"),
        ("actorkit", "runtime", "actor", "waiting.py"),
        ("actorkit", "runtime", "budgets", "budgeted_record.py"),
    )
    if path.endswith(f"{os.sep}{package}{os.sep}")
)
"""Files of code that allocates nothing large on its own but places in tables: trio's tasks and
deadlines, mailboxes, pending calls. Such tables are in nobody's account. No code of an actor may
run in these frames, not even compiled code, which has no frame of its own."""


def is_foreign(frame: FrameType) -> bool:
    """Is this trio's code, or the runtime's? The name of the module whose globals it runs in
    decides.

    Answers are not kept by code object: two code objects of different modules can be equal, and the
    answer takes only two look-ups.
    """
    name = frame.f_globals.get("__name__")
    return isinstance(name, str) and name.partition(".")[0] in FOREIGN and not name.startswith(STAND_IN)


def is_own(frame: FrameType) -> bool:
    """Is this the runtime's code?"""
    name = frame.f_globals.get("__name__")
    return isinstance(name, str) and name.partition(".")[0] == "actorkit" and not name.startswith(STAND_IN)


def may_raise(
    top: FrameType | None,
    *,
    until: Callable[[FrameType], bool],
    foreign: Callable[[FrameType], bool] = is_foreign,
) -> bool:
    """True if no frame from ``top``, the interrupted one, up to that of the activation is foreign.

    Args:
        until: is this the frame of the activation? That one ends the search, and is not examined
            itself. If it is not found, the interrupted code is not the activation's: False.
        foreign: is this the frame of code that must not be interrupted?
    """
    if top is not None and is_about_to_await(top):
        return False
    frame = top
    while frame is not None:
        if until(frame):
            return True
        if foreign(frame):
            return False
        frame = frame.f_back
    return False
