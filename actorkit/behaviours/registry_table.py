"""The registry's table: keys, the actors that hold them, and a value with each entry.

How it works. ``strict`` makes a dict key of a user's key under which only keys of the same types are equal: 1, 1.0 and True are three keys,
also deep inside tuples (Erlang's ``=:=``). A key maps to its holders, a holder to its keys, so every operation costs what it touches.
Pure data: it knows nothing of actors but that they can be dict keys.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any

__all__ = ["Entry", "RegistryTable", "strict"]

_THEMSELVES = frozenset((str, bytes, int))
"""Types whose values equal nothing of another type here: all others are wrapped."""


def strict(key: Any) -> Hashable:
    """A dict key that equals another one only if both are of the same types throughout. Raises TypeError for what cannot be a key."""
    kind = type(key)
    if kind in _THEMSELVES:
        return key  # type: ignore[no-any-return]
    if kind is tuple:
        return (tuple, tuple([strict(part) for part in key]))
    if kind is frozenset:
        return (frozenset, frozenset([strict(part) for part in key]))
    hash(key)
    return (kind, key)


class Entry:
    """One registration."""

    __slots__ = ("holder", "key", "value")

    def __init__(self, key: Any, holder: Any, value: Any) -> None:
        self.key = key
        self.holder = holder
        self.value = value


class RegistryTable:
    """See the module's docstring. ``unique`` is a promise of the caller's: it asks ``holder`` before it adds."""

    __slots__ = ("_held", "_keys", "_size")

    def __init__(self) -> None:
        self._keys: dict[Hashable, dict[Any, list[Entry]]] = {}
        self._held: dict[Any, dict[Hashable, None]] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Entry]:
        for holders in self._keys.values():
            for entries in holders.values():
                yield from entries

    def add(self, key: Any, holder: Any, value: Any) -> Entry:
        """One more entry."""
        exact = strict(key)
        entry = Entry(key, holder, value)
        self._keys.setdefault(exact, {}).setdefault(holder, []).append(entry)
        self._held.setdefault(holder, {})[exact] = None
        self._size += 1
        return entry

    def holder(self, key: Any) -> Any:
        """One that holds ``key``, or None."""
        holders = self._keys.get(strict(key))
        return None if holders is None else next(iter(holders))

    def entries(self, key: Any) -> list[Entry]:
        """All entries of ``key``, those of one holder together."""
        return [entry for entries in self._keys.get(strict(key), {}).values() for entry in entries]

    def of(self, key: Any, holder: Any) -> list[Entry]:
        """The entries of ``key`` that ``holder`` has, oldest first."""
        return list(self._keys.get(strict(key), {}).get(holder, ()))

    def held_by(self, holder: Any) -> list[Entry]:
        """All entries of ``holder``."""
        return [entry for exact in self._held.get(holder, ()) for entry in self._keys[exact][holder]]

    def remove(self, key: Any, holder: Any) -> list[Entry]:
        """Drop the entries that ``holder`` has of ``key``; returns them."""
        exact = strict(key)
        removed = self._drop(exact, holder)
        held = self._held.get(holder)
        if held is not None:
            held.pop(exact, None)
            if not held:
                del self._held[holder]
        return removed

    def remove_holder(self, holder: Any) -> list[Entry]:
        """Drop all entries of ``holder``; returns them."""
        return [entry for exact in self._held.pop(holder, ()) for entry in self._drop(exact, holder)]

    def holds(self, holder: Any) -> bool:
        """Has it any entry?"""
        return holder in self._held

    def _drop(self, exact: Hashable, holder: Any) -> list[Entry]:
        holders = self._keys.get(exact)
        removed = [] if holders is None else holders.pop(holder, [])
        if holders is not None and not holders:
            del self._keys[exact]
        self._size -= len(removed)
        return removed
