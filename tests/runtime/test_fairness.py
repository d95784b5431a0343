"""Fairness: whatever floods, trio's other tasks and other actors get their turns. The scheduler's
clock is injected: every message takes 10 µs of it, so a slice is 50 messages on any machine.
"""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from typing import Any

import pytest
import trio
import trio.testing

import actorkit as ak
from actorkit.runtime.base import turns
from actorkit.runtime.base.turns import PER_PASS
from actorkit.runtime.life import pool, pump
from tests.conformance.marks import conforms
from tests.net.helpers import serving

from .conftest import OpenNode

VARIABLE: ContextVar[int] = ContextVar("fairness", default=0)

MESSAGE_NS = 10_000
SLICE = 50
"""Messages in a slice of 0.5 ms."""
STRIDE = 8
"""The most messages between two readings of the clock."""

POOL = 2 * (SLICE + STRIDE)
"""Messages that the pool may handle between two turns of the task that ticks: a slice in each of
two passes, since a task may be the first in one pass and the last in the next.
"""
TURNS = 2 * (SLICE + STRIDE + PER_PASS)
"""The same for those that work without waiting. Each of them does at least one operation when its
turn comes.
"""

TICKS = 30


class Clock:
    """The scheduler's clock. It stands still until something works."""

    def __init__(self) -> None:
        self.now = 10**9

    def __call__(self) -> int:
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock in the place of ``perf_counter_ns``."""
    clock = Clock()
    monkeypatch.setattr(pump, "perf_counter_ns", clock)
    monkeypatch.setattr(pool, "perf_counter_ns", clock)
    monkeypatch.setattr(turns, "perf_counter_ns", clock)
    return clock


class Counter:
    """Counts messages, and the most messages between two turns of the task that ticks."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.handled = 0
        self.at_last_tick = 0
        self.worst = 0
        self.ticks = 0
        self.on = True

    def message(self, nanoseconds: int = MESSAGE_NS) -> None:
        self.handled += 1
        self.clock.now += nanoseconds

    def tick(self) -> None:
        self.ticks += 1
        self.worst = max(self.worst, self.handled - self.at_last_tick)
        self.at_last_tick = self.handled


async def tick(counter: Counter, ticks: int = TICKS) -> Counter:
    """A task that does what I/O does: it waits for its turn, again and again."""
    await trio.lowlevel.checkpoint()  # all of them have begun
    await trio.lowlevel.checkpoint()
    counter.at_last_tick = counter.handled
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
        self.counter.message()
        if self.counter.on:
            self.ctx.ref.cast(Flood.feed)

    @ak.cast
    def feed_dirty(self) -> None:
        VARIABLE.set(VARIABLE.get() + 1)
        self.counter.message()
        if self.counter.on:
            self.ctx.ref.cast(Flood.feed_dirty)

    @ak.cast
    async def feed_async(self) -> None:
        self.counter.message()
        if self.counter.on:
            self.ctx.ref.cast(Flood.feed_async)

    @ak.cast
    async def feed_suspending(self) -> None:
        await trio.lowlevel.checkpoint()
        self.counter.message()
        if self.counter.on:
            self.ctx.ref.cast(Flood.feed_suspending)

    @ak.cast
    def bounce(self) -> None:
        self.counter.message()
        if self.counter.on and self.peer is not None:
            self.peer.cast(Flood.bounce)

    @ak.cast
    async def call_inline(self) -> None:
        assert self.peer is not None
        while self.counter.on:
            await self.peer.call(Flood.count)

    @ak.cast
    def spawn_next(self) -> None:
        self.counter.message()
        if self.counter.on:
            self.ctx.spawn(Flood, self.counter).cast(Flood.spawn_next)
            self.ctx.stop()

    @ak.cast
    def work(self, nanoseconds: int) -> None:
        self.counter.message(nanoseconds)
        if self.counter.on:
            self.ctx.ref.cast(Flood.work, nanoseconds)

    @ak.call
    def count(self) -> int:
        self.counter.message()
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
async def test_a_flood_of_messages_leaves_io_its_turn(opened: OpenNode, clock: Clock, method: Any, actors: int) -> None:
    """The pool uses one slice per trio pass, however many actors feed themselves, whatever context
    they have.
    """
    async with opened() as node:
        counter = Counter(clock)
        for _ in range(actors):
            node.spawn(Flood, counter).cast(method)
        await tick(counter)
        assert counter.handled > TICKS / 4
        # for one that is suspended, trio resumes a task in each pass, for a message
        assert counter.worst <= POOL + (2 * actors if method is Flood.feed_suspending else 0)


