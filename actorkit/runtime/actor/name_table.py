"""The name table of one node: one living actor per name.

A name is free the moment its holder dies, before anybody hears of the death (OTP: named_down).
"""

from __future__ import annotations

from typing import Generic, TypeVar

from ...errors import AlreadyRegistered
from ...heap.clock import nobodys
from .waiting import Party

__all__ = ["NameTable"]

R = TypeVar("R", bound=Party)


class NameTable(Generic[R]):
    """See the module's docstring."""

    def __init__(self) -> None:
        self._holders: dict[str, R] = {}

    @nobodys
    def register(self, name: str, record: R) -> None:
        """Raises AlreadyRegistered when a living actor holds the name."""
        holder = self._holders.get(name)
        if holder is not None:
            raise AlreadyRegistered(name, holder.describe())
        self._holders[name] = record

    def release(self, name: str, record: R) -> None:
        """``record`` does not hold the name any more, if it did."""
        if self._holders.get(name) is record:
            del self._holders[name]

    def whereis(self, name: str) -> R | None:
        """Who holds the name."""
        return self._holders.get(name)

    def registered(self) -> list[str]:
        """All names that are held, in order."""
        return sorted(self._holders)
