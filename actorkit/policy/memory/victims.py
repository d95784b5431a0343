"""Victims: who is given up when the node needs memory.

Candidates are ranked, and taken in that order until enough is predicted to come back. The rank:
priority class first (LOW before NORMAL before HIGH, CRITICAL never), then idle before busy, then
how far over its budget, then private bytes. Two rules keep that from killing crowds for nothing:

* *Worthwhile.* Within a class, a candidate that frees at least a fair part of what is missing
  (``worthwhile`` of missing / cap) goes before one that does not, whatever its idleness: ten hogs
  die, not ten thousand idle dwarfs. The dwarfs of a class go before the next class only if they
  could together cover what is missing. Dwarfs that could not come last, the largest first: an idle
  actor of 500 bytes must not die for nothing while a busy one of 30 KiB lives.
* *Radius.* Everybody who dies of a kill (linked actors that do not trap exits, siblings that the
  supervisor's strategy takes along) is counted with it: as deaths against the cap, as bytes once. A
  radius with a critical actor is not eligible. A radius larger than the cap is taken only when
  nothing else is left, and alone.

Keys are taken in C, only as many rows are ranked as can be taken, and a radius that a candidate
does not bring along is asked for when its turn has come (see ``candidates`` for why).

Where to put a ranking rule. A rule that one program needs is a callable: ``rank=`` of
GovernorSettings. A rule for everybody is in ``_in_order``, if it goes by what a Candidate knows. A
new fact about an actor is a field of Candidate (``candidates``), and ``governor.census`` finds it
out; if the rows of a large group are to be chosen by it, so does the census in C.

Sources: the Linux memory killers rank by priority, then size, and skip the small; Envoy resets
streams by size class, 50 a round; Orleans and Ray take the idle first.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Any, Final

import attrs

from .candidates import (
    IDLE,
    KEY,
    OVER,
    PRIORITY,
    PRIVATE,
    RADIUS,
    Candidate,
    Census,
    Group,
    Radius,
    private_of,
)
from .memory_sample import Priority

__all__ = [
    "KillCaps",
    "Rank",
    "Selection",
    "TableRow",
    "Victim",
    "VictimTable",
    "select",
    "select_over_quota",
]

CRITICAL: Final = int(Priority.CRITICAL)
PRIORITIES: Final = (int(Priority.LOW), int(Priority.NORMAL), int(Priority.HIGH))

DEATHS: Final = 50
DEATHS_OF_A_CROWD: Final = 0.05
"""What one round may take by default: actors, or this part of all candidates."""


@attrs.frozen
class Victim:
    """One actor that is to be killed."""

    key: Hashable
    radius: frozenset[Hashable]
    """Everybody who dies, itself included."""
    predicted: int
    """Bytes that come back, those of its radius included, each counted once."""
    because: str = attrs.field(default="", eq=False)


@attrs.frozen
class TableRow:
    """One line of the ranked table, for people."""

    key: Hashable
    priority: int
    idle: bool
    over: float | None
    private: int
    verdict: str


@attrs.frozen
class VictimTable:
    """The best ranked of a census."""

    rows: tuple[TableRow, ...]
    rest: int
    """How many more there were."""


@attrs.frozen
class Selection:
    """What a round takes."""

    victims: tuple[Victim, ...]
    predicted: int
    """Bytes that come back."""
    deaths: int
    """Actors that die, radii included."""
    table: VictimTable
    passed_over: int = 0
    """How many were considered and could not be taken."""


def _positive(instance: object, field: attrs.Attribute[Any], value: Any) -> None:
    if not value > 0:
        raise ValueError(f"{field.name}={value!r} of KillCaps must be more than 0")


@attrs.frozen
class KillCaps:
    """How much one round may take.

    Args:
        count: actors that may die in a round, radii included; None: 50, or a twentieth of the
            candidates if that is more, since a crowd is not brought down by fifties.
        bytes: bytes that a round may take; None: as many as are missing.
        worthwhile: a candidate that frees less than this part of (missing / count) counts as small.
        rows: lines of the table.

    Raises ValueError for what is not positive: the author's fault.
    """

    count: int | None = attrs.field(default=None, validator=attrs.validators.optional(_positive))
    bytes: int | None = attrs.field(default=None, validator=attrs.validators.optional(_positive))
    worthwhile: float = 0.25
    rows: int = 20

    def deaths(self, candidates: int) -> int:
        """How many may die in a round, of so many candidates."""
        return max(DEATHS, int(DEATHS_OF_A_CROWD * candidates)) if self.count is None else self.count

    def wanted(self, candidates: int) -> int:
        """How many rows a group needs of those who are worthwhile, and as many again of the others.
        It is enough unless more than ``spare`` of them turn out not to be eligible."""
        return self.deaths(candidates) + self.spare(candidates)

    def spare(self, candidates: int) -> int:
        """How many rows of a group may turn out not to be eligible: see ``wanted``."""
        return self.deaths(candidates) + self.rows

    def floor(self, missing: int, candidates: int) -> int:
        """Bytes from which on a candidate is worthwhile."""
        return max(1, int(self.worthwhile * missing / self.deaths(candidates)))


# --- Ranking -----------------------------------------------------------------------------------

Rank = Callable[[Candidate], Any]
"""The candidate with the smallest value goes first."""

_over_then_private: Final = itemgetter(OVER, PRIVATE)


def _best(rows: list[Candidate], wanted: int, key: Rank, *, largest: bool) -> Iterator[Candidate]:
    """``rows``, best first. Usually few are taken, so few are ranked first, and all of them only if
    that was not enough."""
    if wanted < len(rows):
        first = (heapq.nlargest if largest else heapq.nsmallest)(wanted, rows, key)
        yield from first
    else:
        first = []
    # Both are stable, so the sorted whole begins with what was found before.
    yield from sorted(rows, key=key, reverse=largest)[len(first) :]


SAMPLED: Final = 500
"""Sizes that are looked at to guess how large the wanted ones are."""


def _largest(rows: list[Candidate], wanted: int) -> Iterator[Candidate]:
    """As ``_best`` by size, but faster: a sample shows about how large the wanted ones are, so that
    only a few have to be sorted, even in a crowd of one size."""
    if len(rows) < 2 * SAMPLED or wanted >= len(rows) // 4:
        yield from sorted(rows, key=private_of, reverse=True)
        return
    sizes = sorted(map(private_of, rows[:: len(rows) // SAMPLED]), reverse=True)
    about = sizes[wanted * len(sizes) // len(rows)]
    yield from sorted([row for row in rows if row[PRIVATE] > about], key=private_of, reverse=True)
    yield from (row for row in rows if row[PRIVATE] == about)
    yield from sorted([row for row in rows if row[PRIVATE] < about], key=private_of, reverse=True)


def _ranked(groups: Iterable[tuple[bool, list[Candidate]]], wanted: int) -> Iterator[Candidate]:
    """By group, then by how far over the budget, then by size."""
    for budgeted, rows in groups:
        if budgeted:
            yield from _best(rows, wanted, _over_then_private, largest=True)
        else:
            yield from _largest(rows, wanted)


def _in_order(
    census: Census, missing: int, caps: KillCaps, rank: Rank | None, left: Callable[[], int]
) -> Iterator[Candidate]:
    """Candidates in the order in which they are considered. ``left``: what is missing by then."""
    wanted = caps.wanted(len(census))
    if rank is not None:
        eligible = [row for row in census if row[PRIORITY] < CRITICAL]
        yield from _best(eligible, wanted, rank, largest=False)
        return
    floor = caps.floor(missing, len(census))
    dwarfs: list[list[Candidate]] = []
    for priority in PRIORITIES:
        groups = census.of_priority(priority)
        yield from _ranked([(budgeted, _from(group, floor)) for budgeted, group in groups], wanted)
        small = [(budgeted, *_below(group, floor)) for budgeted, group in groups]
        if sum(size for _, _, size in small) >= left():
            yield from _ranked([(budgeted, rows) for budgeted, rows, _ in small], wanted)
        else:
            dwarfs.append(small[0][1] if len(small) == 1 else [row for _, rows, _ in small for row in rows])
    for rows in dwarfs:
        yield from _largest(rows, wanted)


def _from(group: Group, floor: int) -> list[Candidate]:
    """The rows that are worthwhile."""
    return [row for row in group.rows if row[PRIVATE] >= floor] if group.most >= floor else []


def _below(group: Group, floor: int) -> tuple[list[Candidate], int]:
    """The rows that are not worthwhile, and the bytes of all such candidates, with a row or not."""
    if group.most < floor:
        return group.rows, group.bytes
    rows = [row for row in group.rows if row[PRIVATE] < floor]
    return rows, group.bytes - sum(row[PRIVATE] for row in group.rows if row[PRIVATE] >= floor)


def _described(row: Candidate, deaths: int) -> str:
    over = f", {row[OVER]:.2g} of its budget" if row[OVER] is not None else ""
    others = f", and {deaths - 1} more in its radius" if deaths > 1 else ""
    return f"{Priority(row[PRIORITY]).name}, {'idle' if row[IDLE] else 'busy'}{over}, {row[PRIVATE]:,} bytes{others}"


# --- Selection ---------------------------------------------------------------------------------


class _Choice:
    """One selection under way."""

    def __init__(self, missing: int, caps: KillCaps, deaths: int) -> None:
        #: Bytes that the round is to free.
        self.missing = missing if caps.bytes is None else min(missing, caps.bytes)
        #: How many may die.
        self.deaths = deaths
        #: Who has been taken, and everybody who dies of it.
        self.victims: list[Victim] = []
        self.dead: set[Hashable] = set()
        #: Bytes that this frees.
        self.predicted = 0
        #: What has been considered, for the table.
        self.rows: list[TableRow] = []
        #: The first whose radius does not fit into any round.
        self.too_large: tuple[Candidate, Radius] | None = None
        #: Candidates that could not be taken.
        self.passed_over = 0

    def left(self) -> int:
        return self.missing - self.predicted

    def full(self) -> bool:
        return self.predicted >= self.missing or len(self.dead) >= self.deaths

    def consider(self, row: Candidate, radius: Radius | None) -> str:
        """Take it, or say why not; returns the verdict for the table."""
        keys = frozenset((row[KEY],)) if radius is None else radius.keys | {row[KEY]}
        if row[KEY] in self.dead:
            return "dies in an earlier radius"
        if radius is not None and radius.critical:
            self.passed_over += 1
            return "its radius has a critical actor"
        fresh = len(keys - self.dead)
        if len(self.dead) + fresh > self.deaths:
            self.passed_over += 1
            if radius is not None and self.too_large is None:
                self.too_large = (row, radius)
            return f"its radius of {len(keys)} does not fit into the round"
        self.take(row, keys, row[PRIVATE] if radius is None else radius.bytes)
        return "killed"

    def take(self, row: Candidate, keys: frozenset[Hashable], size: int) -> None:
        if not self.dead.isdisjoint(keys):
            # What an earlier victim of this round frees is counted there. This is exact for radii
            # that lie within each other, as strategies make them, and never too much for others.
            size = max(0, size - sum(v.predicted for v in self.victims if not v.radius.isdisjoint(keys)))
        self.dead |= keys
        self.predicted += size
        self.victims.append(Victim(row[KEY], keys, size, _described(row, len(keys))))


def select(
    candidates: Census | Sequence[Candidate],
    missing: int,
    caps: KillCaps | None = None,
    *,
    rank: Rank | None = None,
    radius_of: Callable[[Hashable], Radius | None] | None = None,
) -> Selection:
    """The victims whose predicted reclaim covers ``missing`` bytes, as far as ``caps`` allow.

    Args:
        candidates: a census, or its rows in any order. An actor that holds nothing or is CRITICAL
            is never taken.
        missing: bytes that are wanted back.
        caps: how much the round may take.
        rank: replaces the ranking: the smallest value goes first. Who is eligible stays a matter of
            the rules.
        radius_of: the radius of a candidate that does not bring one.

    Example::

        select([Candidate("a", 0, True, None, 5_000_000)], 1_000_000).predicted  # 5000000
    """
    caps = caps or KillCaps()
    census = candidates if isinstance(candidates, Census) else Census(candidates)
    taking = _Choice(missing, caps, caps.deaths(len(census)))
    if missing > 0:
        for row in _in_order(census, missing, caps, rank, taking.left):
            if taking.full():
                if len(taking.rows) >= caps.rows:
                    break
                verdict = "not needed" if taking.predicted >= taking.missing else "not in this round"
            else:
                radius = row[RADIUS] if len(row) > RADIUS else None
                if radius is None and radius_of is not None:
                    radius = radius_of(row[KEY])
                verdict = taking.consider(row, radius)
            if len(taking.rows) < caps.rows:
                taking.rows.append(TableRow(*row[:RADIUS], verdict))
        if not taking.victims and taking.too_large is not None:
            row, radius = taking.too_large
            taking.take(row, radius.keys | {row[KEY]}, radius.bytes)
    table = VictimTable(tuple(taking.rows), len(candidates) - len(taking.rows))
    return Selection(tuple(taking.victims), taking.predicted, len(taking.dead), table, taking.passed_over)


def select_over_quota(
    children: Iterable[Candidate], used: int, quota: int, *, caps: KillCaps | None = None
) -> Selection:
    """The children that a subtree over its ``memory_quota`` loses: the lowest priority first, and
    of those the largest, until what is left is at most ``quota``. A child's ``private`` is its
    subtree's bytes. Idleness and budgets say nothing here: the quota is the family's, and the
    largest of its least important members has spent it.
    """
    rows = list(children)
    return select(rows, used - quota, caps, rank=lambda row: (row[PRIORITY], -row[PRIVATE]))
