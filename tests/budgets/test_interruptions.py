"""Alarms at every allocation, in the middle of everything: the run stays intact."""

from __future__ import annotations

import random
from typing import Any

import pytest
import trio
import trio.lowlevel

import actorkit as ak
from actorkit.heap import clock

from .conftest import KIB, Ends, needs_the_extension


class Busy(ak.Actor):
    """Does what handlers do with trio, all of it, while it grows."""

    def __init__(self, peer: Any, seed: int) -> None:
        self.peer = peer
        self.random = random.Random(seed)
        self.held: list[bytes] = []
        self.lock = trio.Lock()

    @ak.cast
    async def work(self) -> None:
        while True:
            self.held.append(bytes(self.random.randrange(200)))
            with trio.move_on_after(self.random.random() / 1000):
                async with trio.open_nursery() as nursery:
                    for _ in range(3):
                        nursery.start_soon(self._part)
            await self.peer.call(Echo.echo, bytes(10))

    async def _part(self) -> None:
        async with self.lock:
            with trio.CancelScope() as scope:
                self.held.append(bytes(100))
                await trio.lowlevel.checkpoint()
                if self.random.random() < 0.3:
                    scope.cancel()
                await trio.lowlevel.checkpoint()


class Echo(ak.Actor):
    @ak.call
    async def echo(self, what: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        return what


@needs_the_extension
@pytest.mark.parametrize("seed", range(4))
async def test_small_budgets(ends: Ends, seed: int) -> None:
    """Dozens of actors pass tiny limits in the middle of trio's calls: each dies of it, nothing else happens."""
    node = ends.node
    echo = node.spawn(Echo)
    refs = [node.spawn(ak.child(Busy, echo, seed * 100 + n).with_(max_heap_size=12 * KIB + n * 500)) for n in range(24)]
    for ref in refs:
        ref.cast(Busy.work)
    for ref in refs:
        assert isinstance(await ends.of(ref), ak.MemoryLimit)
    assert await echo.call(Echo.echo, b"still there") == b"still there"
    assert node.statistics().repairs == 0


async def test_the_clock_is_put_back(ends: Ends) -> None:
    """tracemalloc, started before the clock and stopped beneath it, takes its hook away: the sweep notices."""
    node = ends.node
    ref = node.spawn(ak.child(Echo).with_(max_heap_size="1 MiB"))
    await ref.call(Echo.echo, b"x")
    assert clock.verify()
    await node.budgets.look_at_all()
    assert clock.verify()


async def test_a_node_without_budgets_has_no_clock() -> None:
    """Installed while a node with budgets runs; gone with the last."""
    async with ak.open_node() as plain:
        assert not clock.installed()
        async with ak.open_node(name="other") as node:
            node.spawn(ak.child(Echo).with_(max_heap_size="1 MiB"))
            assert clock.installed()
        assert not clock.installed()
        assert plain.step_hook is None
