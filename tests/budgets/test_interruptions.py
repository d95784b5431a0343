"""Alarms at every allocation, in the middle of everything: the run stays intact."""

from __future__ import annotations

import random
import sys
import tracemalloc
from typing import Any

import pytest
import trio
import trio.lowlevel

import actorkit as ak
from actorkit.heap import clock
from actorkit.runtime.budgets import node_budgets

from .conftest import KIB, MIB, Ends, needs_the_extension
from .hogs import Hog, Meter


class Busy(ak.Actor):
    """Does everything that handlers do with trio, and grows meanwhile."""

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
    """Dozens of actors pass tiny limits in the middle of trio's calls. Each dies of its limit, and
    nothing else happens.
    """
    node = ends.node
    echo = node.spawn(Echo)
    refs = [node.spawn(ak.child(Busy, echo, seed * 100 + n).with_(max_heap_size=12 * KIB + n * 500)) for n in range(24)]
    for ref in refs:
        ref.cast(Busy.work)
    for ref in refs:
        assert isinstance(await ends.of(ref), ak.MemoryLimit)
    assert await echo.call(Echo.echo, b"still there") == b"still there"
    assert node.statistics().repairs == 0


class Talker(ak.Actor):
    """Opens nurseries, sends over memory channels and sockets, and grows a little each time."""

    def __init__(self, seed: int, socket: Any, echo: Any) -> None:
        self.random = random.Random(seed)
        self.socket = socket
        self.echo = echo
        self.held: list[bytes] = []

    def grow(self) -> None:
        self.held.append(bytes(self.random.randrange(400)))

    @ak.cast
    async def work(self) -> None:
        while True:
            sender, receiver = trio.open_memory_channel[bytes](self.random.randrange(2))
            async with trio.open_nursery() as nursery, sender, receiver:
                nursery.start_soon(self._send, sender.clone())
                nursery.start_soon(self._receive, receiver.clone())
                self.grow()
                await nursery.start(self._started)
            await self.socket.send(bytes(20))
            with trio.move_on_after(1):
                await self.echo.call(Echo.echo, b"x")
            self.grow()

    async def _started(self, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        self.grow()
        task_status.started()
        await trio.lowlevel.checkpoint()

    async def _send(self, sender: Any) -> None:
        async with sender:
            for _ in range(3):
                self.grow()
                await sender.send(bytes(50))

    async def _receive(self, receiver: Any) -> None:
        async with receiver:
            async for _ in receiver:
                self.grow()


@needs_the_extension
@pytest.mark.parametrize("seed", range(6))
async def test_an_alarm_at_every_allocation(ends: Ends, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """An alarm comes at every single allocation of an actor's code, in the middle of starts in
    nurseries, of memory channels and of sockets. Only the actors die, each of its limit; the run,
    and everybody else in it, stays intact.
    """
    alarms = 0

    def every_time(account: Any, _activation: int) -> None:
        nonlocal alarms
        alarms += 1
        try:
            account.owner.alarmed(sys._getframe(1))
        finally:
            account.soft = account.bytes + 1

    monkeypatch.setattr(node_budgets, "alarm", every_time)
    node = ends.node
    echo = node.spawn(Echo)
    pairs = [trio.socket.socketpair() for _ in range(8)]
    received = 0

    async def drain(socket: Any) -> None:
        nonlocal received
        while data := await socket.recv(1000):
            received += len(data)

    async with trio.open_nursery() as nursery:
        for _, there in pairs:
            nursery.start_soon(drain, there)
        refs = []
        for number, (here, _) in enumerate(pairs):
            size = 20 * KIB + (seed * 8 + number) * 397
            ref = node.spawn(ak.child(Talker, seed * 100 + number, here, echo).with_(max_heap_size=size))
            ref.account.soft = 1  # type: ignore[attr-defined]
            ref.cast(Talker.work)
            refs.append(ref)
        for ref in refs:
            reason = await ends.of(ref)
            assert isinstance(reason, ak.MemoryLimit), reason
        for here, _ in pairs:
            here.close()
    for _, there in pairs:
        there.close()
    assert alarms > 1000
    assert received
    assert await echo.call(Echo.echo, b"still there") == b"still there"
    assert node.statistics().repairs == 0
    assert node.statistics().actors == 1


@pytest.mark.own_process
@needs_the_extension
async def test_the_clock_is_put_back(ends: Ends) -> None:
    """If tracemalloc is started before the clock and stopped beneath it, it takes the clock's hook
    away. The sweep notices, and the next runaway is stopped as before.
    """
    node = ends.node
    assert not clock.installed()
    tracemalloc.start()
    try:
        ref = node.spawn(ak.child(Hog).with_(max_heap_size=MIB))
        assert clock.verify()
        await ref.call(Hog.make, 100 * KIB)
    finally:
        tracemalloc.stop()
    assert not clock.verify()
    await node.engine.budgets.look_at_all()
    assert clock.verify()
    ref.cast(Hog.in_a_handler)
    assert isinstance(await ends.of(ref), ak.MemoryLimit)


@needs_the_extension
@pytest.mark.parametrize("before", [False, True])
async def test_with_tracemalloc(ends: Ends, before: bool) -> None:
    """Whether tracemalloc is started before the clock or after it, a runaway is stopped, and the
    clock can be uninstalled.
    """
    node = ends.node
    if before:
        tracemalloc.start()
    try:
        ref = node.spawn(ak.child(Hog).with_(max_heap_size=MIB))
        if not before:
            tracemalloc.start()
        assert clock.verify()
        Meter.made = 0
        ref.cast(Hog.in_a_handler)
        assert isinstance(await ends.of(ref), ak.MemoryLimit)
        assert MIB // 2 < Meter.made <= 2 * MIB
        if not before:
            tracemalloc.stop()
    finally:
        node.engine.budgets.close()
        tracemalloc.stop()
    assert not clock.installed()


async def test_a_node_without_budgets_has_no_clock() -> None:
    """The clock is installed while a node with budgets runs, and is uninstalled with the last such
    node.
    """
    async with ak.open_node() as plain:
        assert not clock.installed()
        async with ak.open_node(name="other") as node:
            node.spawn(ak.child(Echo).with_(max_heap_size="1 MiB"))
            assert clock.installed()
        assert not clock.installed()
        assert plain.engine.step_hook is None
