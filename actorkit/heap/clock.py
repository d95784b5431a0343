"""The door to the allocation clock: the extension where it was built, otherwise the portable clock
with the same names.

An *account* says how much the code of one actor has allocated. Each thread is in one account or in
none; the scheduler calls ``switch`` around every step of an actor's code. When ``bytes`` reaches
``soft``, the account is ``due``. In the main thread the alarm that was given to ``install`` is then
called soon after, in the middle of that code: it may look, ``reset`` the account, and raise.
Requests of 64 KiB or more that are larger than ``giant``, or would take both ``bytes`` and
``held_at_most`` past ``hard``, are refused with MemoryError, except in code of the runtime, of trio
and of the import machinery.

``bytes`` is gross: it counts no frees. ``held_at_most`` bounds what an account has allocated or
received and may still hold. It is the sum of three figures, each readable at once: ``own_live``,
its blocks on pages of its own; ``large_live``, its blocks of more than 512 bytes; ``elsewhere``,
all other requests and charges, in gross since the last exact look. While it is no more than
``limit``, the alarm and due boundaries call nobody, and ``soft`` moves on by itself. None of these
counts memory from the interpreter's freelists, and none that C libraries take by themselves.

While the clock is installed, modules that are loaded, and finalisers that the cyclic collector
runs, are in nobody's account. ``collect_own`` collects the garbage of one account.

``ACTORKIT_PURE=1`` in the environment forces the portable clock. If that one is in force,
``WHY_PORTABLE`` says why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .extensions import why_not
from .python import clock as portable_clock
from .python.interruption import NEVER_REFUSED, REFUSED, TABLES

__all__ = ["WHY_PORTABLE"]
__all__ += portable_clock.__all__

WHY_PORTABLE: Final[str | None] = why_not("_clock", portable_clock.__all__)

if TYPE_CHECKING or WHY_PORTABLE is None:
    from .c._clock import *  # noqa: F403
    from .c._clock import never_refuse
else:
    from .python.clock import *  # noqa: F403
    from .python.clock import never_refuse

never_refuse(NEVER_REFUSED, REFUSED, TABLES)
