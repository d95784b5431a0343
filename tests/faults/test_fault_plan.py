"""FaultPlan: each kind of fault happens when it should, is counted, and is exactly what it says."""

from __future__ import annotations

import functools
import gc
import sys
import unittest.mock
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import attrs
import pytest
import trio
import trio.testing

import actorkit as ak
from actorkit.heap import clock
from actorkit.testing import FaultPlan, Injected, faults
from tests.fault_injector import WHY_NOT, RefuseAllocation


class Counter(ak.Actor):
    def __init__(self, start: int = 0) -> None:
        self.count = start

    @ak.call
    def add(self, n: int) -> int:
        self.count += n
        return self.count

    @ak.call
    async def add_later(self, n: int) -> int:
        await trio.lowlevel.checkpoint()
        return self.add(n)

    @ak.cast
    def bump(self) -> None:
        self.count += 1

    @ak.call
    def large(self, pieces: int) -> int:
        return sum(len(bytes(100_000)) for _ in range(pieces))

    @ak.call
    async def large_later(self, pieces: int) -> int:
        total = 0
        for _ in range(pieces):
            total += len(bytes(100_000))
            await trio.lowlevel.checkpoint()
        return total


class Informed(Counter):
    def handle_info(self, message: object) -> None:
        self.count += 100


async def test_a_plan_without_faults_changes_nothing(autojump_clock: Any) -> None:
    plan = FaultPlan()
    cls = plan.wrap(Counter)
    assert issubclass(cls, Counter)
    assert cls.__qualname__ == Counter.__qualname__
    async with ak.open_node() as node:
        counter = node.spawn(cls, 5)
        assert await counter.call(Counter.add, 2) == 7
        assert await counter.call(Counter.add_later, 2) == 9
        counter.cast(Counter.bump)
        assert await counter.call(cls.add, 0) == 10
    assert plan.injected == {}
    assert (plan.starts, plan.messages) == (1, 4)


@pytest.mark.parametrize("method", [Counter.add, Counter.add_later])
async def test_crash_on_the_nth_message_of_each_life(autojump_clock: Any, method: Any) -> None:
    plan = FaultPlan(faults.Crash(on=3))
    spec = plan.wrap(ak.child(Counter).with_(name="counter"))
    async with ak.open_node(ak.supervisor(spec, max_restarts=10)) as node:
        counter = ak.named(Counter, "counter")
        for _ in range(2):
            assert await counter.call(method, 1) == 1
            assert await counter.call(method, 1) == 2
            with pytest.raises(ak.CalleeDied) as caught:
                await counter.call(method, 1)
            assert isinstance(caught.value.reason, ak.Crash)
            assert caught.value.reason.type.endswith("InjectedFault")
            await trio.testing.wait_all_tasks_blocked()
    [fault] = plan.faults
    assert plan.log == [Injected(fault, 1, 3), Injected(fault, 2, 3)]
    assert plan.injected == {"Crash": 2}


async def test_times_bounds_all_lives_together(autojump_clock: Any) -> None:
    plan = FaultPlan(faults.Crash(on=1, times=2))
    spec = plan.wrap(ak.child(Counter).with_(name="counter"))
    async with ak.open_node(ak.supervisor(spec)):
        counter = ak.named(Counter, "counter")
        answers = []
        for _ in range(4):
            try:
                answers.append(await counter.call(Counter.add, 1))
            except ak.CalleeDied:
                answers.append(-1)
                await trio.testing.wait_all_tasks_blocked()
    assert answers == [-1, -1, 1, 2]


async def test_infos_are_messages(autojump_clock: Any) -> None:
    plan = FaultPlan(faults.Crash(on=2))
    async with ak.open_node() as node:
        counter = node.spawn(plan.wrap(Informed))
        counter.send("one")
        counter.send("two")
        await node.stopped(counter)
    assert plan.injected == {"Crash": 1}


async def chances(seed: int) -> list[tuple[int, int]]:
    plan = FaultPlan(faults.Crash(chance=0.2), seed=seed)
    async with ak.open_node() as node:
        for _ in range(20):
            counter = node.spawn(plan.wrap(Counter))
            for _ in range(20):
                counter.cast(Counter.bump)
        await trio.sleep(1)
    return sorted((entry.life, entry.message) for entry in plan.log)


