"""Candidates: everybody who could be killed, as the shell counts them and the ranking reads them.

Cost is the design. A census may be of 100,000 actors, and a round may take 40 ms, most of it for
the census itself. So a Candidate is a tuple, and any tuple with its layout does. Rows come in
groups by what ranks first, and each group has its sum and its largest, so that most groups are
passed over unseen. In a large group only those rows are made that rank first (``KillCaps.wanted``).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from itertools import chain
from operator import itemgetter
from typing import Any, Final, NamedTuple

import attrs

__all__ = ["Candidate", "Census", "Group", "Radius", "private_of"]

# Where a row has what: rows are read by position, since those from C are plain tuples.
KEY: Final = 0
PRIORITY: Final = 1
IDLE: Final = 2
OVER: Final = 3
PRIVATE: Final = 4
RADIUS: Final = 5

private_of: Final = itemgetter(PRIVATE)
"""A row's private bytes."""


class Radius(NamedTuple):
    """Everybody who dies when one actor is killed, the actor included, measured as one root set."""

    keys: frozenset[Hashable]
    bytes: int
    critical: bool = False
    """One of them is CRITICAL. Then nobody may be killed for it."""


class Candidate(NamedTuple):
    """One row of a census."""

    key: Hashable
    priority: int
    idle: bool
    over: float | None
    """Its private bytes, divided by its budget; None: it has no budget."""
    private: int
    """Bytes that would be freed if it alone died."""
    radius: Radius | None = None
    """None: it dies alone, or ``radius_of`` of the census knows."""


@attrs.define
class Group:
    """Rows of a census that rank alike: only size, and how far they are over their budgets, tells
    them apart."""

    #: All of them, or those that rank first.
    rows: list[Candidate] = attrs.field(factory=list)
    #: How many there are, with a row or without.
    count: int = 0
    #: Private bytes of all of them.
    bytes: int = 0
    #: The row with the most private bytes.
    largest: Candidate | None = None

    @property
    def most(self) -> int:
        """Bytes of the largest."""
        return 0 if self.largest is None else self.largest[PRIVATE]


class Census:
    """Everybody who holds something, grouped by priority, by whether they are idle, and by whether
    they have a budget. Of a large group the rows that rank first may be enough (see
    ``KillCaps.wanted``).

    Args:
        rows: in any order; those that hold nothing are left out.

    Example::

        Census([Candidate("a", 0, True, None, 5_000_000)]).bytes  # 5000000
    """

    __slots__ = ("groups",)

    def __init__(self, rows: Iterable[Candidate] = ()) -> None:
        #: By priority, idle or not, with a budget or without.
        self.groups: dict[tuple[int, bool, bool], Group] = {}
        found: dict[tuple[int, bool, bool], list[Candidate]] = {}
        for row in rows:
            if row[PRIVATE] > 0:
                found.setdefault((row[PRIORITY], bool(row[IDLE]), bool(row[OVER])), []).append(row)
        for (priority, idle, budgeted), group in found.items():
            self.add(
                priority, idle, budgeted, group, len(group), sum(map(private_of, group)), max(group, key=private_of)
            )

    def add(
        self, priority: int, idle: bool, budgeted: bool, rows: Iterable[Any], count: int, size: int, largest: Any
    ) -> None:
        """More of one group.

        Args:
            priority, idle, budgeted: which group.
            rows: those that rank first.
            count: how many there are in all.
            size: their bytes in all.
            largest: the row with the most bytes.
        """
        group = self.groups.setdefault((priority, idle, budgeted), Group())
        group.rows += rows
        group.count += count
        group.bytes += size
        if largest[PRIVATE] > group.most:
            group.largest = largest

    def without(self, keys: frozenset[Hashable]) -> Census:
        """The census without these."""
        left = Census()
        for key, group in self.groups.items():
            rows = [row for row in group.rows if row[KEY] not in keys]
            gone = len(group.rows) - len(rows)
            if group.count > gone:
                size = group.bytes - sum(map(private_of, group.rows)) + sum(map(private_of, rows))
                largest = group.largest
                if largest is not None and largest[KEY] in keys:
                    largest = max(rows, key=private_of, default=None)
                left.groups[key] = Group(rows, group.count - gone, size, largest)
        return left

    @property
    def partial(self) -> bool:
        """Are there more candidates than rows? Then only the first in rank can be chosen from."""
        return any(group.count > len(group.rows) for group in self.groups.values())

    def __len__(self) -> int:
        return sum(group.count for group in self.groups.values())

    def __iter__(self) -> Iterator[Candidate]:
        return chain.from_iterable(group.rows for group in self.groups.values())

    @property
    def bytes(self) -> int:
        """Private bytes of everybody."""
        return sum(group.bytes for group in self.groups.values())

    @property
    def largest(self) -> Candidate | None:
        """The row with the most bytes; None: there is none."""
        group = max(self.groups.values(), key=lambda group: group.most, default=None)
        return None if group is None else group.largest

    def of_priority(self, priority: int) -> list[tuple[bool, Group]]:
        """The groups of one priority, the best ranked first: idle before busy, and in both with a
        budget before without. With each: whether its rows have a budget."""
        ranks = [(priority, idle, budgeted) for idle in (True, False) for budgeted in (True, False)]
        return [(rank[2], self.groups[rank]) for rank in ranks if rank in self.groups]
