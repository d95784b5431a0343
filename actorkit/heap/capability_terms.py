"""On which terms each part of the memory budgets is to be had: what it needs, and how it is
without.

The one table of it. ``capabilities`` asks it, the doctor goes through it row by row, and
docs/deployment.md shows it.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

import attrs

from .interpreter.versions import RANGE

__all__ = ["TABLE", "Need", "Terms"]


class Need(enum.Enum):
    """What a capability stands on, in the words of the pages."""

    INTERPRETER = f"CPython {RANGE} with the GIL"
    EXTENSION = "the C extensions"
    OWN_HEAPS = "heaps of their own: 64-bit Linux, nothing before Python's own allocator"
    LEDGER = "an allocator that tells the size of its blocks, such as those of glibc, musl and macOS"
    MAIN_THREAD = "trio in the main thread"
    ANOTHER_PYTHON = "what no Python has"


@attrs.frozen
class Terms:
    """On which terms a capability is to be had.

    Args:
        needs: all of these.
        without: how it is where one of them is missing.
    """

    needs: tuple[Need, ...]
    without: str


TABLE: Final[Mapping[str, Terms]] = {
    "exact_heap": Terms(
        (Need.INTERPRETER,),
        "estimates: everything that an actor refers to counts as its own, except modules, classes and other actors",
    ),
    "clock": Terms(
        (Need.EXTENSION,),
        "only received messages are counted; growth of another kind is found once in a while, at the end of a message",
    ),
    "stop_in_handler": Terms(
        (Need.EXTENSION, Need.MAIN_THREAD),
        "a limit is enforced between messages only: what one message takes, the node must be able to bear",
    ),
    "refuse_large": Terms((Need.EXTENSION,), "a single huge request succeeds, and its actor is stopped afterwards"),
    "return_pages": Terms((Need.OWN_HEAPS,), "freed memory stays with Python's allocator, for use by other actors"),
    "sees_cycles": Terms(
        (Need.OWN_HEAPS,), "a cycle counts only if a few thousand objects show it; `exact` is False if one may be left"
    ),
    "live_bytes": Terms(
        (Need.OWN_HEAPS, Need.LEDGER),
        "what an actor has allocated since the last look counts until the next one, and so looks are due more often",
    ),
    "collect_own": Terms((Need.OWN_HEAPS,), "Python's full collection, for at most 5 % of the time"),
    "uncharged_imports": Terms((Need.EXTENSION,), "nothing that is imported is charged: only messages are"),
    "uncharged_finalizers": Terms((Need.EXTENSION,), "nothing that they allocate is charged: only messages are"),
    "stop_in_thread": Terms(
        (Need.ANOTHER_PYTHON,),
        "what it allocates is counted, large requests are refused, and its actor is stopped once it has ended",
    ),
}
"""By the names of the fields of ``Capabilities``."""
