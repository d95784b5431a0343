"""Refuse the nth large request of the calling thread, for the length of a ``with`` block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import attrs

from actorkit.heap.clock import REFUSABLE, WHY_PORTABLE

from .build import NotBuilt, load

__all__ = ["REFUSABLE", "WHY_NOT", "Refusal", "refusing", "requests_so_far"]


def _loaded() -> tuple[Any, str | None]:
    """Load the extension, or say why it is not available. It needs what the clock needs, so it is
    not available where the clock is not.
    """
    if WHY_PORTABLE is not None:
        return None, WHY_PORTABLE
    try:
        return load(), None
    except NotBuilt as error:
        return None, str(error)


_refusal, _why_not = _loaded()

WHY_NOT: Final[str | None] = _why_not
"""None if requests can be refused in this process."""


@attrs.define
class Refusal:
    """What became of the requests of one ``with`` block: filled in at the block's end."""

    #: Requests of REFUSABLE bytes or more.
    seen: int = 0
    #: How many of them were refused.
    refused: int = 0


@contextmanager
def refusing(first: int, count: int = 1) -> Iterator[Refusal]:
    """Within the block, number this thread's requests of REFUSABLE bytes or more, and refuse
    ``count`` of them, from number ``first`` on: MemoryError. ``first=0`` only counts.

    Smaller requests are never refused: the interpreter itself does not survive that. Blocks do not
    nest: an inner one ends the counting of the outer one. Raises RuntimeError where
    requests cannot be refused (see ``WHY_NOT``), and where the interpreter's allocators are not its
    own (``PYTHONMALLOC``).

    Example::

        with refusing(1):
            try:
                bytes(100_000)
            except MemoryError: ...
    """
    if WHY_NOT is not None:
        raise RuntimeError(f"large requests cannot be refused here: {WHY_NOT}")
    refusal = Refusal()
    _refusal.arm(first, count)
    try:
        yield refusal
    finally:
        refusal.seen, refusal.refused = _refusal.disarm()


def requests_so_far() -> int:
    """How many large requests the ``with`` block that is running has seen."""
    return int(_refusal.seen())