@pytest.mark.parametrize("scheduling", ["max", "high", "low"])
async def test_a_flood_at_any_priority_leaves_io_its_turn(opened: OpenNode, clock: Clock, scheduling: Any) -> None:
    """Priority orders actors; it does not put them before trio's tasks."""
    async with opened() as node:
        counter = Counter(clock)
        for _ in range(20):
            node.spawn(ak.child(Flood, counter).with_(scheduling=scheduling)).cast(Flood.feed)
        await tick(counter)
        assert counter.handled > 0
        assert counter.worst <= POOL


async def test_actors_that_feed_each_other_leave_io_its_turn(opened: OpenNode, clock: Clock) -> None:
    """Many pairs feed each other one message at a time."""
    async with opened() as node:
        counter = Counter(clock)
        for _ in range(50):
            one = node.spawn(Flood, counter)
            other = node.spawn(Flood, counter, one)
            one.cast(Flood.meet, other)
            one.cast(Flood.bounce)
        await tick(counter)
        assert counter.worst <= POOL


@pytest.mark.parametrize("processes", [1, 20, 400])
async def test_a_flood_in_receive_loops_leaves_io_its_turn(opened: OpenNode, clock: Clock, processes: int) -> None:
    """A ``receive`` that finds its message at once gives trio a turn when the slice is over."""

    async def process(ctx: ak.ProcessContext, counter: Counter) -> None:
        while counter.on:
            ctx.ref.send("next")
            await ctx.receive()
            counter.message()

    async with opened() as node:
        counter = Counter(clock)
        for _ in range(processes):
            node.spawn(process, counter)
        await tick(counter)
        assert counter.handled >= SLICE
        assert counter.worst <= TURNS


@pytest.mark.parametrize("where", ["task", "handler", "process", "many tasks", "very many tasks"])
async def test_a_loop_of_inline_calls_leaves_io_its_turn(opened: OpenNode, clock: Clock, where: str) -> None:
    """Inline calls make no checkpoint of their own until the slice is over."""
    async with opened() as node:
        counter = Counter(clock)
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
                for _ in range({"task": 1, "many tasks": 20, "very many tasks": 400}[where]):
                    nursery.start_soon(loop)
            await tick(counter)
        assert counter.handled >= SLICE
        assert counter.worst <= TURNS


async def test_slow_handlers_do_not_add_up(opened: OpenNode, clock: Clock) -> None:
    """When messages are slow the clock is read after every message: a turn is a handful of them,
    not a quantum.
    """
    async with opened() as node:
        counter = Counter(clock)
        node.spawn(Flood, counter).cast(Flood.work, 300_000)
        await tick(counter, 5)  # the stride adapts
        counter.on, counter.worst = True, 0
        node.spawn(Flood, counter).cast(Flood.work, 300_000)
        await tick(counter)
        assert counter.handled >= TICKS
        assert counter.worst <= 2 * 3


@pytest.mark.parametrize("operation_ns", [300_000, 2_000_000])
async def test_slow_operations_of_many_processes_do_not_add_up(
    opened: OpenNode, clock: Clock, operation_ns: int
) -> None:
    """A process that is let through when others have used up the pass comes first in the next pass;
    all of them get on.
    """
    done = [0] * 100

    async def process(ctx: ak.ProcessContext, number: int) -> None:
        while counter.on:
            ctx.ref.send("next")
            await ctx.receive()
            counter.message(operation_ns)
            done[number] += 1

    async with opened() as node:
        counter = Counter(clock)
        for number in range(100):
            node.spawn(process, number)
        while min(done) < 2:
            await trio.lowlevel.checkpoint()
        done[:] = [0] * 100
        await tick(counter, 300)
        assert min(done) >= 1
        assert counter.worst <= 2 * 3


