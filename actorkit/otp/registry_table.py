"""The registry's table: keys, the actors that hold them, and a value with each entry.

How it works. Keys are compared strictly: 1, 1.0 and True are three keys, also deep inside tuples
(Erlang's ``=:=``). A key maps to its holders and a holder to its keys, so every operation costs
what it touches. A key's own code runs only when somebody brings a key (``policy.key_table``); so a
holder's entries can be dropped whatever their keys do. This is pure data: all that it knows of
actors is that they can be keys of a dict.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..policy.key_table import KeyTable, Place, Slot, strict

__all__ = ["Entry", "Key", "RegistryTable", "strict"]


class Entry:
    """One registration."""

    __slots__ = ("holder", "key", "value")

    def __init__(self, key: Any, holder: Any, value: Any) -> None:
        self.key = key
        self.holder = holder
        self.value = value


class Key(Slot):
    """A key that somebody holds, with each holder's entries."""

    __slots__ = ("holders",)

    def __init__(self) -> None:
        self.holders: dict[Any, list[Entry]] = {}

    def holder(self) -> str:
        for one in self.holders:
            return str(one.describe()) if hasattr(one, "describe") else str(one)
        return super().holder()


class RegistryTable:
    """See the module's docstring. Whether keys are unique is the caller's business: it asks
    ``locate`` before it adds.

    Methods that take a key raise BadKey if the key's code raises, and TypeError if it is not
    hashable. Then nothing has changed.
    """

    __slots__ = ("_held", "_keys", "_size")

    def __init__(self) -> None:
        self._keys: KeyTable[Key] = KeyTable()
        self._held: dict[Any, dict[Key, None]] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Entry]:
        for key in self._keys:
            for entries in key.holders.values():
                yield from entries

    def locate(self, key: Any) -> Place[Key]:
        """Where ``key`` is, or will be: for ``add_at``."""
        return self._keys.locate(key)

    def add(self, key: Any, holder: Any, value: Any) -> Entry:
        """One more entry."""
        return self.add_at(self.locate(key), holder, value)

    def add_at(self, place: Place[Key], holder: Any, value: Any) -> Entry:
        """One more entry, at a place that was located just now."""
        key = place.slot
        if key is None:
            key = self._keys.put(place, Key())
        entry = Entry(place.key, holder, value)
        try:
            self._held.setdefault(holder, {})[key] = None
            key.holders.setdefault(holder, []).append(entry)
        except BaseException:  # MemoryError: leave no half of it
            if not key.holders.get(holder):
                self._forget(key, holder)
            raise
        self._size += 1
        return entry

    def holder(self, key: Any) -> Any:
        """One that holds ``key``, or None."""
        found = self._keys.find(key)
        return None if found is None else next(iter(found.holders))

    def entries(self, key: Any) -> list[Entry]:
        """All entries of ``key``; those of one holder are together."""
        found = self._keys.find(key)
        return [] if found is None else [entry for entries in found.holders.values() for entry in entries]

    def of(self, key: Any, holder: Any) -> list[Entry]:
        """The entries of ``holder`` under ``key``, oldest first."""
        found = self._keys.find(key)
        return [] if found is None else list(found.holders.get(holder, ()))

    def held_by(self, holder: Any) -> list[Entry]:
        """All entries of ``holder``."""
        return [entry for key in self._held.get(holder, ()) for entry in key.holders[holder]]

    def remove(self, key: Any, holder: Any) -> list[Entry]:
        """Drop the entries of ``holder`` under ``key``, and return them."""
        found = self._keys.find(key)
        return [] if found is None else self._forget(found, holder)

    def remove_holder(self, holder: Any) -> list[Entry]:
        """Drop all entries of ``holder``, and return them."""
        return [entry for key in list(self._held.get(holder, ())) for entry in self._forget(key, holder)]

    def holds(self, holder: Any) -> bool:
        """Has ``holder`` any entry?"""
        return holder in self._held

    def _forget(self, key: Key, holder: Any) -> list[Entry]:
        removed = key.holders.pop(holder, [])
        if not key.holders:
            self._keys.drop(key)
        held = self._held.get(holder)
        if held is not None:
            held.pop(key, None)
            if not held:
                del self._held[holder]
        self._size -= len(removed)
        return removed
