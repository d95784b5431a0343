"""Learned footprints: supervised actors are measured when they die, and in passes over all
actors.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio

import actorkit as ak
from actorkit.policy.memory.footprint import WINDOW
from actorkit.policy.memory.footprint_samples import PER_PASS, kind_of
from actorkit.runtime.budgets import footprints
from actorkit.runtime.budgets.footprints import FIRST, KNOWN, Footprints
from tests.budgets.conftest import KIB, MIB
from tests.budgets.hogs import Hog

ROOM = 4 * KIB
"""What an object, its dict and the like may take in addition."""


class Sized(ak.Actor):
    """Holds a number of bytes."""

    def __init__(self, size: int) -> None:
        self.held = bytes(size)

    @ak.cast
    def crash(self) -> None:
        raise RuntimeError("told to")


class Pieces(Sized):
    """Holds a number of objects."""

    def __init__(self, count: int) -> None:
        self.held: Any = None
        for _ in range(count):
            self.held = [self.held]


async def holding(ctx: ak.ProcessContext, size: int, then: str = "wait") -> None:
    held = bytes(size)
    if then == "wait":
        await ctx.receive()
    elif then == "crash":
        async with trio.open_nursery() as nursery:
            nursery.start_soon(failing, bytes(size))
    assert held


async def failing(more: bytes) -> None:
    await trio.lowlevel.checkpoint()
    raise RuntimeError("told to")


@pytest.fixture
async def node(caplog: pytest.LogCaptureFixture) -> AsyncIterator[ak.Node]:
    caplog.set_level(logging.CRITICAL, "actorkit")
    async with ak.open_node() as node:
        yield node


def known(node: ak.Node, what: Any) -> ak.Footprint:
    footprint = node.footprint_of(what)
    assert footprint is not None
    return footprint


async def end(node: ak.Node, ref: Any) -> None:
    """Kill an actor, and wait until it has ended and its supervisor has restarted it."""
    ref.kill()
    with trio.fail_after(50):
        await node.stopped(ref)
        await trio.testing.wait_all_tasks_blocked()


async def started(node: ak.Node, spec: ak.ChildSpec[Any]) -> Any:
    ref = await node.start(spec)
    assert ref is not None
    return ref


async def dynamic(node: ak.Node) -> Any:
    return await started(node, ak.dynamic_supervisor(max_restarts=100_000))


async def child_of(supervisor: Any, spec: ak.ChildSpec[Any]) -> Any:
    return await supervisor.call(ak.DynamicSupervisor.start_child, spec.with_(restart="temporary"))


async def test_children_of_a_static_supervisor(node: ak.Node) -> None:
    """Each child is known by its spec, and all children by their kind. A child that was never seen
    is predicted from its kind.
    """
    small = ak.child(Sized, 10 * KIB).with_(id="small", name="small")
    large = ak.child(Sized, MIB).with_(id="large", name="large")
    await started(node, ak.supervisor(small, large, max_restarts=10))
    assert node.footprints() == ()
    assert node.footprint_of(small) is None
    for name in ("small", "large"):
        await end(node, node.whereis(name))
    assert 10 * KIB <= known(node, small).predict() <= 10 * KIB + ROOM
    assert MIB <= known(node, large).predict() <= MIB + ROOM
    kind = known(node, "Sized")
    assert (kind.count, kind.maximum) == (2, known(node, large).maximum)
    assert known(node, ak.child(Sized, 5).with_(id="another")) == kind
    assert node.footprints() == (kind, known(node, small), known(node, large))
    assert [str(row).partition(":")[0] for row in node.footprints()] == ["Sized", "Sized 'small'", "Sized 'large'"]


async def test_dynamic_children_are_a_kind(node: ak.Node) -> None:
    """The ids of dynamic children are ignored, as their supervisor ignores them."""
    supervisor = await dynamic(node)
    for number in range(1, FIRST + 1):
        spec = ak.child(Sized, number * KIB).with_(id=number)
        await end(node, await child_of(supervisor, spec))
        assert known(node, spec).count == number
    (row,) = node.footprints()
    assert (row.kind, row.id) == ("Sized", None)
    assert row.ewma <= row.quantile == row.maximum


async def test_measuring_takes_a_share_of_the_time(node: ak.Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first deaths are measured whatever that costs. A later one is measured if the last walk
    cost only a small part of the time since.
    """
    seconds = iter(range(10**6))
    node.engine.learned.clock = lambda: float(next(seconds))  # each look at the clock takes a second, so does each walk
    monkeypatch.setattr(footprints, "SHARE", 1 / 5)
    supervisor = await dynamic(node)
    counts = []
    for _ in range(FIRST + 15):
        await end(node, await child_of(supervisor, ak.child(Sized, KIB)))
        counts.append(known(node, "Sized").count)
    assert counts[:FIRST] == list(range(1, FIRST + 1))
    assert [count - FIRST for count in counts[FIRST:]] == [0] * 4 + [1] * 5 + [2] * 5 + [3]


