"""The door to the fault "the nth large request is refused": for tests, never for production.

Where the extension is missing, or the interpreter's allocators are not its own (``PYTHONMALLOC``), it cannot be had;
``WHY_NOT`` says why the extension is missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import attrs

from .clock import WHY_PORTABLE

__all__ = ["REFUSABLE", "WHY_NOT", "Refusal", "refusing"]

REFUSABLE: Final = 64 * 1024
"""No smaller request is ever refused: the interpreter itself does not survive that."""


def _why_not() -> str | None:
    if WHY_PORTABLE is not None:
        return WHY_PORTABLE
    try:
        from .c import _refusal as _refusal
    except ImportError as error:
        return f"the extension is not there ({error}): install a C compiler and install actorkit again"
    return None


WHY_NOT: Final[str | None] = _why_not()


@attrs.define
class Refusal:
    """What became of the requests of one ``with`` block: filled in at its end."""

    seen: int = 0
    """Requests of 64 KiB or more."""
    refused: int = 0


@contextmanager
def refusing(first: int, count: int = 1) -> Iterator[Refusal]:
    """Within the block, this thread's requests of 64 KiB or more are numbered, and ``count`` of them are refused, from
    number ``first`` on: MemoryError. ``first=0`` only counts.

    Blocks do not nest: an inner one ends the outer one's counting.
    Raises RuntimeError where it cannot be had.

    Example::

        with refusing(1):
            try:
                bytes(100_000)
            except MemoryError: ...
    """
    if WHY_NOT is not None:
        raise RuntimeError(f"large requests cannot be refused here: {WHY_NOT}")
    from .c import _refusal

    refusal = Refusal()
    _refusal.arm(first, count)
    try:
        yield refusal
    finally:
        refusal.seen, refusal.refused = _refusal.disarm()
