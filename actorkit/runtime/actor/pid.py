"""Pid: an actor's identity as plain data."""

from __future__ import annotations

import attrs

__all__ = ["Pid"]


@attrs.frozen(order=True)
class Pid:
    """An actor's identity as plain data: the node's name and incarnation, and the actor's number
    there."""

    node: str
    incarnation: int
    number: int

    def __str__(self) -> str:
        return f"<{self.node}.{self.number}>"
