"""The former name of ``actorkit.heap.own_heaps``; kept for one release."""

from __future__ import annotations

import warnings
from typing import Any

from . import own_heaps


def __getattr__(name: str) -> Any:
    if name not in own_heaps.__all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(
        f"actorkit.heap.slabs is called actorkit.heap.own_heaps now: import {name} from there",
        DeprecationWarning,
        stacklevel=2,
    )
    return getattr(own_heaps, name)
