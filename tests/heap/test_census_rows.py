"""The census by records gives the same in C as in Python, whatever is in the slots, and leaves
nothing behind.
"""

from __future__ import annotations

import gc
import random
import sys
from types import ModuleType
from typing import Any

import pytest

from actorkit.heap import walk
from actorkit.heap.python import walk as pure_walk
from actorkit.heap.record_plan import RecordPlan

try:
    from actorkit.heap.c import _walk
except ImportError:
    IMPLEMENTATIONS: list[ModuleType] = [pure_walk]
else:
    IMPLEMENTATIONS = [_walk, pure_walk]


@pytest.fixture(autouse=True, params=IMPLEMENTATIONS, ids=lambda module: module.__name__.rpartition(".")[2])
def implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module: ModuleType = request.param
    monkeypatch.setattr(walk, "_in_force", module)
    return module


IDLE, BUSY, DEAD = 0, 1, 3


class Group:
    def __init__(self, rank: int | None) -> None:
        self.rank = rank


class Limit:
    def __init__(self, size: int) -> None:
        self.size = size


class Account:
    def __init__(self, owner: Limit | None) -> None:
        self.owner = owner


class Entry:
    """Stands for an actor's record."""

    __slots__ = ("account", "extra", "group", "held", "inbox", "outbox", "state", "waits")

    def __init__(self, group: Group, held: object, state: int = IDLE, limit: int | None = None) -> None:
        self.group = group
        self.held = held
        self.state = state
        self.inbox: list[Any] | None = None
        self.outbox: list[Any] | None = None
        self.account = None if limit is None else Account(Limit(limit))
        self.extra: Any = None
        self.waits: Any = None


def told(record: Any) -> tuple[list[Any], list[Any], int, bool, int | None] | None:
    if record.state == DEAD or record.group.rank is None:
        return None
    owner = None if record.account is None else record.account.owner
    roots = [record.held] if record.extra is None else [record.held, record.extra]
    queues = [queue for queue in (record.inbox, record.outbox) if queue]
    return roots, queues, record.group.rank, record.state == IDLE, None if owner is None else owner.size


def plan(**changes: Any) -> RecordPlan:
    made = RecordPlan(
        kind=Entry, held=Entry.held, queues=(Entry.inbox, Entry.outbox), state=Entry.state, idle=IDLE, dead=DEAD,
        group=Entry.group, rank_of=lambda group: group.rank, account=Entry.account, limit=("owner", "size"),
        rare=(Entry.extra, Entry.waits), describe=told,
    )  # fmt: skip
    return made._replace(**changes)


def entries(seed: int, count: int = 60) -> list[Entry]:
    """Entries of all kinds."""
    pick = random.Random(seed)
    groups = [Group(0), Group(1), Group(2), Group(None)]
    shared = [float(seed)]
    made = []
    for n in range(count):
        entry = Entry(
            pick.choice(groups), [f"entry {n}", n + 0.5, shared, {"key": [n + 0.25]}],
            pick.choice([IDLE, IDLE, BUSY, DEAD]), pick.choice([None, None, 0, 500, 10_000]),
        )  # fmt: skip
        if pick.random() < 0.3:
            entry.inbox = [("message", n + 0.75)]
        if pick.random() < 0.3:
            entry.outbox = [] if pick.random() < 0.3 else [("earlier", n + 0.125), entry.held]
        if pick.random() < 0.3:
            entry.extra = {"extra": bytes(n)}
        if pick.random() < 0.1:
            entry.waits = entry
        if pick.random() < 0.1:
            entry.account = Account(None)
        if pick.random() < 0.1:
            entry.held = None
        made.append(entry)
    return made


def expected(records: list[Entry]) -> dict[Entry, tuple[int, bool, float | None, int]]:
    rows: dict[Entry, tuple[int, bool, float | None, int]] = {}
    for record in records:
        about = told(record)
        if about is not None:
            roots, queues, rank, idle, limit = about
            size = walk.measure(roots, queues).charged
            if size:
                rows[record] = rank, idle, size / limit if limit else None, size
    return rows


