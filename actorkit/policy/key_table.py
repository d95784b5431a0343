"""A table whose keys are users' objects, and which no key can break.

A key's own code (``__hash__``, ``__eq__``) runs in ``locate`` and nowhere else. If it raises there,
that is the fault of whoever brought the key; BadKey says so, and nothing has changed. ``locate``
finds a ``Place``. To enter something there, to drop a slot, or to walk over all slots runs no code
of any key. So an entry can always be removed, whatever its key has become, and whoever removes it
(a dying actor's stack, perhaps) pays for nothing.

Strings, bytes and ints, whose code is Python's own, are in one dict. All other keys are in another
one, by their hash, which is an int; there they are compared by hand. Pure data.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Generic, NamedTuple, TypeVar

from ..errors import BadKey, MemoryLimitExceeded
from ..reasons import shown

__all__ = ["NOT_THEIRS", "KeyTable", "Place", "Slot", "inert", "strict"]

S = TypeVar("S", bound="Slot")

_THEMSELVES: Final = frozenset((str, bytes, int))
"""The types whose values are keys as they are. A value of any other type is wrapped, so that it
equals no value of another type."""
NOT_THEIRS: Final = (KeyboardInterrupt, SystemExit, MemoryLimitExceeded)
"""What may be raised while the code of a key runs, and is not its doing."""


def inert(key: object) -> object:
    """A key for tables of the runtime's own, in which no code of others may run: ``key`` itself, or
    its text if its type has code of its own."""
    return key if type(key) in (str, bytes, int, float, bool) else shown(key, 200)


def strict(key: Any) -> Any:
    """``key`` in a form that equals another key's only if both are of the same types throughout.
    Raises TypeError for what cannot be a key."""
    kind = type(key)
    if kind in _THEMSELVES:
        return key
    if kind is tuple:
        return (tuple, tuple([strict(part) for part in key]))
    if kind is frozenset:
        return (frozenset, frozenset([strict(part) for part in key]))
    hash(key)
    return (kind, key)


class Slot:
    """What the table holds for one key; subclass it for more. Slots are compared by identity."""

    __slots__ = ("_exact", "_hash", "key")

    key: Any
    _exact: Any
    _hash: int | None

    def holder(self) -> str:
        """Whose key it is, for an error."""
        return "another entry"


class Place(NamedTuple, Generic[S]):
    """Where a key belongs, and the slot that is there."""

    key: Any
    exact: Any
    number: int | None
    slot: S | None


class KeyTable(Generic[S]):
    """See the module's docstring.

    Args:
        exactly: keys are the same only if their types are the same (``strict``). False: if Python
            holds them to be equal.
    """

    __slots__ = ("_by_hash", "_by_key", "_exactly", "_slots")

    def __init__(self, *, exactly: bool = True) -> None:
        self._exactly = exactly
        self._by_key: dict[Any, S] = {}
        self._by_hash: dict[int, list[S]] = {}
        self._slots: dict[S, None] = {}

    def __len__(self) -> int:
        return len(self._slots)

    def __iter__(self) -> Iterator[S]:
        """All slots, in the order in which they came."""
        return iter(self._slots)

    def __contains__(self, slot: S) -> bool:
        return slot in self._slots

    def find(self, key: Any) -> S | None:
        """The slot of ``key``. Raises BadKey, and TypeError for what cannot be a key."""
        if self._exactly and type(key) in _THEMSELVES:
            return self._by_key.get(key)
        return self.locate(key).slot

    def locate(self, key: Any) -> Place[S]:
        """Where ``key`` belongs. Give it to ``put`` at once, before anything else is done to the
        table. Raises BadKey, and TypeError for what cannot be a key."""
        if self._exactly and type(key) in _THEMSELVES:
            return Place(key, key, None, self._by_key.get(key))
        other: S | None = None
        try:
            exact = strict(key) if self._exactly else key
            number = hash(exact)
            for slot in tuple(self._by_hash.get(number, ())):
                other = slot
                if (slot._exact is exact or slot._exact == exact) and slot in self._slots:
                    return Place(key, exact, number, slot)
            return Place(key, exact, number, None)
        except NOT_THEIRS:
            raise
        except BaseException as error:
            if other is None and type(error) is TypeError:
                raise  # the key is not hashable
            why = BadKey(shown(key, 100), None if other is None else other.holder(), error)
        raise why  # outside of ``except``: its context would hold the frames of the key's code

    def nowhere(self, key: Any) -> Place[S]:
        """A place where ``key`` is kept, and not found: for a key whose code has begun to raise."""
        return Place(key, object(), 0, None)

    def put(self, place: Place[S], slot: S) -> S:
        """Enter ``slot`` at a free place. Raises MemoryError with nothing done."""
        slot.key, slot._exact, slot._hash = place.key, place.exact, place.number
        self._slots[slot] = None
        try:
            if place.number is None:
                self._by_key[place.exact] = slot
            else:
                self._by_hash.setdefault(place.number, []).append(slot)
        except BaseException:
            del self._slots[slot]
            raise
        return slot

    def drop(self, slot: S) -> None:
        """Take ``slot`` out; nothing if it is not in."""
        if slot not in self._slots:
            return
        del self._slots[slot]
        number = slot._hash
        if number is None:
            del self._by_key[slot._exact]
            return
        same = self._by_hash[number]
        same.remove(slot)
        if not same:
            del self._by_hash[number]
