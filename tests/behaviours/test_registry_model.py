"""The registry's table against a plain list of entries that is searched for every answer."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from actorkit.otp.registry_table import RegistryTable
from tests.effort import effort

KEYS = st.sampled_from(
    ["a", "b", 1, 1.0, True, 0, False, (1,), (1.0,), (True, "a"), frozenset([1]), frozenset([1.0]), None]
)
HOLDERS = st.integers(0, 3)


def same(one: Any, other: Any) -> bool:
    """Equal, and of the same types all the way down."""
    if type(one) is not type(other):
        return False
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, frozenset):
        return len(one) == len(other) and all(any(same(a, b) for b in other) for a in one)
    return bool(one == other)


class Table(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.table = RegistryTable()
        self.entries: list[tuple[Any, int, int]] = []
        self.serial = 0

    def told(self, entries: Any) -> list[int]:
        return sorted(entry.value for entry in entries)

    @rule(key=KEYS, holder=HOLDERS)
    def add(self, key: Any, holder: int) -> None:
        self.serial += 1
        self.entries.append((key, holder, self.serial))
        entry = self.table.add(key, holder, self.serial)
        assert same(entry.key, key)

    @rule(key=KEYS, holder=HOLDERS)
    def remove(self, key: Any, holder: int) -> None:
        gone = [one for one in self.entries if same(one[0], key) and one[1] == holder]
        self.entries = [one for one in self.entries if one not in gone]
        assert [entry.value for entry in self.table.remove(key, holder)] == [one[2] for one in gone]

    @rule(holder=HOLDERS)
    def remove_holder(self, holder: int) -> None:
        gone = [one[2] for one in self.entries if one[1] == holder]
        self.entries = [one for one in self.entries if one[1] != holder]
        assert self.told(self.table.remove_holder(holder)) == gone

    @rule(key=KEYS, holder=HOLDERS)
    def look(self, key: Any, holder: int) -> None:
        of_key = [one for one in self.entries if same(one[0], key)]
        assert self.told(self.table.entries(key)) == [one[2] for one in of_key]
        assert [e.value for e in self.table.of(key, holder)] == [one[2] for one in of_key if one[1] == holder]
        some = self.table.holder(key)
        assert some in {one[1] for one in of_key} if of_key else some is None

    @invariant()
    def agrees(self) -> None:
        assert len(self.table) == len(self.entries)
        assert self.told(self.table) == [one[2] for one in self.entries]
        for holder in range(4):
            own = [one[2] for one in self.entries if one[1] == holder]
            assert self.told(self.table.held_by(holder)) == own
            assert self.table.holds(holder) == bool(own)


Table.TestCase.settings = effort(20, stateful_step_count=30)
TestTable = Table.TestCase
