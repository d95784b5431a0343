"""An actor that asks for it hears in time that its budget is nearly used up, through every door."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import trio

import actorkit as ak
from actorkit.heap import clock

from .conftest import KIB, MIB, Ends, needs_the_extension
from .hogs import block

LIMIT = ak.HeapLimit(MIB, tell=0.8)


def pressures(heard: list[Any]) -> list[ak.BudgetPressure]:
    return [message for message in heard if isinstance(message, ak.BudgetPressure)]


def assert_in_time(message: ak.BudgetPressure, limit: int = MIB, tell: float = 0.8) -> None:
    assert message.limit == limit
    assert tell * limit <= message.used <= limit, message


class Keeper(ak.Actor):
    """Keeps what it gets, and takes down what it hears, in order."""

    def __init__(self) -> None:
        self.held: list[bytes] = []
        self.heard: list[Any] = []

    def handle_info(self, message: object) -> None:
        self.heard.append(message)

    @ak.call
    def keep(self, kib: int, name: object = None) -> None:
        self.held += [bytes(KIB - 64) for _ in range(kib)]
        self.heard.append(name)

    @ak.call
    async def keep_and_wait(self, kib: int) -> None:
        self.keep(kib)
        await trio.lowlevel.checkpoint()

    @ak.cast
    def keep_step_by_step(self, kib: int) -> None:
        for _ in range(kib):
            self.held.append(bytes(KIB - 64))

    @ak.call
    def let_go(self, kib: int) -> None:
        del self.held[:kib]

    @ak.call
    def told(self) -> list[Any]:
        return self.heard


async def look(ends: Ends) -> None:
    await ends.node.engine.budgets.look_at_all()
    await trio.testing.wait_all_tasks_blocked()


def look_now(ends: Ends, ref: ak.Ref[Any]) -> None:
    """As at a boundary at which the account is due. Without the extension few are."""
    ends.node.engine.budgets.all[ref].at_boundary()  # type: ignore[index]


DOORS: dict[str, Callable[[ak.Ref[Keeper], int], Any]] = {
    "an inline call": lambda ref, kib: ref.call(Keeper.keep, kib),
    "an async call": lambda ref, kib: ref.call(Keeper.keep_and_wait, kib),
}


@pytest.mark.parametrize("door", DOORS)
async def test_it_is_told_once_and_again_after_a_fall(ends: Ends, door: str) -> None:
    """It is told at the mark, not at each message after it; again only when it has let go of
    enough. Fault: it is told at each look."""
    through = DOORS[door]
    ref = ends.node.spawn(ak.child(Keeper).with_(max_heap_size=LIMIT))

    async def heard(kib: int) -> int:
        await through(ref, kib)
        await look(ends)
        return len(pressures(await ref.call(Keeper.told)))

    assert await heard(700) == 0
    assert await heard(150) == 1  # 850 KiB
    assert await heard(50) == 1
    await ref.call(Keeper.let_go, 150)  # 750: in the gap
    await look(ends)
    assert await heard(80) == 1  # 830
    await ref.call(Keeper.let_go, 200)  # 630: below it
    await look(ends)
    assert await heard(100) == 1  # 730
    assert await heard(100) == 2  # 830
    for message in pressures(await ref.call(Keeper.told)):
        assert_in_time(message)


async def test_an_idle_actor_is_found_by_the_sweep(ends: Ends) -> None:
    """Something becomes its own because somebody else lets go of it. No message comes, and it hears
    of it all the same."""
    shared = [bytes(KIB - 64) for _ in range(900)]
    ref = ends.node.spawn(ak.child(Keeper).with_(max_heap_size=LIMIT))
    await ref.call(Keeper.keep, 0)
    ref.obj.held = shared  # type: ignore[attr-defined]
    await look(ends)
    assert not pressures(ref.obj.heard)  # type: ignore[attr-defined]
    del shared
    await look(ends)
    (message,) = pressures(ref.obj.heard)  # type: ignore[attr-defined]
    assert_in_time(message)


async def test_a_full_mailbox_does_not_overtake_it(ends: Ends) -> None:
    """Whatever waits, it is the next message. The bound and the policy of the mailbox do not apply
    to it; it takes a place."""
    spec = ak.child(Keeper).with_(max_heap_size=LIMIT, mailbox=5, overflow="drop_oldest")
    ref = ends.node.spawn(spec)
    await ref.call(Keeper.keep, 850, "first")
    ref.cast(Keeper.keep, 0, "dropped")
    look_now(ends, ref)
    for number in range(20):
        ref.cast(Keeper.keep, 0, number)
    await trio.testing.wait_all_tasks_blocked()
    first, message, *others = await ref.call(Keeper.told)
    assert (first, others) == ("first", [16, 17, 18, 19])
    assert_in_time(message)


@needs_the_extension
async def test_in_the_middle_of_a_batch(ends: Ends) -> None:
    """It is told between two messages of one turn, in front of those that wait."""
    ref = ends.node.spawn(ak.child(Keeper).with_(max_heap_size=LIMIT))
    ref.cast(Keeper.keep_step_by_step, 850)
    ref.cast(Keeper.keep, 0, "next")
    heard = await ref.call(Keeper.told)
    assert len(heard) == 2
    assert_in_time(heard[0])


async def test_a_handler_that_waits_hears_of_it_when_it_is_done(ends: Ends) -> None:
    """While a handler waits the actor cannot be told anything; then this comes first."""

    class Waiting(Keeper):
        @ak.cast
        async def wait(self) -> None:
            self.keep(850)
            await let_go.wait()
            self.heard.append("done")

    let_go = trio.Event()
    ref = ends.node.spawn(ak.child(Waiting).with_(max_heap_size=LIMIT))
    ref.cast(Waiting.wait)
    ref.cast(Keeper.keep, 0, "next")
    await trio.testing.wait_all_tasks_blocked()
    await look(ends)
    let_go.set()
    await trio.testing.wait_all_tasks_blocked()
    kept, done, message, after = await ref.call(Keeper.told)
    assert (kept, done, after) == (None, "done", "next")
    assert_in_time(message)


async def test_what_a_message_continues_with_comes_first(ends: Ends) -> None:
    """As with a stop, nothing comes between a message and its continuation; and ``init`` is the
    first message."""

    class Continuing(Keeper):
        def init(self) -> None:
            self.keep(850, "init")
            self.ctx.continue_with(Continuing.go_on)

        def go_on(self) -> None:
            self.heard.append("went on")

    ref = ends.node.spawn(ak.child(Continuing).with_(max_heap_size=LIMIT))
    ref.cast(Keeper.keep, 0, "next")
    await trio.testing.wait_all_tasks_blocked()
    await look(ends)
    heard = await ref.call(Keeper.told)
    assert heard[:2] == ["init", "went on"]
    assert len(pressures(heard)) == 1


async def test_a_suspended_actor_hears_of_it_when_it_goes_on(ends: Ends) -> None:
    ref = ends.node.spawn(ak.child(Keeper).with_(max_heap_size=LIMIT))
    await ak.sys.suspend(ref)
    ref.obj.held = [bytes(KIB - 64) for _ in range(850)]  # type: ignore[attr-defined]
    ref.cast(Keeper.keep, 0, "next")
    for _ in range(3):
        await look(ends)
    assert not ref.obj.heard  # type: ignore[attr-defined]
    await ak.sys.resume(ref)
    message, after = await ref.call(Keeper.told)
    assert after == "next"
    assert_in_time(message)


async def test_an_actor_that_is_ending_does_not_hear_it(ends: Ends) -> None:
    class Ending(Keeper):
        async def terminate(self, reason: ak.ExitReason) -> None:
            self.keep(850)
            await trio.lowlevel.checkpoint()
            ended.extend(self.heard)

    ended: list[Any] = []
    ref = ends.node.spawn(ak.child(Ending).with_(max_heap_size=LIMIT))
    ref.stop()
    await ends.of(ref)
    assert ended == [None]


@pytest.mark.parametrize("wanted", [None, ak.BudgetPressure])
async def test_a_process_receives_it_before_older_messages(ends: Ends, wanted: Any) -> None:
    """A process has no ``handle_info``: it gets it from ``receive``, by class if it likes. Fault: a
    selective ``receive`` that waits already believes that it has looked at all."""
    heard: list[Any] = []

    async def process(ctx: ak.ProcessContext) -> None:
        held = [bytes(KIB - 64) for _ in range(700)]
        ready.set()
        heard.append(await ctx.receive(lambda message: message == "grow"))
        held += [bytes(KIB - 64) for _ in range(150)]
        await looked.wait()
        heard.append(await ctx.receive(wanted))
        heard.append(await ctx.receive())
        del held

    ready, looked = trio.Event(), trio.Event()
    ref = ends.node.spawn(ak.child(process).with_(max_heap_size=LIMIT))
    await ready.wait()
    for message in ("first", "second", "grow"):
        ref.send(message)
    await trio.testing.wait_all_tasks_blocked()
    await look(ends)
    looked.set()
    await ends.of(ref)
    assert (heard[0], heard[2]) == ("grow", "first")
    assert_in_time(heard[1])


async def test_a_process_that_waits_is_woken(ends: Ends) -> None:
    """It waits for one class, with other messages in its mailbox that it does not want, and what it
    holds becomes its own meanwhile."""
    shared = [bytes(KIB - 64) for _ in range(900)]
    heard: list[Any] = []
    held: list[Any] = []

    async def process(ctx: ak.ProcessContext) -> None:
        mine = held.pop()
        heard.append(await ctx.receive(ak.BudgetPressure))
        heard.append(await ctx.receive())
        del mine

    held.append(shared)
    ref = ends.node.spawn(ak.child(process).with_(max_heap_size=LIMIT))
    for number in range(3):
        ref.send(number)
    await trio.testing.wait_all_tasks_blocked()
    await look(ends)
    assert not heard
    del shared
    await look(ends)
    await ends.of(ref)
    assert_in_time(heard[0])
    assert heard[1] == 0


async def test_a_process_that_does_not_receive_it_has_one(ends: Ends) -> None:
    """What it has not received is replaced by the next: they do not pile up."""
    shared: list[Any] = []

    async def process(ctx: ak.ProcessContext) -> None:
        mine = shared
        await ctx.receive(str)
        while True:
            with suppress(trio.WouldBlock):
                heard.append(ctx.receive_nowait())
                continue
            break
        del mine

    heard: list[Any] = []
    ref = ends.node.spawn(ak.child(process).with_(max_heap_size=ak.HeapLimit(MIB, tell=0.8, include_shared=True)))
    await trio.testing.wait_all_tasks_blocked()
    for _ in range(5):
        shared += [bytes(KIB - 64) for _ in range(850)]
        await look(ends)
        shared.clear()
        await look(ends)
    ref.send("go on")
    await ends.of(ref)
    assert len(heard) == 1
    assert_in_time(heard[0])


async def test_only_who_asks_is_told(ends: Ends) -> None:
    for limit in (ak.HeapLimit(MIB), ak.HeapLimit(MIB, tell=False)):
        ref = ends.node.spawn(ak.child(Keeper).with_(max_heap_size=limit))
        await ref.call(Keeper.keep, 950)
        await look(ends)
        assert not pressures(await ref.call(Keeper.told))


async def test_the_node_s_default_is_inherited() -> None:
    async with ak.open_node(max_heap_size=ak.HeapLimit(4 * MIB, tell=0.5)) as node:
        for limit, expected in ((None, 4 * MIB), (ak.HeapLimit(MIB), MIB), (ak.HeapLimit(MIB, tell=False), None)):
            ref = node.spawn(ak.child(Keeper).with_(max_heap_size=limit))
            await ref.call(Keeper.keep, (expected or MIB) * 6 // 10 // KIB)
            await node.engine.budgets.look_at_all()
            await trio.testing.wait_all_tasks_blocked()
            heard = pressures(await ref.call(Keeper.told))
            assert [message.limit for message in heard] == ([] if expected is None else [expected])


async def test_who_is_only_watched_is_told_too(ends: Ends) -> None:
    """``kill=False`` and ``tell`` go together, even beyond the limit."""
    ref = ends.node.spawn(ak.child(Keeper).with_(max_heap_size=ak.HeapLimit(MIB, kill=False, tell=0.8)))
    for _ in range(4):
        await ref.call(Keeper.keep, 2000)
        await look(ends)
    (message,) = pressures(await ref.call(Keeper.told))
    assert message.limit == MIB
    await ref.call(Keeper.let_go, 8000)
    await look(ends)
    await ref.call(Keeper.keep, 900)
    await look(ends)
    assert len(pressures(await ref.call(Keeper.told))) == 2


class Cache(ak.Actor):
    """Holds what fits, and lets go of the oldest half when it hears that it is nearly full."""

    def __init__(self) -> None:
        self.entries: OrderedDict[int, bytes] = OrderedDict()
        self.evictions = 0

    def handle_info(self, message: object) -> None:
        assert isinstance(message, ak.BudgetPressure)
        self.evictions += 1
        for _ in range(len(self.entries) // 2):
            self.entries.popitem(last=False)

    @ak.cast
    def put(self, key: int) -> None:
        self.entries[key] = block()

    @ak.call
    def look(self) -> tuple[int, int]:
        return len(self.entries), self.evictions


@pytest.mark.parametrize("burst", [1, 50])
async def test_a_cache_that_evicts_in_time_lives(ends: Ends, burst: int) -> None:
    """20 MB go through a cache of 1 MiB. Fault: it is not told again after it has evicted and grown
    between two looks."""
    ref = ends.node.spawn(ak.child(Cache).with_(max_heap_size=LIMIT))
    for number in range(0, 20_000, burst):
        for key in range(number, number + burst):
            ref.cast(Cache.put, key)
        await trio.testing.wait_all_tasks_blocked()
        if number % 100 == 0:
            await look(ends)
    entries, evictions = await ref.call(Cache.look)
    assert evictions >= 20_000 // 800
    assert 300 < entries < 1000


class Line(ak.StreamActor):
    """Keeps so many KiB for each line, and takes down what it hears."""

    heard: list[Any]

    def __init__(self) -> None:
        self.held: list[list[bytes]] = []

    def handle_info(self, message: object) -> None:
        self.heard.append(message)

    def received(self, line: bytes) -> None:
        self.held.append([bytes(KIB - 64) for _ in range(int(line))])
        self.heard.append(len(self.held))
        self.write(b".")


class AsyncLine(Line):
    async def received(self, line: bytes) -> None:  # type: ignore[override]
        super().received(line)


@pytest.mark.parametrize("cls", [Line, AsyncLine])
async def test_between_the_lines_of_a_batch(ends: Ends, cls: type[Line]) -> None:
    """A connection that gets forty lines at once hears of it after the line that reached the mark,
    not after the last one. Without the extension nothing is seen inside a batch, and it hears of it
    after that."""
    heard: list[Any] = []
    cls.heard = heard
    listener = ak.tcp_listener(ak.child(cls).with_(max_heap_size=LIMIT), port=0, host="127.0.0.1", max_line=99)
    ref = await ends.node.start(listener)
    assert ref is not None
    ((_, port, *_),) = await ref.call(ak.Listener.addresses)
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    await stream.send_all(b"24\n" * 40)
    answers = 0
    while answers < 40:
        answers += len(await stream.receive_some())
    await look(ends)
    at = [index for index, message in enumerate(heard) if isinstance(message, ak.BudgetPressure)]
    assert len(at) == 1
    assert_in_time(heard[at[0]])
    if clock.COUNTS_ALLOCATIONS:
        assert 34 <= at[0] <= 36
    await stream.aclose()
