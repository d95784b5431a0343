"""An actor over its limit ends with MemoryLimit, wherever it grows, and nobody else is affected."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

import pytest
import trio

import actorkit as ak
from actorkit.heap import clock, walk
from actorkit.heap.python import clock as portable_clock
from actorkit.runtime.budgets.holdings import heap_of
from tests.conformance.marks import conforms

from .conftest import KIB, MIB, Ends, needs_the_extension, without_the_extension
from .hogs import Hog, Meter, growing, growing_and_catching, growing_at_once


def over(reason: Any, limit: int) -> int:
    assert isinstance(reason, ak.MemoryLimit), reason
    assert reason.limit == limit
    assert reason.abnormal
    return reason.usage.charged - limit


PLACES = [
    "in_a_handler",
    "in_a_local",
    "in_a_helper",
    "in_a_deque",
    "in_a_comprehension",
    "in_a_lambda",
    "between_awaits",
    "in_an_open_nursery",
    "in_an_async_generator",
    "in_a_task",
    "in_a_task_of_a_task",
    "in_a_task_that_catches",
    "catching_all",
    "catching_for_ever",
    "catching_in_a_nursery",
]


def leeway(limit: int) -> int:
    """How far an actor may run beyond its limit before it is stopped."""
    return max(limit // 10, MIB)


@conforms("HEAP-06")
@needs_the_extension
@pytest.mark.parametrize("limit", [2 * MIB, 16 * MIB])
@pytest.mark.parametrize("where", PLACES)
async def test_within_one_message(ends: Ends, where: str, limit: int) -> None:
    """An actor ends at most a tenth of its limit, or 1 MiB, beyond it, counted by what it really
    allocated, wherever it grows, and even if it catches whatever is raised and goes on.
    """
    Meter.made = 0
    ref = ends.node.spawn(ak.child(Hog).with_(max_heap_size=limit))
    ref.cast(getattr(Hog, where))
    assert over(await ends.of(ref), limit) > 0
    assert limit * 0.7 < Meter.made <= limit + leeway(limit)


@needs_the_extension
async def test_who_has_called_it_inline_hears_of_the_same_reason(ends: Ends) -> None:
    """The caller of an inline call, links and monitors all get the same reason."""

    class Greedy(Hog):
        @ak.call
        def eat(self) -> None:
            self.in_a_handler()

    ref = ends.node.spawn(ak.child(Greedy).with_(max_heap_size=MIB))
    with pytest.raises(ak.CalleeDied) as caught:
        await ref.call(Greedy.eat)
    assert caught.value.reason == await ends.of(ref)
    assert over(caught.value.reason, MIB) > 0


@needs_the_extension
@pytest.mark.parametrize("where", [place for place in PLACES if "catch" not in place])
async def test_the_same_in_a_loop_that_catches_all(ends: Ends, where: str) -> None:
    """A loop with ``try: ... except BaseException: continue`` gains the actor nothing."""
    Meter.made = 0
    ref = ends.node.spawn(ak.child(Hog).with_(max_heap_size=2 * MIB))
    ref.cast(Hog.catching, getattr(Hog, where))
    assert over(await ends.of(ref), 2 * MIB) > 0
    assert 1.4 * MIB < Meter.made <= 2 * MIB + leeway(2 * MIB)


@needs_the_extension
async def test_a_thousand_neighbours_never_notice(ends: Ends) -> None:
    """After each of these deaths a thousand other actors have the same state as before."""
    others = [ends.node.spawn(Hog) for _ in range(1000)]
    for number, other in enumerate(others):
        for _ in range(number % 3):
            await other.call(Hog.make, number)
    for where in PLACES:
        ref = ends.node.spawn(ak.child(Hog).with_(max_heap_size=MIB))
        ref.cast(getattr(Hog, where))
        over(await ends.of(ref), MIB)
    for how in ("list", "giant"):
        ref = ends.node.spawn(ak.child(Hog).with_(max_heap_size=MIB))
        ref.cast(Hog.in_c, how)
        await ends.of(ref)
    for process in (growing, growing_at_once, growing_and_catching):
        over(await ends.of(ends.node.spawn(ak.child(process).with_(max_heap_size=MIB))), MIB)
    ref = ends.node.spawn(ak.child(Hog).with_(max_heap_size=MIB))
    ref.cast(Hog.in_a_thread)
    over(await ends.of(ref), MIB)
    for number, other in enumerate(others):
        assert await other.call(Hog.size) == number % 3
    assert ends.node.statistics().repairs == 0


@pytest.mark.parametrize(
    "function",
    [
        growing,
        pytest.param(growing_at_once, marks=needs_the_extension),
        pytest.param(growing_and_catching, marks=needs_the_extension),
    ],
)
async def test_a_process(ends: Ends, function: Any) -> None:
    """Each suspension of a process is a boundary, and a process is also stopped in between."""
    Meter.made = 0
    ref = ends.node.spawn(ak.child(function).with_(max_heap_size=MIB))
    over(await ends.of(ref), MIB)
    if clock.COUNTS_ALLOCATIONS:
        assert Meter.made <= MIB + leeway(MIB)


async def test_between_messages(ends: Ends) -> None:
    """Growth over many messages is found at the boundary of the message that passes the limit."""
    ref = ends.node.spawn(ak.child(Hog).with_(max_heap_size=MIB))
    done = 0
    with pytest.raises(ak.CalleeDied):
        for _ in range(100_000):
            await ref.call(Hog.make, 20_000)
            done += 1
            await trio.lowlevel.checkpoint()
    over(await ends.of(ref), MIB)
    assert done >= 45
    if clock.COUNTS_ALLOCATIONS:
        assert done <= 55


@without_the_extension
async def test_without_the_extension_growth_is_found_after_a_number_of_activations(
    ends: Ends, mock_clock: trio.testing.MockClock
) -> None:
    """The number of activations follows from the cost of the last look. No sweep helps, since no
    time passes here.
    """
    ref = ends.node.spawn(ak.child(Hog).with_(max_heap_size=MIB))
    for _ in range(100):
        await ref.call(Hog.make, 1000)
    await ref.call(Hog.make, 2 * MIB)
    account = ends.node.engine.budgets.all[ref].account  # type: ignore[index]
    activation = account.activation
    with pytest.raises(ak.CalleeDied):
        while True:
            await ref.call(Hog.size)
            await trio.lowlevel.checkpoint()
    over(await ends.of(ref), MIB)
    assert account.activation - activation <= portable_clock.PER_REFERENCE * (portable_clock.OF_A_LOOK + 150)


@without_the_extension
async def test_without_the_extension_looks_cost_a_share_of_the_activations(
    ends: Ends, mock_clock: trio.testing.MockClock
) -> None:
    """An actor that holds a lot is looked at seldom."""
    ref = ends.node.spawn(ak.child(Hog).with_(max_heap_size=MIB))
    await ref.call(Hog.keep_numbers, 3000)
    account = ends.node.engine.budgets.all[ref].account  # type: ignore[index]
    activation, followed = account.activation, walk.references_followed()
    while account.activation < activation + 40_000:
        await ref.call(Hog.size)
    followed = walk.references_followed() - followed
    assert 2 * 3000 < followed <= 40_000 // portable_clock.PER_REFERENCE + 3100


async def test_garbage_is_not_held(ends: Ends) -> None:
    """An actor may allocate any amount, in one message or in many, as long as it lets go of it
    again.
    """
    ref = ends.node.spawn(ak.child(Hog).with_(max_heap_size=MIB))
    for _ in range(300):
        await ref.call(Hog.make, 200_000)
        await ref.call(Hog.forget)
    assert ref.alive


@conforms("HEAP-06")
@needs_the_extension
@pytest.mark.parametrize("how", ["list", "sorted", "set", "dict"])
async def test_loops_in_c(ends: Ends, how: str) -> None:
    """A loop in C cannot be interrupted; its requests are refused before the actor holds twice its
    hard cap.
    """
    ref = ends.node.spawn(ak.child(Hog).with_(max_heap_size=4 * MIB))
    ref.cast(Hog.in_c, how)
    reason = await ends.of(ref)
    assert isinstance(reason, (ak.Crash, ak.MemoryLimit))
    if isinstance(reason, ak.Crash):
        assert reason.type == "MemoryError"
    count = next(Meter.numbers)
    container: Any = {"list": list, "sorted": list, "set": set, "dict": dict.fromkeys}[how]
    each = {"list": 64, "sorted": 32 + 64 + 8, "set": 64, "dict": 32}[how]
    held = count * each + sys.getsizeof(container(range(count)))
    assert held <= 2 * 6 * MIB


@conforms("HEAP-06")
@needs_the_extension
async def test_a_giant(ends: Ends) -> None:
    """``bytes(10**10)`` is a MemoryError in that actor, and in no other."""
    other = ends.node.spawn(ak.child(Hog).with_(max_heap_size=4 * MIB))
    await other.call(Hog.make, MIB)
    ref = ends.node.spawn(ak.child(Hog).with_(max_heap_size=4 * MIB))
    ref.cast(Hog.in_c, "giant")
    reason = await ends.of(ref)
    assert isinstance(reason, ak.Crash)
    assert reason.type == "MemoryError"
    await other.call(Hog.make, MIB)
    assert await other.call(Hog.size) == 2


@pytest.mark.real_clock("without the extension it is found by the sweep, which comes after some seconds")
async def test_a_worker_thread(ends: Ends) -> None:
    """What a thread allocates for the actor is found at the actor's next boundary."""
    ref = ends.node.spawn(ak.child(Hog).with_(max_heap_size=MIB))
    ref.cast(Hog.in_a_thread)
    over(await ends.of(ref), MIB)


