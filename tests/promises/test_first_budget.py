"""The node's first budget is in force from the first moment, even in the middle of a slice."""

from __future__ import annotations

from typing import Any

import trio.testing

import actorkit as ak
from actorkit.heap import clock

MIB = 1024 * 1024


class Hog(ak.Actor):
    grown = 0

    def __init__(self) -> None:
        self.held: list[bytes] = []

    @ak.cast
    def grow(self) -> None:
        for Hog.grown in range(3000):
            self.held.append(bytes(1000))


class Spawner(ak.Actor):
    @ak.cast
    def spawn(self, seen: list[Any]) -> None:
        seen.append(self.ctx.spawn(ak.child(Hog).with_(max_heap_size=MIB)))
        seen[0].cast(Hog.grow)  # in this very slice


async def test_an_actor_that_is_spawned_in_the_middle_of_a_slice() -> None:
    """Nobody has counted before, and its first message is not too late."""
    async with ak.open_node() as node:
        seen: list[Any] = []
        node.spawn(Spawner).cast(Spawner.spawn, seen)
        with node.subscribe(ak.ActorExited) as ends:
            await trio.testing.wait_all_tasks_blocked()
            await node.engine.budgets.look_at_all()
            end = await anext(ends)
        assert isinstance(end, ak.ActorExited)
        assert end.ref is seen[0]
        assert isinstance(end.reason, ak.MemoryLimit)
        if clock.COUNTS_ALLOCATIONS:
            assert Hog.grown < 1200


class Made(Hog):
    def __init__(self) -> None:
        super().__init__()
        Hog.grow(self)


async def test_the_constructor_of_the_first_one() -> None:
    async with ak.open_node() as node:
        with node.subscribe(ak.ActorExited) as ends:
            try:
                node.spawn(ak.child(Made).with_(max_heap_size=MIB))
            except ak.StartFailed as failed:
                assert isinstance(failed.reason, ak.MemoryLimit)
                assert clock.COUNTS_ALLOCATIONS
            else:
                assert not clock.COUNTS_ALLOCATIONS
                await node.engine.budgets.look_at_all()
            end = await anext(ends)
            assert isinstance(end, ak.ActorExited)
            assert isinstance(end.reason, ak.MemoryLimit)
