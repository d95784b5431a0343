"""What the runtime itself puts into mailboxes: plain data, matched in ``handle_info`` or
``receive``."""

from __future__ import annotations

from typing import Any

import attrs

from ...reasons import ExitReason, shown
from .ref import Ref

__all__ = ["Down", "Exit", "IdleTimeout", "MonitorId"]


@attrs.frozen(eq=False)
class MonitorId:
    """One monitor. Every ``ctx.monitor`` makes a new one; compared by identity."""

    number: int

    def __repr__(self) -> str:
        return f"<monitor {self.number}>"


@attrs.frozen
class Down:
    """The monitored actor has ended; one for each monitor. ``ref`` is what was given to ``monitor``
    (a named ref stays a named ref), ``reason`` the actor's exit reason, or NoProc if it was dead
    already."""

    monitor: MonitorId
    ref: Ref[Any]
    reason: ExitReason = attrs.field(repr=shown)


@attrs.frozen
class Exit:
    """An exit signal, received as a message because the receiver traps exits. ``source`` is the
    linked actor that ended, or the one that called ``ref.exit`` (None when that was not an
    actor)."""

    source: Ref[Any] | None
    reason: ExitReason = attrs.field(repr=shown)


@attrs.frozen
class IdleTimeout:
    """No message came for ``seconds`` (``ctx.idle_timeout``)."""

    seconds: float