async def test_a_crash_loop(node: ak.Node) -> None:
    """What a crashing child holds is measured before it is cleared; all lives of one spec have one
    footprint.
    """
    spec = ak.child(Sized, 300 * KIB).with_(name="crashing")
    await started(node, ak.supervisor(spec, max_restarts=FIRST))
    for _ in range(FIRST):
        ref: Any = node.whereis("crashing")
        ref.cast(Sized.crash)
        await node.stopped(ref)
        await trio.testing.wait_all_tasks_blocked()
    assert known(node, spec).count == FIRST
    assert 300 * KIB <= known(node, spec).predict() <= 300 * KIB + ROOM
    assert known(node, spec).truncated == 0


async def test_the_gate_sees_it(node: ak.Node) -> None:
    """When a restart comes to the gate, the death that led to it has already been measured."""
    held: list[int] = []

    class Gate:
        def hold(self, spec: Any, delay: float, go: Any, counts: bool = True, key: object = None) -> Any:
            held.append(known(node, spec).predict())
            return node.engine.timers.after(delay, go)

    node.engine.restart_gate = Gate()
    spec = ak.child(Sized, 300 * KIB).with_(name="gated", backoff=ak.Backoff(first=0.001, jitter=0.0))
    await started(node, ak.supervisor(spec))
    await end(node, node.whereis("gated"))
    assert len(held) == 1
    assert 300 * KIB <= held[0] <= 300 * KIB + ROOM


async def test_its_mailbox_counts(node: ak.Node) -> None:
    supervisor = await dynamic(node)
    ref = await child_of(supervisor, ak.child(Sized, 0))
    await ak.sys.suspend(ref)
    ref.send(bytes(200 * KIB))
    await end(node, ref)
    assert 200 * KIB <= known(node, "Sized").predict() <= 200 * KIB + ROOM


async def test_unsupervised_actors_are_not_measured(node: ak.Node) -> None:
    """Neither unsupervised actors nor supervisors are measured; a supervisor does not hold its
    children.
    """
    for ref in (node.spawn(Sized, KIB), node.spawn(ak.child(Sized, KIB).with_(name="n")), node.spawn(holding, KIB)):
        await trio.testing.wait_all_tasks_blocked()
        await end(node, ref)
    above = await dynamic(node)
    below = await child_of(above, ak.dynamic_supervisor())
    await node.heap_census()
    await end(node, below)
    assert node.footprints() == ()
    with pytest.raises(ak.StartFailed):
        await child_of(above, ak.child(Sized, "no size"))  # type: ignore[arg-type]
    assert node.footprints() == ()


