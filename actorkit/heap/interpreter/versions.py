"""On which interpreters the promises of the memory budgets hold: the one list of them.

``pyproject.toml``, ``setup.py``, the combinations that CI runs, and the pages say the same, by
test. An interpreter that is not on the list can still import the package, which warns, and gets
the twins in Python and estimates instead of figures; pip refuses it.

This file is read on its own by ``setup.py``: it imports nothing of the package.
"""

from __future__ import annotations

import sys
import sysconfig
import warnings
from typing import Final

__all__ = ["BEYOND", "RANGE", "SUPPORTED", "WHY_UNKNOWN", "warn_if_unknown", "why_unknown"]

SUPPORTED: Final = ((3, 11), (3, 12), (3, 13))
"""The versions of CPython whose insides are known, the oldest first."""

BEYOND: Final = (3, 14)
"""The next one, which is not among them."""

RANGE: Final = f"{'.'.join(map(str, SUPPORTED[0]))} to {'.'.join(map(str, SUPPORTED[-1]))}"


def why_unknown(implementation: str, version: tuple[int, int], free_threaded: bool) -> str | None:
    """None if this is an interpreter whose insides are known; otherwise why not, and the remedy."""
    if implementation != "cpython":
        return f"{implementation} has neither reference counts nor allocator hooks: use CPython {RANGE}"
    if version not in SUPPORTED:
        return f"the insides of Python {version[0]}.{version[1]} are not known: use CPython {RANGE}"
    if free_threaded:
        return "a free-threaded build keeps its reference counts per thread: use one with the GIL"
    return None


WHY_UNKNOWN: Final[str | None] = why_unknown(
    sys.implementation.name, sys.version_info[:2], bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
)
"""The same of the interpreter that runs this."""


def warn_if_unknown(why: str | None = WHY_UNKNOWN) -> None:
    """Say once, where the package is imported, that its promises do not hold here."""
    if why is not None:
        warnings.warn(
            f"actorkit's memory budgets do not hold on this interpreter: {why} (python -m actorkit doctor)",
            RuntimeWarning,
            stacklevel=3,
        )