async def test_who_came_too_late_can_be_cancelled_and_outlives_the_node(opened: OpenNode, clock: Clock) -> None:
    """Whichever way it ends, no caller is forgotten in the queue."""
    answered, ends = 0, 0

    async def loop(callee: ak.Ref[Flood]) -> None:
        nonlocal answered, ends
        try:
            while True:
                await callee.call(Flood.count)
                counter.clock.now += 2_000_000
                answered += 1
        except ak.CalleeDied:
            ends += 1

    counter = Counter(clock)
    async with trio.open_nursery() as nursery:
        async with opened() as node:
            callee = node.spawn(Flood, counter)
            async with trio.open_nursery() as cancelled:
                for _ in range(100):
                    cancelled.start_soon(loop, callee)
                await tick(counter)
                assert node.engine.turns
                cancelled.cancel_scope.cancel()
            assert not node.engine.turns
            assert answered == counter.handled
            for _ in range(100):
                nursery.start_soon(loop, callee)
            await tick(counter)
    assert ends == 100


async def test_workers_that_wake_together_share_one_slice(opened: OpenNode, clock: Clock) -> None:
    """Hundreds of handlers end in one trio pass, each with a full mailbox behind it: trio's other
    tasks still get their turn.
    """
    async with opened(slice_seconds=0.000_1) as node:
        counter = Counter(clock)
        event = trio.Event()
        refs = [node.spawn(Flood, counter) for _ in range(300)]
        for ref in refs:
            ref.cast(Flood.wait, event)
        await trio.testing.wait_all_tasks_blocked()
        counter.on = False
        for ref in refs:
            for _ in range(20):
                ref.cast(Flood.feed)
        event.set()
        while counter.handled < 6_000:
            await trio.lowlevel.checkpoint()
            counter.tick()
        assert counter.worst <= 2 * (10 + STRIDE)
        assert counter.ticks >= 5


class Line(ak.StreamActor):
    """Every line takes 10 µs."""

    def __init__(self, counter: Counter) -> None:
        self.counter = counter

    def received(self, line: bytes) -> None:
        self.counter.message()


class AsyncLine(Line):
    async def received(self, line: bytes) -> None:
        self.counter.message()


@pytest.mark.parametrize("connections", [1, 40])
@pytest.mark.parametrize("kind", [Line, AsyncLine])
async def test_connections_with_full_sockets_leave_io_its_turn(
    kind: Any, connections: int, clock: Clock, features: Any
) -> None:
    """Lines that are there already are handled for as long as the pass has a slice, whichever peer
    sent them.
    """
    counter = Counter(clock)
    lines = 2_000
    async with serving(ak.tcp_listener(kind, counter, port=0, max_line=10), features=features) as server:
        async with contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(server.client()) for _ in range(connections)]
            for client in clients:
                await client.send(b"x\n" * lines)
            counter.at_last_tick = counter.handled
            while counter.handled < connections * lines:
                await trio.lowlevel.checkpoint()
                counter.tick()
    assert counter.handled == connections * lines
    assert counter.worst <= TURNS


async def test_everybody_gets_its_turn(opened: OpenNode, clock: Clock) -> None:
    """With 400 callers in a loop, none gets much less than the others, and none waits longer than a
    round of turns.
    """
    async with opened() as node:
        counter = Counter(clock)
        callee = node.spawn(Flood, counter)
        done = [0] * 400
        last = [0] * 400
        longest = 0

        async def loop(number: int) -> None:
            nonlocal longest
            while counter.on:
                await callee.call(Flood.count)
                done[number] += 1
                longest = max(longest, counter.ticks - last[number])
                last[number] = counter.ticks

        async with trio.open_nursery() as nursery:
            for number in range(400):
                nursery.start_soon(loop, number)
            for _ in range(20):  # the first finds a slice that it shares with no other
                await trio.lowlevel.checkpoint()
            done[:] = [0] * 400
            await tick(counter, 200)
        assert longest <= 2 * 400 / PER_PASS + 4
        assert max(done) <= 4 * min(done)


async def test_who_waits_for_a_turn_can_be_cancelled(opened: OpenNode, clock: Clock) -> None:
    """A cancellation does not lose the answer of a call that has been answered; the loop ends at
    its next call.
    """
    async with opened() as node:
        counter = Counter(clock)
        callee = node.spawn(Flood, counter)
        answered = 0

        async def loop() -> None:
            nonlocal answered
            while True:
                await callee.call(Flood.count)
                answered += 1

        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(loop)
            await tick(counter)
            assert node.engine.turns
            nursery.cancel_scope.cancel()
        assert answered == counter.handled
        assert not node.engine.turns