async def test_chance_is_the_seeds(autojump_clock: Any) -> None:
    first = await chances(1)
    assert len(first) > 10
    assert first == await chances(1)
    assert first != await chances(2)


async def test_refused_starts(autojump_clock: Any) -> None:
    plan = FaultPlan(faults.Crash(on=1, times=1), faults.RefuseStart(after=1, times=2))
    spec = plan.wrap(ak.child(Counter).with_(name="counter"))
    async with ak.open_node(ak.supervisor(spec, max_restarts=10)) as node:
        counter = ak.named(Counter, "counter")
        with pytest.raises(ak.CalleeDied):
            await counter.call(Counter.add, 1)
        await trio.testing.wait_all_tasks_blocked()
        assert await counter.call(Counter.add, 1) == 1
    assert plan.injected == {"Crash": 1, "RefuseStart": 2}
    assert plan.starts == 4


async def test_a_refused_first_start_is_the_spawners(autojump_clock: Any) -> None:
    plan = FaultPlan(faults.RefuseStart())
    async with ak.open_node() as node:
        with pytest.raises(ak.StartFailed, match="InjectedFault"):
            node.spawn(plan.wrap(Counter))
        assert await node.spawn(plan.wrap(Counter)).call(Counter.add, 1) == 1


async def test_hang_in_init(autojump_clock: Any) -> None:
    plan = FaultPlan(faults.Hang(where="init", times=1))
    spec = plan.wrap(ak.child(Counter).with_(init_timeout=3))
    start = trio.current_time()
    with pytest.raises(ak.StartFailed) as caught:
        async with ak.open_node(ak.supervisor(spec)):
            pass
    assert isinstance(caught.value.reason, ak.Shutdown | ak.InitTimeout) or "3" in str(caught.value)
    assert trio.current_time() - start == pytest.approx(3, abs=0.1)
    assert plan.injected == {"Hang in init": 1}


async def test_hang_in_a_handler(autojump_clock: Any) -> None:
    plan = FaultPlan(faults.Hang(on=1), faults.Hang(on=2, seconds=1.5))
    async with ak.open_node() as node:
        hung = node.spawn(plan.wrap(Counter))
        with pytest.raises(ak.CallTimeout):
            await hung.within(2).call(Counter.add, 1)
        hung.kill()
        assert await node.stopped(hung) == ak.KILLED
        slow = node.spawn(FaultPlan(faults.Hang(seconds=1.5)).wrap(Counter))
        start = trio.current_time()
        assert await slow.call(Counter.add, 1) == 1
        assert trio.current_time() - start == pytest.approx(1.5, abs=0.1)


async def test_hang_in_terminate(autojump_clock: Any) -> None:
    class Polite(Counter):
        trap_exit = True

        def terminate(self, reason: ak.ExitReason) -> None:
            raise AssertionError("it hangs before it comes here, and is killed")

    plan = FaultPlan(faults.Hang(where="terminate"))
    start = trio.current_time()
    async with ak.open_node(ak.supervisor(plan.wrap(ak.child(Polite).with_(shutdown=2)))):
        pass
    assert trio.current_time() - start == pytest.approx(2, abs=0.1)
    assert plan.injected == {"Hang in terminate": 1}


async def test_swallowed_cancellation(autojump_clock: Any) -> None:
    plan = FaultPlan(faults.SwallowCancellation(seconds=20))
    async with ak.open_node(kill_timeout=5) as node, node.subscribe(ak.Unkillable) as events:
        actor = node.spawn(plan.wrap(Counter))
        actor.cast(Counter.bump)
        await trio.sleep(1)
        start = trio.current_time()
        actor.kill()
        assert await node.stopped(actor) == ak.KILLED
        assert trio.current_time() - start == pytest.approx(19, abs=0.1)
        assert [event.pid for event in events.drain()] == [actor.pid]
    assert plan.injected == {"SwallowCancellation": 1}


@pytest.mark.skipif(clock.WHY_PORTABLE is not None, reason="needs the allocation clock")
async def test_allocate_is_stopped_by_a_budget(autojump_clock: Any) -> None:
    plan = FaultPlan(faults.Allocate(on=2))
    async with ak.open_node() as node:
        actor = node.spawn(plan.wrap(ak.child(Counter).with_(max_heap_size="2 MiB")))
        assert await actor.call(Counter.add, 1) == 1
        with pytest.raises(ak.CalleeDied) as caught:
            await actor.call(Counter.add, 1)
        assert isinstance(caught.value.reason, ak.MemoryLimit)
    assert plan.injected == {"Allocate": 1}


