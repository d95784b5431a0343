"""`process_info` looks without a walk, and says how old is what it tells of an actor's heap."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

import actorkit as ak
from actorkit.heap import walk

KIB = 1024


class Keeper(ak.Actor):
    def __init__(self) -> None:
        self.kept: list[bytes] = []

    @ak.call
    def limit(self) -> None:
        self.ctx.max_heap_size = ak.HeapLimit("8 MiB")

    @ak.call
    def keep(self, size: int) -> None:
        self.kept.append(bytes(size))


def info_of(node: ak.Node, ref: ak.Ref[Keeper], *, walk: bool = False) -> ak.ProcessInfo:
    info = node.process_info(ref, walk=walk)
    assert info is not None
    return info


def memory_of(info: ak.ProcessInfo) -> ak.HeapUsage:
    assert info.memory is not None
    return info.memory


@pytest.fixture
def walks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The walks that are made."""
    made: list[str] = []

    def counted(name: str) -> None:
        function = getattr(walk._in_force, name)

        def counting(*arguments: object) -> object:
            made.append(name)
            return function(*arguments)

        monkeypatch.setattr(walk._in_force, name, counting)

    for name in ("measure", "census", "census_found", "census_rows"):
        counted(name)
    return made


async def test_nothing_is_known_before_the_first_look(autojump_clock: Any, walks: list[str]) -> None:
    async with ak.open_node() as node:
        ref = node.spawn(Keeper)
        await ref.call(Keeper.keep, 300 * KIB)
        info = info_of(node, ref)
        assert (info.memory, info.memory_age, info.held_at_most, info.own_heap) == (None, None, None, None)
        assert walks == []


@pytest.mark.parametrize("limit", [None, "8 MiB"])
async def test_it_tells_what_the_last_census_has_found(
    mock_clock: trio.testing.MockClock, walks: list[str], limit: str | None
) -> None:
    """Any number of looks at an actor costs no walk; the age is on trio's clock."""
    async with ak.open_node() as node:
        refs = [node.spawn(ak.child(Keeper).with_(max_heap_size=limit)) for _ in range(600)]
        dead = refs.pop(300)
        dead.kill()
        for size, ref in enumerate(refs):
            await ref.call(Keeper.keep, 1000 + size)
        ref = refs[500]
        await ref.call(Keeper.keep, 300 * KIB)
        await ak.sys.suspend(ref)
        ref.send(bytes(50 * KIB))
        census = dict((await node.heap_census()).actors)
        made = len(walks)
        mock_clock.jump(0.25)
        for each in refs:
            info = info_of(node, each)
            assert memory_of(info).charged == census[each]
            assert info.memory_age == pytest.approx(0.25)
        memory = memory_of(info_of(node, ref))
        assert 300 * KIB < memory.private < 310 * KIB
        assert 50 * KIB < memory.mailbox < 52 * KIB
        assert memory.objects > 3
        assert node.process_info(dead) is None
        born = node.spawn(Keeper)
        assert info_of(node, born).memory is None
        assert len(walks) == made
        await ak.sys.resume(ref)


async def test_it_tells_what_the_sweep_has_found(autojump_clock: Any) -> None:
    """Of an actor with a budget something is known within a second; of others nothing, until a
    census.
    """
    async with ak.open_node() as node:
        plain = node.spawn(Keeper)
        changed = node.spawn(Keeper)
        watched = node.spawn(ak.child(Keeper).with_(max_heap_size="8 MiB"))
        await changed.call(Keeper.limit)
        for ref in (plain, changed, watched):
            await ref.call(Keeper.keep, 100 * KIB)
        await trio.sleep(1.5)
        assert info_of(node, plain).memory is None
        for ref in (changed, watched):
            info = info_of(node, ref)
            assert 100 * KIB < memory_of(info).private < 110 * KIB
            assert info.memory_age is not None
            assert 0.4 < info.memory_age < 0.6


async def test_held_at_most_is_of_this_moment(autojump_clock: Any) -> None:
    """What an actor with a budget has received and allocated since the last look shows at once."""
    async with ak.open_node() as node:
        ref = node.spawn(ak.child(Keeper).with_(max_heap_size="8 MiB"))
        await trio.sleep(1.5)
        before = info_of(node, ref).held_at_most
        assert before is not None
        await ak.sys.suspend(ref)
        ref.send(bytes(200 * KIB))
        after = info_of(node, ref)
        assert after.held_at_most is not None
        assert after.held_at_most >= before + 200 * KIB
        assert memory_of(after).mailbox == 0, "that is what the sweep has found"
        await ak.sys.resume(ref)


@pytest.mark.parametrize("limit", [None, "8 MiB"])
async def test_walk_measures_now_and_is_remembered(mock_clock: trio.testing.MockClock, limit: str | None) -> None:
    async with ak.open_node() as node:
        ref = node.spawn(ak.child(Keeper).with_(max_heap_size=limit))
        await node.heap_census()
        await ref.call(Keeper.keep, 100 * KIB)
        mock_clock.jump(0.25)
        assert limit or memory_of(info_of(node, ref)).private < 10 * KIB
        info = info_of(node, ref, walk=True)
        assert 100 * KIB < memory_of(info).private < 110 * KIB
        assert info.memory_age == 0
        mock_clock.jump(0.25)
        info = info_of(node, ref)
        assert 100 * KIB < memory_of(info).private < 110 * KIB
        assert info.memory_age == pytest.approx(0.25)


async def test_sys_get_status_does_not_walk(autojump_clock: Any, walks: list[str]) -> None:
    async with ak.open_node() as node:
        ref = node.spawn(Keeper)
        await ref.call(Keeper.keep, 100 * KIB)
        assert (await ak.sys.get_status(ref)).info.memory is None
        assert walks == []
