"""May an extension in ``heap/c`` be used in this process? The doors ``clock`` and ``walk`` ask."""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib import import_module

from .interpreter.versions import WHY_UNKNOWN

__all__ = ["why_not"]


def why_not(name: str, wanted: Iterable[str]) -> str | None:
    """None if the extension is built and works on this interpreter; otherwise why not, and the
    remedy.

    Args:
        name: of the extension's module.
        wanted: the names that it must have, those of its twin in Python.
    """
    if WHY_UNKNOWN is not None:
        return WHY_UNKNOWN
    if os.environ.get("ACTORKIT_PURE", "") not in ("", "0"):
        return "ACTORKIT_PURE is set: unset it"
    try:
        extension = import_module(f"actorkit.heap.c.{name}")
    except ImportError as error:
        return (
            f"the extension is missing ({error}): install a C compiler and the headers of Python, "
            "then install actorkit again"
        )
    if not all(hasattr(extension, each) for each in wanted):
        return "the extension was built from other sources than these: install actorkit again"
    return None
