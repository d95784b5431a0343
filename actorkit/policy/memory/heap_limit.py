"""Heap limits: what a person writes, ``"8 MiB"`` or a ``HeapLimit``, and what of it is in force.

The four knobs are those of ``max_heap_size`` in OTP: the size, whether to kill, whether to log, and
whether what is shared counts. A knob that is left open (None) comes from the node's default, as
there; only the size has no default. Three more things are ours, and OTP cannot do them: a handler
is stopped in its middle, a request is refused before its memory is touched, and an actor is told
before it reaches its limit.

Source: erlang:process_flag(max_heap_size, …), spawn_opt/4.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final, Literal

import attrs

__all__ = ["TELL_GAP", "HeapLimit", "as_heap_limit", "bytes_of"]

UNITS: Final = {
    "": 1, "B": 1,
    "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40,
}  # fmt: skip

HARD_SHARE: Final = 1.5
"""The hard cap unless one is given, in limits."""

LARGEST: Final = 2**62 - 1
"""The largest size that there can be."""

TELL_GAP: Final = 0.1
"""An actor is told again after it has fallen so far below ``tell``, in parts of its limit."""


def bytes_of(size: int | str) -> int:
    """A size in bytes: an int, or text such as ``"256 KiB"``, ``"1.5 GiB"``, ``"64 kB"`` (64,000).

    Raises ValueError for what is not a size or is negative, TypeError for another type.

    Example::

        bytes_of("8 MiB")  # 8388608
    """
    if isinstance(size, bool) or not isinstance(size, (int, str)):
        raise TypeError(f'{size!r} is not a size: give bytes as an int, or text such as "256 KiB"')
    if isinstance(size, int):
        number: float = size
    else:
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*([A-Za-z]*)\s*", size)
        unit = None if match is None else UNITS.get(match[2].upper())
        if match is None or unit is None:
            raise ValueError(f'{size!r} is not a size: give bytes as an int, or text such as "256 KiB" or "1.5 GiB"')
        number = float(match[1]) * unit
    if number < 0 or number > LARGEST:
        raise ValueError(f"{size!r} is not a size: it must be at least 0 and less than 4 EiB")
    return int(number)


def _size(value: Any) -> Any:
    return bytes_of(value)


def _optional_size(value: Any) -> Any:
    return None if value is None else bytes_of(value)


@attrs.frozen
class HeapLimit:
    """How much an actor may hold, and what becomes of it beyond that.

    Use it for actors whose state grows with what others send: connections, caches, rooms. Leave it
    out if the actor's size is bounded by its code. Begin with ``kill=False`` in production, read
    the peaks (``process_info(ref).heap_peak``), then set the size.

    Args:
        size: bytes that the actor may hold: what would be freed if it died now, its mailbox
            included. 0: no limit.
        kill: end the actor with ``MemoryLimit`` when it holds more (default: True). False only
            observes: each time that the actor passes its limit is logged, and its peak is kept.
        log: report it (default: True).
        include_shared: count what other actors hold too, as often as it is held (default: False).
        hard: a request of 64 KiB or more with which the actor may hold more than this many bytes is
            refused with MemoryError, before the memory is touched. Default: 1.5 times ``size``.
            Ignored with ``kill=False``.
        tell: tell the actor when it holds this part of ``size``, such as 0.8, so that it can let go
            of something: it gets a ``BudgetPressure(used, limit)``, and another one only after it
            has fallen a tenth of ``size`` below. False: never (the default, like the node's).

    Raises ValueError for a size that cannot be one, TypeError for a wrong type.

    Example::

        ak.child(Room, "lobby").with_(max_heap_size=HeapLimit("8 MiB", kill=False))
    """

    size: int = attrs.field(converter=_size)
    kill: bool | None = None
    log: bool | None = None
    include_shared: bool | None = None
    hard: int | None = attrs.field(default=None, converter=_optional_size)
    tell: float | Literal[False] | None = None

    def __attrs_post_init__(self) -> None:
        for knob in ("kill", "log", "include_shared"):
            value = getattr(self, knob)
            if value is not None and not isinstance(value, bool):
                raise TypeError(f"{knob}={value!r} of a HeapLimit is not a truth value: give True, False or None")
        if self.hard is not None and self.hard < self.size:
            raise ValueError(
                f"hard={self.hard} of a HeapLimit is below its size of {self.size} bytes: give at least that"
            )
        tell = self.tell
        if tell is None or tell is False:
            return
        if isinstance(tell, bool) or not isinstance(tell, (int, float)):
            raise TypeError(
                f"tell={tell!r} of a HeapLimit is no number: give a part of the limit such as 0.8, or False"
            )
        if not TELL_GAP < tell <= 1:
            raise ValueError(
                f"tell={tell!r} of a HeapLimit is no part of its size: give more than {TELL_GAP} and at most 1"
            )

    def over(self, default: HeapLimit | None) -> HeapLimit:
        """This limit with every knob set: its own value, else the default's, else the system's."""

        def knob(name: str, system: bool) -> bool:
            own = getattr(self, name)
            inherited = None if default is None else getattr(default, name)
            return bool(own if own is not None else inherited if inherited is not None else system)

        kill = knob("kill", True)
        hard = min(math.ceil(self.size * HARD_SHARE), LARGEST) if self.hard is None else self.hard
        tell = self.tell if self.tell is not None or default is None else default.tell
        return HeapLimit(self.size, kill, knob("log", True), knob("include_shared", False), hard, tell)


def as_heap_limit(value: Any) -> HeapLimit | None:
    """What ``max_heap_size=`` takes: None, a size, or a HeapLimit."""
    return value if value is None or isinstance(value, HeapLimit) else HeapLimit(value)