async def test_allocate_without_a_budget_ends_by_itself(autojump_clock: Any) -> None:
    plan = FaultPlan(faults.Allocate(step="64 KiB", most="1 MiB"))
    async with ak.open_node() as node:
        with pytest.raises(ak.CalleeDied) as caught:
            await node.spawn(plan.wrap(Counter)).call(Counter.add, 1)
        assert isinstance(caught.value.reason, ak.Crash)
        assert caught.value.reason.type == "MemoryError"


@pytest.mark.parametrize("method", [Counter.large, Counter.large_later])
async def test_refused_allocation(autojump_clock: Any, method: Any) -> None:
    plan = FaultPlan(RefuseAllocation(on=2, nth=3))
    async with ak.open_node() as node:
        actor = node.spawn(plan.wrap(Counter))
        assert await actor.call(method, 5) == 500_000
        with pytest.raises(ak.CalleeDied) as caught:
            await actor.call(method, 5)
        assert isinstance(caught.value.reason, ak.Crash)
        assert caught.value.reason.type == "MemoryError"
    assert plan.injected == {"RefuseAllocation": 1}


@pytest.mark.skipif(WHY_NOT is not None, reason="needs the extension")
@pytest.mark.parametrize("method", [Counter.large, Counter.large_later])
async def test_an_allocation_that_is_not_made_is_not_refused(autojump_clock: Any, method: Any) -> None:
    plan = FaultPlan(RefuseAllocation(on=1, nth=3))
    async with ak.open_node() as node:
        actor = node.spawn(plan.wrap(Counter))
        assert await actor.call(method, 2) == 200_000
        assert await actor.call(method, 5) == 500_000
    assert plan.injected == {}


@pytest.mark.skipif(WHY_NOT is not None, reason="needs the extension")
async def test_others_are_not_refused(autojump_clock: Any) -> None:
    """What others allocate while the handler waits is neither counted nor refused."""
    plan = FaultPlan(RefuseAllocation(on=1, nth=3))
    async with ak.open_node() as node, trio.open_nursery() as nursery:
        actor, other = node.spawn(plan.wrap(Counter)), node.spawn(Counter)
        nursery.start_soon(actor.call, Counter.large_later, 2)
        nursery.start_soon(other.call, Counter.large_later, 50)
    assert plan.injected == {}


@attrs.frozen(kw_only=True)
class NoFiles(faults.WhileRunning):
    """A user's own fault: the handler's own code can open no files."""

    def begin(self, happened: Callable[[], None]) -> Callable[[], AbstractContextManager[Any]]:
        happened()
        return functools.partial(unittest.mock.patch, "builtins.open", side_effect=OSError)


class Reader(ak.Actor):
    @ak.call
    def read(self) -> bool:
        return self._can_read()

    @ak.call
    async def read_twice(self) -> tuple[bool, bool]:
        first = self._can_read()
        await trio.sleep(2)
        return first, self._can_read()

    def _can_read(self) -> bool:
        try:
            open(__file__).close()
        except OSError:
            return False
        return True


async def test_a_fault_of_ones_own(autojump_clock: Any) -> None:
    """A fault of one's own is in force in each step of the handler's own code, and nowhere else."""
    plan = FaultPlan(NoFiles(on=1), NoFiles(on=3))
    async with ak.open_node() as node, trio.open_nursery() as nursery:
        actor, other = node.spawn(plan.wrap(Reader)), node.spawn(Reader)
        assert not await actor.call(Reader.read)
        assert await actor.call(Reader.read)

        async def read_in_between() -> None:
            await trio.sleep(1)
            assert await other.call(Reader.read)

        nursery.start_soon(read_in_between)
        assert await actor.call(Reader.read_twice) == (False, False)
    assert plan.injected == {"NoFiles": 2}


def test_refused_allocations_have_left_the_package() -> None:
    with pytest.raises(ImportError, match="max_heap_size"):
        _ = faults.RefuseAllocation
    with pytest.raises(ImportError, match="no longer part of the package"):
        from actorkit.testing.faults import RefuseAllocation  # noqa: F401
    with pytest.raises(AttributeError):
        _ = faults.Nothing