async def test_the_hosts_tasks_outlive_the_node(opened: OpenNode, clock: Clock) -> None:
    """A task that waits for a turn when the node closes goes on, and hears that its callee
    is dead.
    """
    counter = Counter(clock)
    ends: list[str] = []

    async def loop(callee: ak.Ref[Flood]) -> None:
        try:
            while True:
                await callee.call(Flood.count)
        except ak.CalleeDied:
            ends.append("told")

    async with trio.open_nursery() as nursery:
        async with opened() as node:
            callee = node.spawn(Flood, counter)
            for _ in range(100):
                nursery.start_soon(loop, callee)
            await tick(counter)
    assert ends == ["told"] * 100


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
async def test_priorities(opened: OpenNode, clock: Clock, method: Any) -> None:
    """Actors at max run before those at high, and these before the others; an actor at low gets a
    turn at least once per eight at normal, without waiting for them to end.
    """
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


async def test_an_actor_that_feeds_itself_shares_with_others(opened: OpenNode, clock: Clock) -> None:
    """After its quantum the actor goes to the end of the queue."""

    class Waits(ak.Actor):
        @ak.call
        async def turn(self, since: int) -> int:
            return counter.handled - since

    async with opened(quantum=16) as node:
        counter = Counter(clock)
        node.spawn(Flood, counter).cast(Flood.feed)
        other = node.spawn(Waits)
        waited = [await other.call(Waits.turn, counter.handled) for _ in range(20)]
        counter.on = False
    assert max(waited) <= 2 * (16 + STRIDE)


async def test_every_actor_gets_its_turn_within_a_round_of_quanta(opened: OpenNode, clock: Clock) -> None:
    """With ten actors that feed themselves, none waits for more than ten quanta (and the clock's
    stride).
    """
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


async def test_a_handler_that_blocks_nobody_while_suspended(
    opened: OpenNode, clock: Clock, autojump_clock: Any
) -> None:
    """Suspended handlers, however many, do not hold the token."""
    async with opened() as node:
        counter = Counter(clock)
        sleepers = [node.spawn(Flood, counter) for _ in range(100)]
        for ref in sleepers:
            ref.cast(Flood.sleep, 100.0)
        await trio.sleep(1)
        log: list[str] = []
        node.spawn(Logger, log, "x").cast(Logger.note_async)
        await trio.sleep(1)
        assert log == ["x"]


async def test_nobody_is_waited_for_who_was_cancelled(
    opened: OpenNode, clock: Clock, autojump_clock: trio.testing.MockClock
) -> None:
    """When only cancelled callers are left in the queue, the turnstile sleeps, so a clock that
    jumps when nothing runs does jump.
    """
    async with opened() as node:
        counter = Counter(clock)
        callee = node.spawn(Flood, counter)

        async def loop() -> None:
            while True:
                await callee.call(Flood.count)

        for many in (1, 2, 40, 100):
            for steps in range(6):
                async with trio.open_nursery() as nursery:
                    for _ in range(many):
                        nursery.start_soon(loop)
                    for _ in range(steps):
                        await trio.lowlevel.checkpoint()
                    nursery.cancel_scope.cancel()
                with trio.fail_after(3600):
                    await trio.sleep(60)
        assert not node.engine.turns


async def test_the_turnstile_sleeps_when_the_rest_was_cancelled(
    opened: OpenNode, clock: Clock, autojump_clock: trio.testing.MockClock
) -> None:
    """One caller is let through, and all the callers behind it have gone."""
    async with opened() as node:
        done = []

        async def wait(name: str) -> None:
            await node.engine.take_turn()
            done.append(name)

        async with trio.open_nursery() as nursery:
            scopes = []
            nursery.start_soon(wait, "alone")
            for _ in range(60):
                scope = trio.CancelScope()
                scopes.append(scope)

                async def cancelled(scope: trio.CancelScope = scope) -> None:
                    with scope:
                        await wait("late")

                nursery.start_soon(cancelled)
            await trio.lowlevel.checkpoint()
            for scope in scopes[5:]:
                scope.cancel()
        await trio.sleep(60)
        assert done
        assert not node.engine.turns
