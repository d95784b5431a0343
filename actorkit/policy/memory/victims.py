"""Who is given up, when the node needs memory: ranking, and selection until enough is predicted to come back.

Rank: priority class first (LOW before NORMAL before HIGH, CRITICAL never), then idle before busy, then how far over its
budget, then private bytes. Two rules keep that from killing crowds for nothing:

* *Worthwhile.* Within a class, who frees at least a fair part of what is missing (``worthwhile`` of missing / cap) goes
  before who does not, whatever its idleness: ten hogs die, not ten thousand idle dwarfs. The dwarfs of a class go
  before the next class only if they could together cover what is missing; those that could not come last, the largest
  first: an idle one of 500 bytes must not die for nothing while a busy one of 30 KiB lives.
* *Radius.* Who dies of a kill (linked actors that do not trap, siblings that the supervisor's strategy takes along) is
  counted with it: as deaths against the cap, as bytes once. A radius with a critical actor is not eligible. One larger
  than the cap is taken only when nothing else is left, and alone.

Cost is the design: a census is of 100,000 and a round may take 40 ms, most of it for the census itself. So a
Candidate is a tuple (any tuple with its layout does); rows come grouped by what ranks first, with each group's sum and
largest, so that most groups are passed over unseen; of a large group only those rows are made that rank first; keys are
taken in C, only as many rows are ranked as can be taken, and a radius that a candidate does not bring along is asked
for when its turn has come.

Sources: the Linux memory killers rank by priority, then size, and skip the small; Envoy resets streams by size class,
50 a round; Orleans and Ray take the idle first.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, Final, NamedTuple

import attrs

from actorkit.policy.memory.memory_sample import Priority

__all__ = [
    "Candidate",
    "Census",
    "Group",
    "KillCaps",
    "Radius",
    "Selection",
    "TableRow",
    "Victim",
    "VictimTable",
    "select",
    "select_over_quota",
]

CRITICAL: Final = int(Priority.CRITICAL)
COUNT: Final = 50
SHARE: Final = 0.05
PRIORITIES: Final = (int(Priority.LOW), int(Priority.NORMAL), int(Priority.HIGH))


class Radius(NamedTuple):
    """Who dies when one is killed, itself included, measured as one root set."""

    keys: frozenset[Hashable]
    bytes: int
    critical: bool = False
    """One of them is CRITICAL: then this radius is not eligible."""


class Candidate(NamedTuple):
    """One row of a census."""

    key: Hashable
    priority: int
    idle: bool
    over: float | None
    """Private bytes over its budget; None: it has none."""
    private: int
    """Bytes that would be free if it alone died."""
    radius: Radius | None = None
    """None: it dies alone, or the census's ``radius_of`` knows."""


@attrs.define
class Group:
    """Rows of a census that rank alike but for how far over their budgets they are, and by size."""

    rows: list[Candidate] = attrs.field(factory=list)
    """All of them, or those that rank first."""
    count: int = 0
    """How many there are."""
    bytes: int = 0
    """Of all of them."""
    largest: Candidate | None = None

    @property
    def most(self) -> int:
        """Bytes of the largest."""
        return 0 if self.largest is None else self.largest[4]