@needs_the_extension
async def test_a_large_request_in_a_worker_thread(ends: Ends) -> None:
    """A large request in a worker thread is refused there, and ``to_thread`` raises the
    MemoryError.
    """
    ref = ends.node.spawn(ak.child(Hog).with_(max_heap_size=MIB))
    ref.cast(Hog.large_in_a_thread)
    reason = await ends.of(ref)
    assert isinstance(reason, ak.Crash)
    assert reason.type == "MemoryError"


async def test_a_constructor(ends: Ends, autojump_clock: Any) -> None:
    """An actor may be too large from its constructor on."""

    class Large(ak.Actor):
        def __init__(self) -> None:
            self.held = [bytes(1000) for _ in range(5000)]

    reason: Any = None
    try:
        ref = ends.node.spawn(ak.child(Large).with_(max_heap_size=MIB))
    except ak.StartFailed as error:
        reason = error.reason
    else:
        reason = await ends.of(ref)
    over(reason, MIB)


async def test_shared_bytes_are_nobody_s(ends: Ends) -> None:
    """Of two actors that hold one object neither is charged. When one drops it, the other is
    charged.
    """
    node = ends.node
    first, second = (node.spawn(ak.child(Hog).with_(max_heap_size=MIB)) for _ in range(2))
    shared = bytes(3 * MIB)
    first.cast(Hog.keep, shared)
    second.cast(Hog.keep, shared)
    del shared
    await trio.testing.wait_all_tasks_blocked()
    await node.engine.budgets.look_at_all()
    assert first.alive
    assert second.alive
    await first.call(Hog.forget)
    await node.engine.budgets.look_at_all()
    over(await ends.of(second), MIB)
    assert first.alive


