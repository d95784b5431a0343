"""Which parts of the memory budgets are in force in this process, why others are not, and how to
get them."""

from __future__ import annotations

import threading

import attrs

from . import clock, own_heaps
from .interpreter.versions import WHY_UNKNOWN

__all__ = ["Capabilities", "capabilities", "remedies"]


@attrs.frozen
class Capabilities:
    """What is in force, seen from the calling thread: ask in the thread that runs trio.

    Args:
        exact_heap: an actor's heap can be measured exactly.
        clock: allocations are counted as they happen. Otherwise only received messages are counted.
        stop_in_handler: an actor can be stopped in the middle of a message.
        refuse_large: large requests beyond the hard cap are refused before they are touched.
        return_pages: actors that hold much have heaps of their own, and what a killed one held can
            go back to the operating system. This is about the process; a node may opt out
            (``own_heaps=False``).
    """

    exact_heap: bool
    clock: bool
    stop_in_handler: bool
    refuse_large: bool
    return_pages: bool


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def capabilities() -> Capabilities:
    """What can be had here and now. The clock begins to count only when it is installed."""
    counts = clock.COUNTS_ALLOCATIONS
    return Capabilities(
        exact_heap=WHY_UNKNOWN is None,
        clock=counts,
        stop_in_handler=counts and _in_main_thread(),
        refuse_large=counts,
        return_pages=own_heaps.why_not() is None,
    )


def remedies() -> dict[str, str]:
    """Why each missing capability is missing, and how to get it."""
    found = capabilities()
    missing: dict[str, str] = {}
    if WHY_UNKNOWN is not None:
        missing["exact_heap"] = WHY_UNKNOWN
    if clock.WHY_PORTABLE is not None:
        for name in ("clock", "stop_in_handler", "refuse_large"):
            missing[name] = clock.WHY_PORTABLE
    elif not found.stop_in_handler:
        missing["stop_in_handler"] = "the interpreter interrupts only its main thread: run trio there"
    why_not = own_heaps.why_not()
    if why_not is not None:
        missing["return_pages"] = f"freed memory stays with Python's allocator, for use by other actors; {why_not}"
    return missing