class Census:
    """Everybody who holds something, grouped by priority, by whether they are idle, and by whether they have a budget.
    Of a large group the rows that rank first may be enough (see ``KillCaps.wanted``).

    Args:
        rows: in any order; those that hold nothing are left out.

    Example::

        Census([Candidate("a", 0, True, None, 5_000_000)]).bytes  # 5000000
    """

    __slots__ = ("groups",)

    def __init__(self, rows: Iterable[Candidate] = ()) -> None:
        self.groups: dict[tuple[int, bool, bool], Group] = {}
        found: dict[tuple[int, bool, bool], list[Candidate]] = {}
        for row in rows:
            if row[4] > 0:
                found.setdefault((row[1], bool(row[2]), bool(row[3])), []).append(row)
        for (priority, idle, budgeted), group in found.items():
            self.add(priority, idle, budgeted, group, len(group), sum(map(_private, group)), max(group, key=_private))

    def add(
        self, priority: int, idle: bool, budgeted: bool, rows: Iterable[Any], count: int, size: int, largest: Any
    ) -> None:
        """More of one group: ``count`` of ``size`` bytes in all, of which these rows rank first, and the largest."""
        group = self.groups.setdefault((priority, idle, budgeted), Group())
        group.rows += rows
        group.count += count
        group.bytes += size
        if largest[4] > group.most:
            group.largest = largest

    def without(self, keys: frozenset[Hashable]) -> Census:
        """What is left when these are taken out."""
        left = Census()
        for key, group in self.groups.items():
            rows = [row for row in group.rows if row[0] not in keys]
            gone = len(group.rows) - len(rows)
            if group.count > gone:
                size = group.bytes - sum(map(_private, group.rows)) + sum(map(_private, rows))
                largest = group.largest
                if largest is not None and largest[0] in keys:
                    largest = max(rows, key=_private, default=None)
                left.groups[key] = Group(rows, group.count - gone, size, largest)
        return left

    @property
    def partial(self) -> bool:
        """Are there more than there are rows? Then only the first in rank can be chosen from."""
        return any(group.count > len(group.rows) for group in self.groups.values())

    def __len__(self) -> int:
        return sum(group.count for group in self.groups.values())

    def __iter__(self) -> Iterator[Candidate]:
        return chain.from_iterable(group.rows for group in self.groups.values())

    @property
    def bytes(self) -> int:
        """Of everybody, each as if it alone died."""
        return sum(group.bytes for group in self.groups.values())

    @property
    def largest(self) -> Candidate | None:
        """The row with the most bytes; None: there is none."""
        group = max(self.groups.values(), key=lambda group: group.most, default=None)
        return None if group is None else group.largest

    def of_priority(self, priority: int) -> list[tuple[bool, Group]]:
        """A class's groups, best ranked first: the idle, then the busy, of both those with a budget first. With each
        whether it is one of these."""
        ranks = [(priority, idle, budgeted) for idle in (True, False) for budgeted in (True, False)]
        return [(rank[2], self.groups[rank]) for rank in ranks if rank in self.groups]


@attrs.frozen
class Victim:
    """One to be killed. ``predicted``: bytes that come back, those of its radius included, counted once."""

    key: Hashable
    radius: frozenset[Hashable]
    """Everybody who dies, itself included."""
    predicted: int
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
    """The best ranked of a census, and how many more were looked at."""

    rows: tuple[TableRow, ...]
    rest: int


