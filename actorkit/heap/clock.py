"""The door to the allocation clock: the extension where it was built, otherwise the portable clock
with the same names.

An *account* says how much the code of one actor has allocated. Each thread is in one account or in
none; the scheduler calls ``switch`` around every step of an actor's code. When ``bytes`` reaches
``soft``, the account is ``due``. In the main thread the alarm that was given to ``install`` is then
called soon after, in the middle of that code: it may look, ``reset`` the account, and raise.
Requests of 64 KiB or more that are larger than ``giant``, or would take ``bytes`` past ``hard``,
are refused with MemoryError.

The clock is gross. It counts no frees, no memory from the interpreter's freelists, and none that C
libraries take by themselves. It says when to look, not how much there is.

``ACTORKIT_PURE=1`` in the environment forces the portable clock. If that one is in force,
``WHY_PORTABLE`` says why.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from typing import TYPE_CHECKING, Final

from .python import clock as portable_clock

__all__ = ["WHY_PORTABLE"]
__all__ += portable_clock.__all__


def _why_not_in_c() -> str | None:
    """None if the extension is built and works on this interpreter; otherwise why not, and the
    remedy."""
    if os.environ.get("ACTORKIT_PURE", "") not in ("", "0"):
        return "ACTORKIT_PURE is set: unset it"
    if sys.implementation.name != "cpython":
        return f"{sys.implementation.name} has no allocator hooks: use CPython"
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        return "this is a free-threaded build: use one with the GIL"
    try:
        from .c import _clock as _clock
    except ImportError as error:
        return (
            f"the extension is missing ({error}): install a C compiler and the headers of Python, "
            "then install actorkit again"
        )
    if not all(hasattr(_clock, name) for name in portable_clock.__all__):
        return "the extension was built from other sources than these: install actorkit again"
    return None


WHY_PORTABLE: Final[str | None] = _why_not_in_c()

if TYPE_CHECKING or WHY_PORTABLE is None:
    from .c._clock import *  # noqa: F403
else:
    from .python.clock import *  # noqa: F403
