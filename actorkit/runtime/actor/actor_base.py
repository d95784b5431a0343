"""ActorBase: the callbacks that the runtime knows, with their defaults. Users subclass
``behaviours.Actor``."""

from __future__ import annotations

from typing import Any

from ...reasons import ExitReason
from .class_rules import check_definition
from .reports import report_unexpected

__all__ = ["ActorBase", "NodesOwn"]


class ActorBase:
    """One attribute is reserved, ``ctx``; the rest is the user's. ``behaviours.Actor`` says what
    each callback is for."""

    __slots__ = ("ctx",)

    trap_exit: bool = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        check_definition(cls)

    def init(self) -> Any:
        """The first message: None, IGNORE or Stop. May be async."""
        return None

    def handle_info(self, message: object) -> Any:
        """What came by ``send``. A class without this callback logs the message and drops it. May
        be async."""
        report_unexpected(self.ctx, message)  # type: ignore[attr-defined]

    def terminate(self, reason: ExitReason) -> Any:
        """The last message of an actor that stops or crashes. May be async."""
        return None

    def format_status(self) -> object:
        """What reports show as the state: all attributes, unless overridden."""
        state = {n: getattr(self, n, None) for n in self.ctx.kind.slot_names}  # type: ignore[attr-defined]
        state.update(getattr(self, "__dict__", {}))
        return state


class NodesOwn(ActorBase):
    """Marks the actors that the package brings: supervisors, listeners, registries, groups, and
    what a user derives from them. What they hold grows with the number of others, so a node's
    default limit does not bind them."""

    __slots__ = ()
