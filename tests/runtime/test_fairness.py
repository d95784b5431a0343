"""Fairness: whatever floods, trio's other tasks and other actors get their turns. Counted in messages, never in
seconds."""

from __future__ import annotations

from contextvars import ContextVar
from time import perf_counter
from typing import Any

import pytest
import trio
import trio.testing

import actorkit as ak
from tests.conformance.marks import conforms

from .conftest import OpenNode

VARIABLE: ContextVar[int] = ContextVar("fairness", default=0)

FLOOD = 25_000
"""Messages that a slice could hold at the very most: 20 ns each would be beyond CPython."""

TICKS = 30


class Counter:
    """Counts messages, and the most of them between two turns of the task that ticks."""

    def __init__(self) -> None:
        self.handled = 0
        self.at_last_tick = 0
        self.worst = 0
        self.ticks = 0
        self.on = True

    def tick(self) -> None:
        self.ticks += 1
        self.worst = max(self.worst, self.handled - self.at_last_tick)
        self.at_last_tick = self.handled


async def tick(counter: Counter, ticks: int = TICKS) -> Counter:
    """A task that does what I/O does: wait for its turn, again and again."""
    for _ in range(ticks):
        await trio.lowlevel.checkpoint()
        counter.tick()
    counter.on = False
    return counter


class Flood(ak.Actor):
    def __init__(self, counter: Counter, peer: ak.Ref[Flood] | None = None) -> None:
        self.counter = counter
        self.peer = peer

    @ak.cast
    def meet(self, peer: ak.Ref[Flood]) -> None:
        self.peer = peer

    @ak.cast
    def feed(self) -> None:
        self.counter.handled += 1
        if self.counter.on:
            self.ctx.ref.cast(Flood.feed)

    @ak.cast
    def feed_dirty(self) -> None:
        VARIABLE.set(VARIABLE.get() + 1)
        self.counter.handled += 1
        if self.counter.on:
            self.ctx.ref.cast(Flood.feed_dirty)

    @ak.cast
    async def feed_async(self) -> None:
        self.counter.handled += 1
        if self.counter.on:
            self.ctx.ref.cast(Flood.feed_async)

    @ak.cast
    async def feed_suspending(self) -> None:
        await trio.lowlevel.checkpoint()
        self.counter.handled += 1
        if self.counter.on:
            self.ctx.ref.cast(Flood.feed_suspending)

    @ak.cast
    def bounce(self) -> None:
        self.counter.handled += 1
        if self.counter.on and self.peer is not None:
            self.peer.cast(Flood.bounce)

    @ak.cast
    async def call_inline(self) -> None:
        assert self.peer is not None
        while self.counter.on:
            await self.peer.call(Flood.count)

    @ak.cast
    def spawn_next(self) -> None:
        self.counter.handled += 1
        if self.counter.on:
            self.ctx.spawn(Flood, self.counter).cast(Flood.spawn_next)
            self.ctx.stop()

    @ak.cast
    def work(self, seconds: float) -> None:
        end = perf_counter() + seconds
        while perf_counter() < end:
            pass
        self.counter.handled += 1
        if self.counter.on:
            self.ctx.ref.cast(Flood.work, seconds)

    @ak.call
    def count(self) -> int:
        self.counter.handled += 1
        return self.counter.handled

    @ak.call
    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)

    @ak.cast
    async def wait(self, event: trio.Event) -> None:
        await event.wait()


@pytest.mark.parametrize("actors", [1, 100])
@pytest.mark.parametrize(
    "method", [Flood.feed, Flood.feed_dirty, Flood.feed_async, Flood.feed_suspending, Flood.spawn_next]
)
async def test_a_flood_of_messages_leaves_io_its_turn(opened: OpenNode, method: Any, actors: int) -> None:
    """One slice per trio pass, however many actors feed themselves, whatever context they have."""
    async with opened() as node:
        counter = Counter()
        for _ in range(actors):
            node.spawn(Flood, counter).cast(method)
        await tick(counter)
        assert counter.handled > TICKS / 4
        assert counter.worst < FLOOD