async def test_an_object_of_two(ends: Ends) -> None:
    """Of two actors that share 10 MB neither is charged; with include_shared both are. When one
    drops it, the other is charged.
    """
    node = ends.node
    first, second = (node.spawn(ak.child(Hog).with_(max_heap_size=16 * MIB)) for _ in range(2))
    size = 10_000_000
    shared = bytes(size)
    for ref in (first, second):
        ref.cast(Hog.keep, shared)
    del shared
    await trio.testing.wait_all_tasks_blocked()

    def charged(ref: Any) -> int:
        info = node.process_info(ref, walk=True)
        assert info is not None
        assert info.memory is not None
        return info.memory.charged

    assert charged(first) < 10_000
    assert charged(second) < 10_000
    assert heap_of(first, shared=True).shared >= size  # type: ignore[arg-type]
    assert heap_of(second, shared=True).shared >= size  # type: ignore[arg-type]
    await first.call(Hog.forget)
    assert charged(first) < 10_000
    assert charged(second) >= size


@conforms("HEAP-02")
async def test_include_shared(ends: Ends) -> None:
    """With include_shared, what others hold too counts, like include_shared_binaries in Erlang."""
    node = ends.node
    limit = ak.HeapLimit(MIB, include_shared=True)
    first, second = (node.spawn(ak.child(Hog).with_(max_heap_size=limit)) for _ in range(2))
    shared = bytes(3 * MIB)
    for ref in (first, second):
        assert not ref.cast(Hog.keep, shared)
        assert ref.cast(Hog.keep, shared[: MIB // 2])
        state: Any = ref
        state.obj.held.append(shared)
    await trio.testing.wait_all_tasks_blocked()
    await node.engine.budgets.look_at_all()
    for ref in (first, second):
        assert isinstance(await ends.of(ref), ak.MemoryLimit)


@conforms("HEAP-01")
async def test_only_watched(ends: Ends) -> None:
    """With kill=False there is one event each time the actor passes its limit, and the actor goes
    on.
    """
    node = ends.node
    with node.subscribe(ak.HeapLimitPassed) as passed:
        ref = node.spawn(ak.child(Hog).with_(max_heap_size=ak.HeapLimit(100 * KIB, kill=False)))
        for expected in (1, 2):
            for _ in range(8):
                await ref.call(Hog.make, 50 * KIB)
                await node.engine.budgets.look_at_all()
            events: Any = passed.drain()
            assert len(events) == 1, expected
            assert events[0].limit == 100 * KIB
            assert not events[0].kill
            assert events[0].usage.charged > 100 * KIB
            await ref.call(Hog.forget)
            await node.engine.budgets.look_at_all()
        assert ref.alive
        assert node.engine.budgets.all[ref].peak > 390 * KIB  # type: ignore[index]


async def test_it_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """One line is logged each time the limit is passed, with the types that hold the most; none
    with log=False.
    """
    async with ak.open_node() as node:
        for log in (True, False):
            ref = node.spawn(ak.child(Hog).with_(max_heap_size=ak.HeapLimit(100 * KIB, kill=False, log=log)))
            for _ in range(8):
                await ref.call(Hog.make, 50 * KIB)
                await node.engine.budgets.look_at_all()
    (line,) = [record.getMessage() for record in caplog.records if record.name == "actorkit"]
    assert "passed its max_heap_size" in line
    assert "of 102400 B" in line
    assert "bytes" in line
    assert "only watched" in line


async def test_the_peak_is_told(ends: Ends) -> None:
    """The peak helps to choose a limit: it is the most that any look has found, even if the actor
    holds less since.
    """
    node = ends.node
    for limit in (ak.HeapLimit(100 * KIB, kill=False), ak.HeapLimit(MIB)):
        ref = node.spawn(ak.child(Hog).with_(max_heap_size=limit))
        for _ in range(6):
            await ref.call(Hog.make, 50 * KIB)
            await node.engine.budgets.look_at_all()
        await ref.call(Hog.forget)
        await node.engine.budgets.look_at_all()
        info = node.process_info(ref, walk=True)
        assert info is not None
        assert info.memory is not None
        assert info.memory.charged < 10 * KIB
        assert info.heap_peak is not None
        assert 300 * KIB <= info.heap_peak <= 310 * KIB
    info = node.process_info(node.spawn(Hog))
    assert info is not None
    assert info.heap_peak is None


async def test_who_cannot_be_ended_is_reported(ends: Ends, mock_clock: trio.testing.MockClock) -> None:
    """While the actor cannot be ended the verdict stands, and it is the reason when the actor ends
    at last.
    """

    class Hiding(Hog):
        @ak.cast
        async def hide(self) -> None:
            with suppress(BaseException):
                self.held.append(bytes(2 * MIB))
            with trio.CancelScope(shield=True):
                await trio.sleep(1000)

    node = ends.node
    ref = node.spawn(ak.child(Hiding).with_(max_heap_size=4 * MIB))
    await ref.call(Hog.make, 3 * MIB)
    with node.subscribe(ak.Unkillable) as unkillable:
        ref.cast(Hiding.hide)
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(100)
        await node.engine.budgets.look_at_all()
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(100)
        await trio.testing.wait_all_tasks_blocked()
        assert [event.ref for event in unkillable.drain() if isinstance(event, ak.Unkillable)] == [ref]
    assert ref.alive
    mock_clock.jump(1000)
    over(await ends.of(ref), 4 * MIB)


@conforms("HEAP-01")
async def test_a_node_s_default(caplog: pytest.LogCaptureFixture) -> None:
    """The node's default applies to actors without a limit of their own. 0 means none. Fields that
    a limit leaves open are inherited.
    """
    caplog.set_level("CRITICAL", "actorkit")
    async with ak.open_node(max_heap_size=ak.HeapLimit("1 MiB", log=False)) as node:
        plain = node.spawn(Hog)
        free = node.spawn(ak.child(Hog).with_(max_heap_size=0))
        own = node.spawn(ak.child(Hog).with_(max_heap_size="8 MiB"))
        limits = [
            None if (info := node.process_info(ref)) is None else info.max_heap_size for ref in (plain, free, own)
        ]
        assert limits == [MIB, None, 8 * MIB]
        assert node.engine.budgets.all[own].limit == ak.HeapLimit(8 * MIB, True, False, False, 12 * MIB)  # type: ignore[index]


async def test_children_of_one_class_with_limits_of_their_own(ends: Ends) -> None:
    """One dynamic supervisor, one class, three specs: each child has the limit of its own spec."""
    supervisor = await ends.node.start(ak.dynamic_supervisor())
    assert supervisor is not None
    limits = []
    for size in (MIB, None, 2 * MIB):
        ref = await supervisor.call(ak.DynamicSupervisor.start_child, ak.child(Hog).with_(max_heap_size=size))
        info = ends.node.process_info(ref)  # type: ignore[arg-type]
        assert info is not None
        limits.append(info.max_heap_size)
    assert limits == [MIB, None, 2 * MIB]


async def test_changed_at_run_time(ends: Ends, autojump_clock: Any) -> None:
    """As with process_flag(max_heap_size, …), a lower limit is in force from the next boundary on,
    and None removes the limit.
    """

    class Changing(Hog):
        @ak.call
        def limit(self, size: int | None) -> None:
            self.ctx.max_heap_size = size

    ref = ends.node.spawn(Changing)
    await ref.call(Hog.make, 500 * KIB)
    await ref.call(Changing.limit, MIB)
    await ref.call(Changing.limit, None)
    await ref.call(Hog.make, 3 * MIB)
    assert ref.alive
    await ref.call(Changing.limit, MIB)
    over(await ends.of(ref), MIB)


async def test_it_counts_against_the_supervisor_s_intensity(ends: Ends) -> None:
    """A child that breaks its budget is at fault: it is restarted, and the restart counts."""
    spec = ak.child(Hog).with_(max_heap_size=MIB, name="hog")
    supervisor = ends.node.spawn(ak.supervisor(spec, max_restarts=1, max_seconds=60))
    await trio.testing.wait_all_tasks_blocked()
    for _ in range(2):
        hog = ends.node.whereis("hog")
        assert hog is not None
        with pytest.raises(ak.CalleeDied):
            for _ in range(100_000):
                await hog.call(Hog.make, 300 * KIB)
                await trio.lowlevel.checkpoint()
        await ends.of(hog)
        await trio.testing.wait_all_tasks_blocked()
    assert isinstance(await ends.of(supervisor), ak.Shutdown)


async def test_what_it_held_is_told(ends: Ends) -> None:
    """The reason names the largest types; process_info and the census give the same figures."""
    node = ends.node
    ref = node.spawn(ak.child(Hog).with_(max_heap_size=MIB))
    await ref.call(Hog.make, 300 * KIB)
    info = node.process_info(ref, walk=True)
    assert info is not None
    assert info.memory is not None
    assert 300 * KIB < info.memory.private < 310 * KIB
    census = await node.heap_census()
    assert dict(census.actors)[ref] == info.memory.charged
    assert [(row.label, row.actors) for row in census.classes] == [("Hog", 1)]
    with pytest.raises(ak.CalleeDied):
        for _ in range(100_000):
            await ref.call(Hog.make, 300 * KIB)
            await trio.lowlevel.checkpoint()
    reason = await ends.of(ref)
    assert reason.largest[0].name == "bytes"
    assert "bytes" in str(reason)