@attrs.frozen
class Selection:
    """What a round takes."""

    victims: tuple[Victim, ...]
    predicted: int
    deaths: int
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
        count: actors that may die in a round, radii included; None: 50, or a twentieth of the candidates if that is
            more, since a crowd is not brought down by fifties.
        bytes: bytes that a round may take; None: as many as are missing.
        worthwhile: who frees less than this part of (missing / count) counts as small.
        rows: lines of the table.

    Raises ValueError for what is not positive: the author's fault.
    """

    count: int | None = attrs.field(default=None, validator=attrs.validators.optional(_positive))
    bytes: int | None = attrs.field(default=None, validator=attrs.validators.optional(_positive))
    worthwhile: float = 0.25
    rows: int = 20

    def deaths(self, candidates: int) -> int:
        """How many may die in a round, of so many candidates."""
        return max(COUNT, int(SHARE * candidates)) if self.count is None else self.count

    def wanted(self, candidates: int) -> int:
        """How many rows of those in a group that are worthwhile, and of the others, are enough, of so many candidates,
        as long as no more than ``spare`` turn out not to be eligible."""
        return self.deaths(candidates) + self.spare(candidates)

    def spare(self, candidates: int) -> int:
        """See ``wanted``."""
        return self.deaths(candidates) + self.rows

    def floor(self, missing: int, candidates: int) -> int:
        """Bytes from which on one is worthwhile."""
        return max(1, int(self.worthwhile * missing / self.deaths(candidates)))


# --- Ranking -----------------------------------------------------------------------------------

Rank = Callable[[Candidate], Any]

_private: Final = itemgetter(4)
_over_then_private: Final = itemgetter(3, 4)


def _best(rows: list[Candidate], wanted: int, key: Rank, *, largest: bool) -> Iterator[Candidate]:
    """``rows``, best first. Few are usually taken, so few are ranked first, and all only if that was not enough."""
    if wanted < len(rows):
        first = (heapq.nlargest if largest else heapq.nsmallest)(wanted, rows, key)
        yield from first
    else:
        first = []
    # Both are stable, so the sorted whole begins with what was found first.
    yield from sorted(rows, key=key, reverse=largest)[len(first) :]


SAMPLED: Final = 500


def _largest(rows: list[Candidate], wanted: int) -> Iterator[Candidate]:
    """As ``_best`` by size, and sooner: a sample tells about how large those are that are wanted, so that only few have
    to be sorted, even of a crowd of one size."""
    if len(rows) < 2 * SAMPLED or wanted >= len(rows) // 4:
        yield from sorted(rows, key=_private, reverse=True)
        return
    sizes = sorted(map(_private, rows[:: len(rows) // SAMPLED]), reverse=True)
    about = sizes[wanted * len(sizes) // len(rows)]
    yield from sorted([row for row in rows if row[4] > about], key=_private, reverse=True)
    yield from (row for row in rows if row[4] == about)
    yield from sorted([row for row in rows if row[4] < about], key=_private, reverse=True)


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
    """Candidates in the order in which they are considered. ``left`` tells what is still missing by then."""
    wanted = caps.wanted(len(census))
    if rank is not None:
        eligible = [row for row in census if row[1] < CRITICAL]
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
    return [row for row in group.rows if row[4] >= floor] if group.most >= floor else []


def _below(group: Group, floor: int) -> tuple[list[Candidate], int]:
    """And the bytes of all such, with a row or without."""
    if group.most < floor:
        return group.rows, group.bytes
    rows = [row for row in group.rows if row[4] < floor]
    return rows, group.bytes - sum(row[4] for row in group.rows if row[4] >= floor)


def _told(row: Candidate, deaths: int) -> str:
    over = f", {row[3]:.2g} of its budget" if row[3] is not None else ""
    others = f", and {deaths - 1} more in its radius" if deaths > 1 else ""
    return f"{Priority(row[1]).name}, {'idle' if row[2] else 'busy'}{over}, {row[4]:,} bytes{others}"


# --- Selection ---------------------------------------------------------------------------------


class _Choice:
    """One selection under way."""

    def __init__(self, missing: int, caps: KillCaps, deaths: int) -> None:
        self.missing = missing if caps.bytes is None else min(missing, caps.bytes)
        self.deaths = deaths
        self.victims: list[Victim] = []
        self.dead: set[Hashable] = set()
        self.predicted = 0
        self.rows: list[TableRow] = []
        self.too_large: tuple[Candidate, Radius] | None = None
        self.passed_over = 0

    def left(self) -> int:
        return self.missing - self.predicted

    def full(self) -> bool:
        return self.predicted >= self.missing or len(self.dead) >= self.deaths

    def consider(self, row: Candidate, radius: Radius | None) -> str:
        """Take it, or say why not."""
        keys = frozenset((row[0],)) if radius is None else radius.keys | {row[0]}
        if row[0] in self.dead:
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
        self.take(row, keys, row[4] if radius is None else radius.bytes)
        return "killed"

    def take(self, row: Candidate, keys: frozenset[Hashable], size: int) -> None:
        if not self.dead.isdisjoint(keys):
            # What an earlier victim of this round brings is counted there. Exact for radii that lie in each other (what
            # a strategy makes), and never too much for others.
            size = max(0, size - sum(v.predicted for v in self.victims if not v.radius.isdisjoint(keys)))
        self.dead |= keys
        self.predicted += size
        self.victims.append(Victim(row[0], keys, size, _told(row, len(keys))))


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
        candidates: a census, or its rows in any order. Who holds nothing and who is CRITICAL is never taken.
        missing: bytes that are wanted back.
        rank: replaces the ranking: whose value is smallest goes first. Who is eligible stays a matter of the rules.
        radius_of: the radius of those who do not bring one.

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
                radius = row[5] if len(row) > 5 else None
                if radius is None and radius_of is not None:
                    radius = radius_of(row[0])
                verdict = taking.consider(row, radius)
            if len(taking.rows) < caps.rows:
                taking.rows.append(TableRow(*row[:5], verdict))
        if not taking.victims and taking.too_large is not None:
            row, radius = taking.too_large
            taking.take(row, radius.keys | {row[0]}, radius.bytes)
    table = VictimTable(tuple(taking.rows), len(candidates) - len(taking.rows))
    return Selection(tuple(taking.victims), taking.predicted, len(taking.dead), table, taking.passed_over)


def select_over_quota(
    children: Iterable[Candidate], used: int, quota: int, *, caps: KillCaps | None = None
) -> Selection:
    """The children that a subtree over its ``memory_quota`` loses: lowest priority first, and of those the largest,
    until what is left is at most ``quota``. A child's ``private`` is its subtree's bytes. Idleness and budgets say
    nothing here: the quota is the family's, and the largest of its least important members is who spent it.
    """
    rows = list(children)
    return select(rows, used - quota, caps, rank=lambda row: (row[1], -row[4]))
