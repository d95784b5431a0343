"""The former name of ``actorkit.heap.own_heaps``; kept for one release."""

from __future__ import annotations

import warnings
from typing import Any

from . import own_heaps

__all__ = ["HeapStatistics", "purge", "statistics", "why_not"]


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(own_heaps, name)
    warnings.warn(f"actorkit.heap.slabs is actorkit.heap.own_heaps now: import {name} from there", DeprecationWarning, 2)
    return found