@pytest.mark.parametrize("scheduling", ["max", "high", "low"])
async def test_a_flood_at_any_priority_leaves_io_its_turn(opened: OpenNode, scheduling: Any) -> None:
    """Priority is among actors, not against trio's tasks."""
    async with opened() as node:
        counter = Counter()
        for _ in range(20):
            node.spawn(ak.child(Flood, counter).with_(scheduling=scheduling)).cast(Flood.feed)
        await tick(counter)
        assert counter.handled > 0
        assert counter.worst < FLOOD


async def test_actors_that_feed_each_other_leave_io_its_turn(opened: OpenNode) -> None:
    """Many pairs, one message each."""
    async with opened() as node:
        counter = Counter()
        for _ in range(50):
            one = node.spawn(Flood, counter)
            other = node.spawn(Flood, counter, one)
            one.cast(Flood.meet, other)
            one.cast(Flood.bounce)
        await tick(counter)
        assert counter.worst < FLOOD


@pytest.mark.parametrize("processes", [1, 20])
async def test_a_flood_in_receive_loops_leaves_io_its_turn(opened: OpenNode, processes: int) -> None:
    """``receive`` that finds its message at once gives trio a turn when the slice is over."""

    async def process(ctx: ak.ProcessContext, counter: Counter) -> None:
        while counter.on:
            ctx.ref.send("next")
            await ctx.receive()
            counter.handled += 1

    async with opened() as node:
        counter = Counter()
        for _ in range(processes):
            node.spawn(process, counter)
        await tick(counter)
        assert counter.handled > 0
        # each process may use a slice of its own before it has read the clock
        assert counter.worst < FLOOD


@pytest.mark.parametrize("where", ["task", "handler", "process", "many tasks"])
async def test_a_loop_of_inline_calls_leaves_io_its_turn(opened: OpenNode, where: str) -> None:
    """Inline calls make no checkpoint of their own until the slice is over."""
    async with opened() as node:
        counter = Counter()
        callee = node.spawn(Flood, counter)

        async def loop(_: Any = None) -> None:
            while counter.on:
                await callee.call(Flood.count)

        async def process(ctx: ak.ProcessContext) -> None:
            await loop()

        async with trio.open_nursery() as nursery:
            if where == "handler":
                node.spawn(Flood, counter, callee).cast(Flood.call_inline)
            elif where == "process":
                node.spawn(process)
            else:
                for _ in range(1 if where == "task" else 20):
                    nursery.start_soon(loop)
            await tick(counter)
        assert counter.handled > 0
        assert counter.worst < FLOOD


async def test_slow_handlers_do_not_add_up(opened: OpenNode) -> None:
    """The clock is read after every message when messages are slow: a handful per turn, not a quantum."""
    async with opened() as node:
        counter = Counter()
        node.spawn(Flood, counter).cast(Flood.work, 0.000_3)
        await tick(counter, 5)  # the stride adapts
        counter.on, counter.worst = True, 0
        node.spawn(Flood, counter).cast(Flood.work, 0.000_3)
        await tick(counter)
        assert counter.handled > 0
        assert counter.worst <= 16


async def test_workers_that_wake_together_share_one_slice(opened: OpenNode) -> None:
    """Hundreds of handlers end in one trio pass, each with a full mailbox behind it: trio's other tasks still get their
    turn."""
    async with opened(slice_seconds=0.000_1) as node:
        counter = Counter()
        event = trio.Event()
        refs = [node.spawn(Flood, counter) for _ in range(300)]
        for ref in refs:
            ref.cast(Flood.wait, event)
        await trio.testing.wait_all_tasks_blocked()
        counter.on = False
        for ref in refs:
            for _ in range(200):
                ref.cast(Flood.feed)
        event.set()
        while counter.handled < 60_000:
            await trio.lowlevel.checkpoint()
            counter.tick()
        assert counter.worst < 20_000
        assert counter.ticks >= 5


