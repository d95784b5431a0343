"""The census by records, as data: how the walk reads a record, and what it returns."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

__all__ = ["CensusFound", "CensusGroups", "CensusRow", "FoundColumns", "RecordPlan"]

CensusRow: TypeAlias = tuple[Any, int, bool, float | None, int]
"""(record, rank, idle, bytes / limit or None, bytes)"""
CensusGroups: TypeAlias = dict[tuple[int, bool, bool], tuple[list[CensusRow], int, int, CensusRow]]
"""{(rank, idle, has a limit): (rows, how many records there are, the bytes of all, the largest
row)}"""
FoundColumns: TypeAlias = tuple[bytes, bytes, bytes, bytes, list[tuple[int, int]], int]
"""A ``CensusFound`` as the two walks return it: the columns as the bytes of 64-bit numbers."""


class CensusFound(NamedTuple):
    """What each of many records would free, in columns of numbers."""

    held: array[int]
    """Private + mailbox; -1: the record is left out."""
    mailbox: array[int]
    """The part of that in the mailbox."""
    objects: array[int]
    """How many objects these are."""
    leftovers: array[int]
    """Containers that were reached and did not die. Somebody else holds them, or cycles of the
    record's own do."""
    suspects: list[tuple[int, int]]
    """(place, bytes) of those that may hold so many bytes more than was found, by their
    accounts."""
    exact: bool
    """False: no figure is more than an estimate."""

    @classmethod
    def of(cls, columns: FoundColumns) -> CensusFound:
        """Make it of what a walk has returned."""
        *numbers, suspects, exact = columns
        held, mailbox, objects, leftovers = (array("q", column) for column in numbers)
        return cls(held, mailbox, objects, leftovers, suspects, bool(exact))


class RecordPlan(NamedTuple):
    """How a census reads records. Slots are descriptors of their class (``Record.obj``); a
    slot that holds None counts as empty."""

    kind: type
    """The class of the records."""
    held: Any
    """The slot of what a record holds: its root."""
    queues: tuple[Any, Any]
    """The slots of its two lists of messages."""
    state: Any
    """The slot of its state, a small int."""
    idle: int
    """The state of a record that is idle."""
    dead: int
    """The state of a record that is left out."""
    group: Any
    """The slot of what decides its rank. That, the rank and the limit are for ``census_rows``
    only."""
    rank_of: Callable[[Any], int | None]
    """The rank of the records of a group, 0 to 7; None: they are left out."""
    account: Any
    """The slot of its account."""
    limit: tuple[str, ...]
    """The attributes that lead from an account to a number of bytes; None on the way: there is no
    limit."""
    rare: tuple[Any, ...]
    """Slots that must all be empty for a record to be read as above. ``describe`` is called for the
    other records."""
    describe: Callable[[Any], tuple[Sequence[object], Sequence[object], int, bool, int | None] | None]
    """(roots, mailbox, rank, idle, limit) of any record; None: it is left out."""