@pytest.mark.parametrize("where", ["__repr__", "__eq__", "__del__"])
async def test_special_methods_raise(
    autojump_clock: Any, where: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An actor's state that raises when it is shown, compared or freed harms no other actor, even
    in a crash report.
    """
    unraisable: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda error: unraisable.append(error.exc_type))
    caplog.set_level("DEBUG", logger="actorkit")
    plan = FaultPlan(faults.Raise(where=where), faults.Crash(on=2, times=1))
    async with ak.open_node(ak.supervisor(plan.wrap(ak.child(Counter).with_(name="counter")))) as node:
        counter = ak.named(Counter, "counter")
        assert await counter.call(Counter.add, 1) == 1
        with pytest.raises(ak.CalleeDied):
            await counter.call(Counter.add, 1)
        await trio.testing.wait_all_tasks_blocked()
        assert await counter.call(Counter.add, 1) == 1
        await node.heap_census()
        node.heap_explain(counter)
    gc.collect()
    if where == "__del__":
        assert unraisable
        assert set(unraisable) == {faults.InjectedFault}
    for special in (repr, lambda actor: actor == actor):
        try:
            special(plan.wrap(Counter)())
        except faults.InjectedFault:
            pass
    gc.collect()
    assert plan.injected[f"Raise in {where}"] > 0


@attrs.frozen
class Frozen(ak.Actor):
    x: int

    @ak.call
    def get(self) -> int:
        return self.x


class Slotted(ak.Actor):
    __slots__ = ("x",)

    def __init__(self, x: int) -> None:
        self.x = x

    @ak.call
    def get(self) -> int:
        return self.x


@pytest.mark.parametrize("cls", [Frozen, Slotted])
async def test_other_kinds_of_classes(autojump_clock: Any, cls: Any) -> None:
    plan = FaultPlan(faults.Crash(on=2))
    async with ak.open_node() as node:
        actor = node.spawn(plan.wrap(cls), 4)
        assert await actor.call(cls.get) == 4
        with pytest.raises(ak.CalleeDied):
            await actor.call(cls.get)


async def test_connections_crash_alone() -> None:
    """In a listener of a wrapped class, what the peers send counts as messages."""

    class Echo(ak.StreamActor):
        def received(self, data: bytes) -> None:
            self.write(data + b"\n")

    plan = FaultPlan(faults.Crash(on=2))
    listener = ak.tcp_listener(plan.wrap(Echo), port=0, max_line=100, name="l")
    with trio.fail_after(10):
        async with ak.open_node(ak.supervisor(listener)):
            [(host, port)] = await ak.named(ak.Listener, "l").call(ak.Listener.addresses)
            for _ in range(2):
                async with await trio.open_tcp_stream(host, port) as stream:
                    await stream.send_all(b"one\n")
                    assert await stream.receive_some() == b"one\n"
                    await stream.send_all(b"two\n")
                    try:
                        assert await stream.receive_some() == b""
                    except trio.BrokenResourceError:
                        pass
    assert plan.injected == {"Crash": 2}


async def process(ctx: ak.ProcessContext) -> None:
    await ctx.receive()


@pytest.mark.parametrize("start", [process, lambda: Counter(), ak.child(process), 3])
def test_what_cannot_be_wrapped(start: Any) -> None:
    with pytest.raises(TypeError, match="cannot wrap"):
        FaultPlan().wrap(start)


@pytest.mark.parametrize(
    "make",
    [
        lambda: faults.Crash(on=0),
        lambda: faults.Crash(chance=2),
        lambda: faults.Crash(times=-1),
        lambda: faults.Hang(where="elsewhere"),  # type: ignore[arg-type]
        lambda: faults.SwallowCancellation(seconds=float("inf")),
        lambda: faults.Raise(where="__len__"),  # type: ignore[arg-type]
        lambda: faults.Allocate(step=0),
        lambda: RefuseAllocation(nth=0),
    ],
)
def test_faults_that_cannot_be(make: Any) -> None:
    with pytest.raises(ValueError, match=r"must be|give"):
        make()


def test_a_plan_takes_faults_only() -> None:
    with pytest.raises(TypeError, match="not a fault"):
        FaultPlan("crash")  # type: ignore[arg-type]