# --- among actors ---------------------------------------------------------------------------------


class Logger(ak.Actor):
    def __init__(self, log: list[str], word: str) -> None:
        self.log = log
        self.word = word

    @ak.cast
    def note(self) -> None:
        self.log.append(self.word)

    @ak.cast
    async def note_async(self) -> None:
        await trio.lowlevel.checkpoint()
        self.log.append(self.word)

    @ak.cast
    def note_dirty(self) -> None:
        VARIABLE.set(1)
        self.log.append(self.word)


@conforms("PRIO-01")
@pytest.mark.parametrize("method", [Logger.note, Logger.note_dirty])
async def test_priorities(opened: OpenNode, method: Any) -> None:
    """max before high before the others; low gets a turn at least once per eight of normal, and does not wait for its
    end."""
    async with opened() as node:
        log: list[str] = []

        def spawn(word: Any, count: int) -> None:
            for _ in range(count):
                node.spawn(ak.child(Logger, log, word).with_(scheduling=word)).cast(method)

        spawn("low", 20)
        spawn("normal", 200)
        spawn("high", 5)
        spawn("max", 5)
        await trio.testing.wait_all_tasks_blocked()
        assert log[:10] == ["max"] * 5 + ["high"] * 5
        assert sorted(log[10:]) == ["low"] * 20 + ["normal"] * 200
        since = 0
        for word in log[10 : len(log) - log[::-1].index("low")]:
            since = 0 if word == "low" else since + 1
            assert since <= 8
        assert log[10:20].count("normal") == 9 or log[10:20].count("normal") == 8


async def test_an_actor_that_feeds_itself_shares_with_others(opened: OpenNode) -> None:
    """After its quantum it goes to the end of the queue."""
    async with opened(quantum=16) as node:
        counter = Counter()
        log: list[str] = []
        node.spawn(Flood, counter).cast(Flood.feed)
        seen: list[int] = []
        other = node.spawn(Logger, log, "other")
        for _ in range(10):
            before = counter.handled
            other.cast(Logger.note)
            while len(log) < len(seen) + 1:
                await trio.lowlevel.checkpoint()
            seen.append(counter.handled - before)
        counter.on = False
    assert len(log) == 10


async def test_every_actor_gets_its_turn_within_a_round_of_quanta(opened: OpenNode) -> None:
    """With ten that feed themselves, no actor waits for more than ten quanta (and the clock's stride)."""
    async with opened(quantum=16, slice_seconds=10.0) as node:
        order: list[int] = []

        class Feeder(ak.Actor):
            def __init__(self, number: int) -> None:
                self.number = number

            @ak.cast
            def feed(self) -> None:
                order.append(self.number)
                if len(order) < 5_000:
                    self.ctx.ref.cast(Feeder.feed)

        for number in range(10):
            node.spawn(Feeder, number).cast(Feeder.feed)
        await trio.testing.wait_all_tasks_blocked()
        run, longest, last = 0, 0, -1
        for number in order:
            run = run + 1 if number == last else 1
            last = number
            longest = max(longest, run)
        assert longest <= 16 + 8
        for number in range(10):
            positions = [i for i, n in enumerate(order) if n == number]
            gaps = [b - a for a, b in zip(positions, positions[1:], strict=False)]
            assert max(gaps) <= 10 * (16 + 8)


async def test_a_handler_that_blocks_nobody_while_suspended(opened: OpenNode, autojump_clock: Any) -> None:
    """Suspended handlers, however many, do not hold the token."""
    async with opened() as node:
        counter = Counter()
        sleepers = [node.spawn(Flood, counter) for _ in range(100)]
        for ref in sleepers:
            ref.cast(Flood.sleep, 100.0)
        await trio.sleep(1)
        log: list[str] = []
        node.spawn(Logger, log, "x").cast(Logger.note_async)
        await trio.sleep(1)
        assert log == ["x"]