async def test_a_walk_that_cannot_finish(node: ak.Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample with too many objects says "at least". A few large objects are measured to the end,
    up to a number of bytes.
    """
    monkeypatch.setattr(footprints, "OBJECTS", 500)
    monkeypatch.setattr(footprints, "MOST_BYTES", 2 * MIB)
    supervisor = await dynamic(node)
    await end(node, await child_of(supervisor, ak.child(Pieces, 100)))
    await end(node, await child_of(supervisor, ak.child(Pieces, 20_000)))
    pieces = known(node, "Pieces")
    assert (pieces.count, pieces.truncated) == (2, 1)
    assert 500 * footprints.SMALLEST < pieces.maximum < 20_000 * footprints.SMALLEST
    await end(node, await child_of(supervisor, ak.child(Sized, MIB)))
    assert known(node, "Sized").truncated == 0
    hog = await child_of(supervisor, ak.child(Hog))
    for _ in range(30):
        await hog.call(Hog.make, 100 * KIB)
    await end(node, hog)
    assert known(node, "Hog").truncated == 1
    assert 2 * MIB < known(node, "Hog").maximum <= 2 * MIB + 100 * KIB + ROOM


async def test_over_its_own_limit(node: ak.Node) -> None:
    """An actor over its limit was measured when that was found, and this sample counts once."""
    supervisor = await dynamic(node)
    hog = await child_of(supervisor, ak.child(Hog).with_(max_heap_size=MIB))
    with pytest.raises(ak.CalleeDied):
        for _ in range(1000):
            await hog.call(Hog.make, 100 * KIB)
            await trio.lowlevel.checkpoint()
    row = known(node, "Hog")
    assert (row.count, row.truncated) == (1, 1)
    assert MIB < row.predict() < 2 * MIB


async def test_a_process(node: ak.Node) -> None:
    """A process's frames are measured when it crashes and when it is killed. A process that returns
    leaves no sample.
    """
    supervisor = await dynamic(node)
    crashing = await child_of(supervisor, ak.child(holding, 100 * KIB, "crash"))
    await node.stopped(crashing)
    row = known(node, "holding")
    assert row.count == 1
    assert 200 * KIB <= row.predict() <= 200 * KIB + ROOM
    killed = await child_of(supervisor, ak.child(holding, 400 * KIB))
    await trio.testing.wait_all_tasks_blocked()
    await end(node, killed)
    assert known(node, "holding").count == 2
    assert 400 * KIB <= known(node, "holding").maximum <= 400 * KIB + ROOM
    await node.stopped(await child_of(supervisor, ak.child(holding, 400 * KIB, "return")))
    never = await child_of(supervisor, ak.child(holding, 400 * KIB))
    await end(node, never)  # before its function has begun
    assert known(node, "holding").count == 2


async def test_tasks_are_known_by_their_function(node: ak.Node) -> None:
    jobs = await started(node, ak.task_supervisor())

    async def job(size: int) -> None:
        held = bytes(size)
        await trio.sleep_forever()
        assert held

    task = await jobs.call(ak.TaskSupervisor.run, job, 100 * KIB)
    await trio.testing.wait_all_tasks_blocked()
    task.cancel()
    with pytest.raises(ak.TaskFailed):
        await task.result()
    (row,) = node.footprints()
    assert row.kind.endswith(".job")
    assert 100 * KIB <= row.predict() <= 100 * KIB + ROOM


async def test_the_census_learns_from_the_living(node: ak.Node) -> None:
    """Each census measures a few actors of each kind, and different ones each time."""
    supervisor = await dynamic(node)
    for number in range(5 * PER_PASS):
        await child_of(supervisor, ak.child(Sized, number * KIB))
    node.spawn(Sized, MIB)
    for number in range(1, 6):
        census = await node.heap_census()
        assert known(node, "Sized").count == number * PER_PASS
    # The first census took the first actors; the later ones went on to others.
    assert known(node, "Sized").maximum == sorted(size for _, size in census.actors)[-2]
    assert known(node, "Sized").maximum < MIB


async def test_one_child_is_learned_from_in_every_pass(node: ak.Node) -> None:
    spec = ak.child(Sized, 30 * KIB)
    await started(node, ak.supervisor(spec))
    for _ in range(3):
        await node.heap_census()
    assert known(node, spec).count == 3
    assert 30 * KIB <= known(node, spec).predict() <= 30 * KIB + ROOM


async def test_the_sweep_learns_from_those_with_a_budget(node: ak.Node) -> None:
    supervisor = await dynamic(node)
    await child_of(supervisor, ak.child(Sized, 40 * KIB).with_(max_heap_size=MIB))
    await child_of(supervisor, ak.child(Sized, 80 * KIB))
    await node.engine.budgets.look_at_all()
    row = known(node, "Sized")
    assert row.count == 1
    assert 40 * KIB <= row.predict() <= 40 * KIB + ROOM


async def test_a_stopping_node_measures_nothing() -> None:
    async with ak.open_node(ak.supervisor(ak.child(Sized, KIB))) as node:
        pass
    assert node.footprints() == ()


def test_kinds() -> None:
    """A kind is a qualified name, found through partials and generic aliases."""
    from functools import partial

    assert kind_of(Sized) == "Sized"
    assert kind_of(partial(partial(Sized, 1), 2)) == "Sized"
    assert kind_of(list[int]) == "list"
    assert kind_of(holding) == "holding"


def test_what_is_known_is_bounded() -> None:
    """Ids that are made up for each child do not fill the memory: the oldest are forgotten
    first.
    """
    table = Footprints()
    for number in range(KNOWN + 5):
        samples = table.of_child(ak.child(Sized, 1).with_(id=number), by_id=True)
        assert samples is not None
        samples.learn(number)
    assert len(table.children) == KNOWN
    assert len(table.kinds) == 1
    kind = table.of("Sized")
    assert kind is not None
    assert kind.count == KNOWN + 5 > WINDOW
    assert table.of(ak.child(Sized, 1).with_(id=0)) == kind
    newest = table.of(ak.child(Sized, 1).with_(id=KNOWN + 4))
    assert newest is not None
    assert newest.count == 1


@pytest.mark.parametrize("what", [3, None, dict])
async def test_a_footprint_of_what_has_none(what: Any) -> None:
    async with ak.open_node() as node:
        with pytest.raises(TypeError, match="give a child spec"):
            node.footprint_of(what)
