"""The callbacks that the runtime knows, with their defaults. ``behaviours.Actor`` is the class that people subclass."""

from __future__ import annotations

from typing import Any

from ..reasons import ExitReason
from .reports import report_unexpected

__all__ = ["Callbacks"]


class Callbacks:
    """One reserved attribute, ``ctx``; the rest is the user's. See ``behaviours.Actor`` for what each callback is for."""

    __slots__ = ("ctx",)

    trap_exit: bool = False

    def init(self) -> Any:
        return None

    def handle_info(self, message: object) -> Any:
        report_unexpected(self.ctx, message)  # type: ignore[attr-defined]

    def terminate(self, reason: ExitReason) -> Any:
        return None

    def format_status(self) -> object:
        state = {n: getattr(self, n, None) for n in self.ctx.template.slot_names}  # type: ignore[attr-defined]
        state.update(getattr(self, "__dict__", {}))
        return state
