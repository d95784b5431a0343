"""Budgets of actors whose data hang in cycles, that make garbage in cycles, or whose data are in
the hands of others."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import trio

import actorkit as ak
from actorkit.heap import clock, walk
from actorkit.runtime.budgets import searching
from actorkit.runtime.budgets.searching import PACING

from .conftest import KIB, MIB, Ends, needs_the_extension


class Node:
    """A node of a tree that knows its parent."""

    def __init__(self, parent: Node | None) -> None:
        self.parent = parent
        self.children: list[Node] = []
        self.data = bytes(1000)


def linked(count: int) -> dict[str, Any]:
    """A list that is linked in both directions, of about 1.3 kB a link."""
    first: dict[str, Any] = {"before": None}
    last = first
    for _ in range(count):
        last["next"] = last = {"before": last, "data": bytes(1000)}
    return first


MODULE_CACHE: dict[int, bytes] = {}


class Grower(ak.Actor):
    def __init__(self) -> None:
        self.root = Node(None)
        self.lists: list[Any] = []
        self.told: list[Any] = []

    def handle_info(self, message: object) -> None:
        self.told.append(message)

    @ak.call
    def grow(self, count: int) -> int:
        for _ in range(count):
            self.root.children.append(Node(self.root))
        return len(self.root.children)

    @ak.call
    def grow_by_literals(self, count: int) -> None:
        self.lists.append(linked(count))

    @ak.call
    def grow_in_c(self, count: int) -> None:
        self.root.children += map(lambda _: Node(self.root), range(count))

    @ak.call
    def waste(self, count: int) -> None:
        for _ in range(count):
            linked(20)

    @ak.call
    def waste_large(self, count: int) -> None:
        for _ in range(count):
            cycle: list[Any] = [bytes(100_000)]
            cycle.append(cycle)

    @ak.call
    def fill_a_cache(self, count: int) -> None:
        for key in range(len(MODULE_CACHE), len(MODULE_CACHE) + count):
            MODULE_CACHE[key] = bytes(400)

    @ak.call
    def keep(self, what: object) -> None:
        self.lists.append(what)

    @ak.call
    def churn(self, count: int) -> None:
        for _ in range(count):
            [bytes(400) for _ in range(20)]

    @ak.call
    def churn_large(self, count: int) -> None:
        for _ in range(count):
            bytes(100_000)

    @ak.call
    def look(self) -> list[Any]:
        return self.told


async def grown(ends: Ends, ref: ak.Ref[Grower], method: Any, step: int, most: int) -> int:
    """How much it could be made to hold, in such steps, before it died. Without the extension a
    sweep comes now and then, as time would bring it."""
    done = 0
    while done < most:
        try:
            await ref.call(method, step)
        except ak.CalleeDied:
            break
        done += step
        await trio.lowlevel.checkpoint()
        if not clock.COUNTS_ALLOCATIONS and done % 100 == 0:
            await ends.node.engine.budgets.look_at_all()
    return done


def held(reason: Any) -> int:
    assert isinstance(reason, ak.MemoryLimit), reason
    return reason.usage.held


@pytest.mark.parametrize("method", [Grower.grow, Grower.grow_by_literals])
async def test_between_messages(ends: Ends, method: Any) -> None:
    """Data in cycles is found at the boundary of the message that passes the limit; without the
    extension at the next sweep."""
    ref = ends.node.spawn(ak.child(Grower).with_(max_heap_size=MIB))
    count = await grown(ends, ref, method, 20, 20_000)
    assert held(await ends.of(ref)) > MIB
    assert count >= 600
    assert count <= 1200


@needs_the_extension
@pytest.mark.parametrize("method", [Grower.grow, Grower.grow_by_literals])
async def test_inside_a_message(ends: Ends, method: Any) -> None:
    """One message of 100 limits is stopped near the first. Until Python 3.12, C holds each newborn
    while its ``__init__`` runs, and the alarm comes there; it waits until that is over."""
    ref = ends.node.spawn(ak.child(Grower).with_(max_heap_size=MIB))
    await grown(ends, ref, method, 100_000, 100_000)
    reason = await ends.of(ref)
    assert MIB < held(reason) <= MIB * 1.25
    assert reason.usage.after_gc > MIB // 2
    assert "private cycles" in str(reason)


@needs_the_extension
async def test_where_c_is_in_between(ends: Ends) -> None:
    """Nothing can be proved while ``map`` runs; when it has returned, the boundary sees all."""
    ref = ends.node.spawn(ak.child(Grower).with_(max_heap_size=MIB))
    assert await grown(ends, ref, Grower.grow_in_c, 2000, 2000) in (0, 2000)
    assert held(await ends.of(ref)) > MIB


async def test_a_tree_within_the_limit_lives(ends: Ends) -> None:
    """Fault: bytes are counted twice, by both passes."""
    ref = ends.node.spawn(ak.child(Grower).with_(max_heap_size=MIB))
    assert await grown(ends, ref, Grower.grow, 20, 500) == 500
    for _ in range(3):
        await ends.node.engine.budgets.look_at_all()
    assert ref.alive


@pytest.mark.parametrize("collector", [True, False])
async def test_garbage_in_cycles_ends_nobody(ends: Ends, collector: bool) -> None:
    """20 MB of garbage in cycles go through an actor of 1 MiB, also in a program that never
    collects, and large pieces too: none of their requests is refused."""
    ref = ends.node.spawn(ak.child(Grower).with_(max_heap_size=MIB))
    if not collector:
        gc.disable()
    try:
        for _ in range(20):
            await ref.call(Grower.waste, 40)
            await ref.call(Grower.waste_large, 10)
    finally:
        gc.enable()
    assert ref.alive


@needs_the_extension
async def test_garbage_of_one_message_ends_nobody(ends: Ends) -> None:
    """The same in one message, in large pieces that would be refused."""
    ref = ends.node.spawn(ak.child(Grower).with_(max_heap_size=MIB))
    await ref.call(Grower.waste_large, 200)
    assert ref.alive
    account = ends.node.engine.budgets.all[ref].account  # type: ignore[index]
    assert account.refused == 0


@needs_the_extension
async def test_churn_near_the_limit_costs_no_walks(ends: Ends) -> None:
    """An actor that holds four fifths of its limit and makes 100 limits of garbage is not walked
    at all: its account knows better."""
    ref = ends.node.spawn(ak.child(Grower).with_(max_heap_size=4 * MIB))
    for _ in range(8):
        await ref.call(Grower.keep, [bytes(400) for _ in range(900)])
    await ends.node.engine.budgets.look_at_all()
    await ref.call(Grower.churn, 100)
    before = walk.passes_made()
    for _ in range(100):
        await ref.call(Grower.churn, 500)
    first, own = walk.passes_made()
    assert (first - before[0], own - before[1]) == (0, 0)
    account = ends.node.engine.budgets.all[ref].account  # type: ignore[index]
    assert account.total > 50 * 4 * MIB


@pytest.fixture
def module_cache() -> Any:
    MODULE_CACHE.clear()
    yield
    MODULE_CACHE.clear()


async def test_a_cache_of_a_module_is_not_the_actor_s(ends: Ends, module_cache: None) -> None:
    """An actor of 1 MiB fills a cache of 6 MB that a module holds. It lives, and what it cannot be
    charged with is searched for a few times, not each time."""
    ref = ends.node.spawn(ak.child(Grower).with_(max_heap_size=MIB))
    before = PACING.collections_made
    for _ in range(120):
        await ref.call(Grower.fill_a_cache, 100)
    for _ in range(300):
        await ref.call(Grower.churn, 20)
    assert ref.alive
    assert PACING.collections_made - before <= 4 * 6 + 4, "once for each quarter of the limit that is news"


@needs_the_extension
async def test_with_a_cache_of_a_module_nothing_is_refused(ends: Ends, module_cache: None) -> None:
    """What is in others' hands leaves the room to the hard cap as it was."""
    ref = ends.node.spawn(ak.child(Grower).with_(max_heap_size=MIB))
    for _ in range(120):
        await ref.call(Grower.fill_a_cache, 100)
    for _ in range(10):
        await ref.call(Grower.churn, 100)
        await ref.call(Grower.churn_large, 60)
    assert ends.node.engine.budgets.all[ref].account.refused == 0  # type: ignore[index]


