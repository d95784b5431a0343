"""The runtime's functions that an actor's code runs under: where a walk up its stack ends."""

from __future__ import annotations

from typing import Any, Final

__all__ = ["BOUNDARY_FRAMES"]

BOUNDARY_FRAMES: Final[set[Any]] = set()
"""Their code objects; each module adds its own."""