@pytest.mark.parametrize("seed", range(8))
def test_each_row_is_what_one_measures_alone(seed: int) -> None:
    records = entries(seed)
    want = expected(records)
    groups = walk.census_rows(records, plan())
    rows = [row for found, *_ in groups.values() for row in found]
    assert {row[0]: row[1:] for row in rows} == want
    assert len(rows) == len(want) > 10
    for (rank, idle, limited), (found, count, size, largest) in groups.items():
        assert {(row[1], row[2], row[3] is not None) for row in found} == {(rank, idle, limited)}
        assert size == sum(row[4] for row in found)
        assert largest == max(found, key=lambda row: row[4])
        assert count == len(found)
        assert [type(field) for field in found[0][1:3]] == [int, bool]
        order = [records.index(row[0]) for row in found]
        assert order == sorted(order)


@pytest.mark.parametrize("seed", range(4))
def test_known_cycles_count(seed: int) -> None:
    """As far as the account says that so much may be in use. Who may hold much more is named."""
    records = [entry for entry in entries(seed) if told(entry) is not None]
    plain = {row[0]: row[4] for rows, *_ in walk.census_rows(records, plan()).values() for row in rows}
    cycles = {}
    for place, entry in enumerate(records):
        if place % 3:
            cycles[entry] = 1_000 * place, 700
        if place % 2:
            entry.account = Account(None if place % 4 == 1 else Limit(10**6))
            entry.account.held_at_most = 500 * place if place % 4 == 1 else 10**6  # type: ignore[attr-defined]
    suspects: list[tuple[int, int]] = []
    groups = walk.census_rows(records, plan(), cycles=cycles, suspects=suspects)
    rows = {row[0]: row[4] for found, *_ in groups.values() for row in found}
    found = walk.census_found(records, plan())
    may_hold = dict(found.suspects)
    expected = []
    for place, entry in enumerate(records):
        (known, _), size = cycles.get(entry, (0, 0)), plain.get(entry, 0)
        if place % 2:
            most = 500 * place if place % 4 == 1 else 10**6
            known = max(0, min(known, most + 700 - size))
            if place in may_hold and may_hold[place] - known > max(64 * 1024, (size + known) // 4):
                expected.append((place, may_hold[place] - known))
        assert rows.get(entry, 0) == size + known
    assert suspects == expected
    assert len(expected) > 3
    assert sum(size for _, _, size, _ in groups.values()) == sum(rows.values())


@pytest.mark.parametrize("best", [0, 1, 2, 5, 63, 64, 65, 1_000])
@pytest.mark.parametrize("floor", [0, 400, 10**9])
@pytest.mark.parametrize("seed", range(3))
def test_the_best_of_each_group(seed: int, floor: int, best: int) -> None:
    """Of many equal rows in a group, the earlier ones are the best."""
    records = [*entries(seed, 400), *[Entry(Group(1), [n + 0.5], limit=(None, 900)[n % 2]) for n in range(200)]]
    whole, some = walk.census_rows(records, plan()), walk.census_rows(records, plan(), best, floor)
    assert some.keys() == whole.keys()
    for key, (rows, *totals) in whole.items():
        order = sorted(range(len(rows)), key=lambda at: (-(rows[at][3] or 0), -rows[at][4], at))
        large = [at for at in order if rows[at][4] >= floor][:best]
        small = [at for at in order if rows[at][4] < floor][:best]
        assert some[key] == ([rows[at] for at in sorted(large + small)], *totals)


def test_another_class_is_described() -> None:
    class Foreign:
        state, group, account, extra, inbox, outbox = BUSY, Group(1), None, None, None, [["late", 0.5]]
        held = [0.75]

    one = Foreign()
    [(key, (rows, count, size, largest))] = walk.census_rows([one], plan()).items()
    assert key == (1, False, False)
    assert rows == [(one, 1, False, None, walk.measure([one.held], [one.outbox]).charged)]
    assert (count, size, largest) == (1, rows[0][4], rows[0])


def test_a_group_is_asked_once_and_what_it_is_asked_for_may_change_everything(implementation: ModuleType) -> None:
    asked = []
    group = Group(1)
    records = [Entry(group, [n + 0.5]) for n in range(5)]

    def rank_of(one: Group) -> int:
        asked.append(one)
        records[0].extra = bytes(1_000)
        records[0].held = None
        records[1].state = DEAD
        del records[2:]
        gc.collect()
        return 1

    given = tuple(records)
    [(rows, *_)] = walk.census_rows(given, plan(rank_of=rank_of)).values()
    if implementation is not pure_walk:  # the pure walk asks about all records anyway
        assert asked == [group]
        assert [row[0] for row in rows] == [given[0], *given[2:]]
        assert rows[0][4] > 1_000


def test_what_goes_wrong_is_raised() -> None:
    record = Entry(Group(1), [0.5])
    rare = Entry(Group(1), [0.5])
    rare.extra = []

    def failing(_: object) -> Any:
        raise LookupError("nobody knows")

    with pytest.raises(LookupError):
        walk.census_rows([rare], plan(describe=failing))
    assert walk.census_rows([], plan()) == {}
    assert walk.census_rows([record], plan())


@pytest.mark.skipif(len(IMPLEMENTATIONS) == 1, reason="the extension is not built")
def test_the_extension_checks_what_it_is_given() -> None:
    record, rare = Entry(Group(1), [0.5]), Entry(Group(1), [0.5])
    rare.extra = []

    def failing(_: object) -> Any:
        raise LookupError("nobody knows")

    class Plain:
        __slots__ = ("held",)

    for wrong in (
        {"held": Plain.held}, {"held": "held"}, {"kind": 7}, {"queues": (Entry.inbox,)}, {"rare": (Plain.held,)},  # type: ignore[attr-defined]
        {"rare": (Entry.extra,) * 17}, {"limit": None}, {"account": object()},
    ):  # fmt: skip
        with pytest.raises(TypeError):
            _walk.census_rows([record], plan(**wrong), None, 0, None, None)
    with pytest.raises(TypeError):
        _walk.census_rows([record], (), None, 0, None, None)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        _walk.census_rows(7, plan(), None, 0, None, None)  # type: ignore[arg-type]
    with pytest.raises(LookupError):
        _walk.census_rows([record], plan(rank_of=failing), None, 0, None, None)
    with pytest.raises(ValueError, match="best must be 0 or more"):
        _walk.census_rows([record], plan(), -1, 0, None, None)
    with pytest.raises(TypeError):
        _walk.census_rows([record], plan(), "all", 0, None, None)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        _walk.census_rows([record], plan(), None, "much", None, None)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        _walk.census_rows([record], plan())  # type: ignore[call-arg]
    for rank in (-1, 8):
        with pytest.raises(ValueError, match="a rank must be 0 to 7"):
            _walk.census_rows([record], plan(rank_of=lambda _, rank=rank: rank), None, 0, None, None)
    with pytest.raises(TypeError):
        _walk.census_rows([record], plan(rank_of=lambda _: "first"), None, 0, None, None)
    for wrong_told in (7, (), ([], [], 1, True), (7, [], 1, True, None), ([[0.5]], [], 1, True, "large")):
        with pytest.raises(TypeError):
            _walk.census_rows([rare], plan(describe=lambda _, wrong_told=wrong_told: wrong_told), None, 0, None, None)
    record.account = 7  # type: ignore[assignment]
    with pytest.raises(AttributeError):
        _walk.census_rows([record], plan(), None, 0, None, None)


def test_nothing_is_left_behind() -> None:
    records = entries(3)
    watched = [records, *records, *[record.group for record in records], None, True, False, Entry]
    the_plan = plan()

    def counts() -> list[int]:
        gc.collect()
        return list(map(sys.getrefcount, watched))

    def failing(_: object) -> Any:
        raise LookupError

    walk.census_rows(records, the_plan)
    before = counts()
    for n in range(50):
        walk.census_rows(records, the_plan)
        with pytest.raises(LookupError):
            walk.census_rows(records, the_plan._replace(describe=failing))
        del n
    after = counts()
    assert all(abs(now - then) < 40 for now, then in zip(after, before, strict=True)), (before, after)