@needs_the_extension
async def test_own_passes_keep_pace(ends: Ends, module_cache: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each search seems to take a second, and no other time passes: so after the first one only
    news is worth another. Fault: what is abroad is searched for at each look."""
    now = iter(range(0, 10**15, 10**9))
    ref = ends.node.spawn(ak.child(Grower).with_(max_heap_size=MIB))
    for _ in range(50):
        await ref.call(Grower.fill_a_cache, 100)
    monkeypatch.setattr(searching, "PACING", searching.Pacing(lambda: next(now)))
    before = walk.passes_made()
    for _ in range(300):
        await ref.call(Grower.churn, 200)
    first, own = walk.passes_made()
    assert first - before[0] > 100, "nothing was looked at"
    assert own - before[1] <= (first - before[0]) // 8


@pytest.mark.parametrize("overflow", ["reject", "drop_oldest"])
async def test_a_mailbox_full_of_cycles(ends: Ends, overflow: Any) -> None:
    """Messages that keep themselves alive count like others: 2 MB of them do not fit."""
    gate = trio.Event()

    class Waiting(Grower):
        @ak.cast
        async def wait(self) -> None:
            await gate.wait()

    ref = ends.node.spawn(ak.child(Waiting).with_(max_heap_size=MIB, overflow=overflow))
    ref.cast(Waiting.wait)
    await trio.testing.wait_all_tasks_blocked()
    sent = 800 if clock.COUNTS_ALLOCATIONS else 100
    accepted = sum(ref.send(linked(20)) for _ in range(sent))
    budget = ends.node.engine.budgets.all[ref]  # type: ignore[index]
    waiting = budget.record.mailbox_length
    assert 25 <= waiting <= 60
    assert accepted == (sent if overflow == "drop_oldest" else waiting)
    gate.set()


async def test_it_is_told_of_cycles_too(ends: Ends) -> None:
    ref = ends.node.spawn(ak.child(Grower).with_(max_heap_size=ak.HeapLimit(MIB, tell=0.7)))
    assert await grown(ends, ref, Grower.grow, 20, 680) == 680
    await ends.node.engine.budgets.look_at_all()
    await trio.testing.wait_all_tasks_blocked()
    (message,) = await ref.call(Grower.look)
    assert 0.7 * MIB <= message.used <= MIB
    assert message.limit == MIB


async def test_the_peak_of_who_is_only_watched(ends: Ends) -> None:
    ref = ends.node.spawn(ak.child(Grower).with_(max_heap_size=ak.HeapLimit(500 * KIB, kill=False)))
    assert await grown(ends, ref, Grower.grow, 20, 1000) == 1000
    for _ in range(3):
        await ends.node.engine.budgets.look_at_all()
    assert ends.node.engine.budgets.all[ref].peak > MIB  # type: ignore[index]
