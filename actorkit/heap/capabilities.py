"""Which parts of the memory budgets are in force in this process, why others are not, and how to
get them.

The docstring of ``Capabilities`` says what each is, and ``capability_terms.py`` on which terms it
is to be had. Everything else is derived from these two: what is asked here, what the doctor tries,
and the table in docs/deployment.md.
"""

from __future__ import annotations

import threading
from typing import Final

import attrs

from . import clock, own_heaps
from .capability_terms import TABLE, Need
from .interpreter.memory import READABLE
from .interpreter.versions import WHY_UNKNOWN
from .walk import IMPLEMENTATION

__all__ = ["Capabilities", "capabilities", "remedies"]


@attrs.frozen
class Capabilities:
    """What is in force, seen from the calling thread: ask in the thread that runs trio.

    Args:
        exact_heap: what an actor holds can be measured to the byte.
        clock: allocations are counted as they happen.
        stop_in_handler: an actor can be stopped in the middle of a message.
        refuse_large: large requests beyond the hard cap are refused before they are touched.
        return_pages: actors that hold much have heaps of their own, and what a killed one held can
            go back to the operating system. This is about the process; a node may opt out
            (``own_heaps=False``).
        sees_cycles: an actor's own reference cycles count as what it holds.
        live_bytes: what an actor may still hold is known without a walk, so memory that it drops
            at once counts for nothing.
        collect_own: garbage in an actor's own cycles is collected without looking at others.
        uncharged_imports: what an import allocates is charged to nobody.
        uncharged_finalizers: what finalizers allocate, when the collector runs them, is charged to
            nobody.
        stop_in_thread: a function in ``ak.to_thread`` can be stopped in its middle.
    """

    exact_heap: bool
    clock: bool
    stop_in_handler: bool
    refuse_large: bool
    return_pages: bool
    sees_cycles: bool = False
    live_bytes: bool = False
    collect_own: bool = False
    uncharged_imports: bool = False
    uncharged_finalizers: bool = False
    stop_in_thread: bool = False


BY_NODE: Final = "open_node(own_heaps=False): leave it out"


def _why_not(need: Need, own: bool) -> str | None:
    """None if this is given here; otherwise what is in the way, and the remedy."""
    match need:
        case Need.INTERPRETER:
            if WHY_UNKNOWN is None and IMPLEMENTATION != "c" and not READABLE:
                return "this build has no ctypes, or is not a 64-bit one: use another, or install a C compiler"
            return WHY_UNKNOWN
        case Need.EXTENSION:
            return clock.WHY_PORTABLE
        case Need.OWN_HEAPS:
            return own_heaps.why_not() if own else BY_NODE
        case Need.LEDGER:
            if clock.keeps_ledgers():
                return None
            return "the allocator of the C library is not the one in use: unset PYTHONMALLOC, do not preload a debugger"
        case Need.MAIN_THREAD:
            if threading.current_thread() is threading.main_thread():
                return None
            return "the interpreter interrupts only its main thread: run trio there"
        case Need.ANOTHER_PYTHON:
            return (
                "the interpreter interrupts only its main thread: bound what such a function is given, or let it work "
                "in a process"
            )


def remedies(*, own_heaps: bool = True) -> dict[str, str]:
    """Why each missing capability is missing, and how to get it.

    Args:
        own_heaps: the option of that name of the node that is asked about.
    """
    missing: dict[str, str] = {}
    for name, terms in TABLE.items():
        for need in terms.needs:
            why_not = _why_not(need, own_heaps)
            if why_not is not None:
                missing[name] = why_not
                break
    return missing


def capabilities(*, own_heaps: bool = True) -> Capabilities:
    """What can be had here and now. The clock begins to count only when it is installed.

    Args:
        own_heaps: the option of that name of the node that is asked about.
    """
    missing = remedies(own_heaps=own_heaps)
    return Capabilities(**{name: name not in missing for name in TABLE})
