"""An actor drops an async generator with an open nursery: trio closes the generator in a task of
its own, which then leaves a nursery of another task. This is misuse; the actor may end for it, but
no other.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

import actorkit as ak
from actorkit.runtime.base.trio_internals import FEATURES, Features

from .conftest import checked_node

pytestmark = [
    pytest.mark.filterwarnings("ignore:Async generator .* was garbage collected:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

KEPT: list[Any] = []


async def feed() -> AsyncIterator[int]:
    """Yields inside a nursery whose task takes a while to end."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lingering)
        while True:
            yield 1


async def lingering() -> None:
    try:
        await trio.sleep_forever()
    finally:
        with trio.CancelScope(shield=True):
            for _ in range(5):
                await trio.lowlevel.checkpoint()


@asynccontextmanager
async def nursery_of_its_own() -> AsyncIterator[trio.Nursery]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lingering)
        yield nursery


async def feed_through_a_manager() -> AsyncIterator[int]:
    """The nursery belongs to a context manager that the generator is in."""
    async with nursery_of_its_own():
        while True:
            yield 1


async def feed_of_scope() -> AsyncIterator[int]:
    """Only a cancel scope is open."""
    with trio.CancelScope():
        while True:
            yield 1


def keep_nothing(_: Any, generator: Any) -> None:
    """The generator is collected when the handler's own variable goes."""


def keep_in_state(actor: Any, generator: Any) -> None:
    actor.kept = generator


def keep_in_a_global(_: Any, generator: Any) -> None:
    KEPT.append(generator)


def keep_in_a_cycle(_: Any, generator: Any) -> None:
    cycle: list[Any] = [generator]
    cycle.append(cycle)


Keep = Callable[[Any, Any], None]


async def drop(actor: Any, make: Any, keep: Keep) -> None:
    generator = make()
    async for _ in generator:
        break
    keep(actor, generator)


async def drop_and_go_on(actor: Any, make: Any, keep: Keep) -> None:
    await drop(actor, make, keep)
    await trio.sleep_forever()  # is cancelled while it is still inside the open scope


Dropper = Callable[[Any, Any, Keep], Any]


class Misuser(ak.Actor):
    def __init__(self, dropper: Dropper, make: Any, keep: Keep, door: str = "") -> None:
        self.misuse = lambda: dropper(self, make, keep)
        self.door = door

    async def init(self) -> None:
        if self.door == "init":
            await self.misuse()

    async def terminate(self, reason: ak.ExitReason) -> None:
        if self.door == "terminate":
            await self.misuse()

    async def handle_info(self, message: Any) -> None:
        await self.misuse()

    @ak.call
    async def asked(self) -> None:
        await self.misuse()

    @ak.cast
    async def told(self) -> None:
        await self.misuse()

    @ak.call
    def goes_on(self) -> None:
        self.ctx.continue_with(Misuser.told)

    @ak.call
    async def in_a_task(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.misuse)

    @ak.call
    def stepped_by_hand(self) -> None:
        step = self.misuse()
        with pytest.raises(StopIteration):
            step.send(None)


class Well(ak.Actor):
    @ak.call
    async def ask(self, ref: Any) -> None:
        with pytest.raises(ak.CalleeDied):
            await ref.call(Misuser.stepped_by_hand)
        await trio.lowlevel.checkpoint()

    @ak.call
    def works(self) -> bool:
        return True


async def by_process(ctx: ak.ProcessContext, dropper: Dropper, make: Any, keep: Keep) -> None:
    await dropper(ctx.ref, make, keep if keep is not keep_in_state else keep_in_a_cycle)


async def in_a_supervised_task(dropper: Dropper, make: Any, keep: Keep) -> None:
    await dropper(KEPT, make, keep if keep is not keep_in_state else keep_in_a_cycle)


class Reader(ak.StreamActor):
    def __init__(self, dropper: Dropper, make: Any, keep: Keep) -> None:
        self.misuse = lambda: dropper(self, make, keep)

    async def received(self, line: bytes) -> None:
        await self.misuse()


async def misuse(node: ak.Node, door: str, *what: Any) -> None:
    """Have it done, and wait until the actor that did it is dead or has nothing more to do."""
    if door == "process":
        await node.stopped(node.spawn(by_process, *what))
        return
    if door == "task":
        jobs: Any = await node.start(ak.task_supervisor())
        task: Any = await jobs.call(ak.TaskSupervisor.run, in_a_supervised_task, *what)
        with pytest.raises((ak.TaskFailed, RuntimeError, trio.Cancelled)):
            await task.result()
        return
    if door == "received":
        spec = ak.tcp_listener(Reader, *what, host="127.0.0.1", port=0)
        listener: Any = await node.start(spec)
        address = (await listener.call(ak.Listener.addresses))[0]
        async with await trio.open_tcp_stream(*address[:2]) as stream:
            await stream.send_all(b"go\n")
            await stream.send_eof()
            assert await stream.receive_some() == b""
        return
    ref = node.spawn(Misuser, *what, door=door)
    match door:
        case "call" | "nursery child" | "inline" | "continue":
            method: Any = {
                "call": Misuser.asked,
                "nursery child": Misuser.in_a_task,
                "inline": Misuser.stepped_by_hand,
                "continue": Misuser.goes_on,
            }[door]
            try:
                await ref.call(method)
            except ak.CalleeDied:
                pass
        case "inline from an actor":
            await node.spawn(Well).call(Well.ask, ref)
        case "cast":
            ref.cast(Misuser.told)
        case "info":
            ref.send("do it")
        case "timer":
            node.send_after(0, ref, "do it")
        case "init":
            pass
    await trio.testing.wait_all_tasks_blocked()
    ref.stop()  # in the degraded mode no actor is blamed for a scope that was left open
    await node.stopped(ref)


DOORS = [
    "call", "cast", "info", "continue", "timer", "init", "terminate", "nursery child", "process",
    "task", "received",
]  # fmt: skip


def run_and_collect(features: Features, door: str, *what: Any) -> list[str]:
    """One run of trio; what trio logged about generators that it closed."""
    told: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            error = (record.exc_info or (None, None))[1]
            told.append(repr(error))

    async def main() -> None:
        async with checked_node(features=features) as node:
            await misuse(node, door, *what)
            await trio.to_thread.run_sync(gc.collect, 1)  # in another thread
            await trio.testing.wait_all_tasks_blocked()
            well = node.spawn(Well)
            assert await well.call(Well.works)

    handler = Handler()
    logger = logging.getLogger("trio.async_generator_errors")
    logger.addHandler(handler)
    try:
        trio.run(main)
    finally:
        logger.removeHandler(handler)
        KEPT.clear()
    return told


def is_trios_own(told: str) -> bool:
    return told.startswith(("IndexError", "AssertionError", "TrioInternalError", "KeyError"))


@pytest.mark.parametrize("features", [FEATURES, Features.degraded()], ids=["full", "degraded"])
@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    "keep",
    [keep_nothing, keep_in_state, keep_in_a_global, keep_in_a_cycle],
    ids=["local", "state", "global", "cycle"],
)
def test_dropped_by_what_has_ended(features: Features, door: str, keep: Keep) -> None:
    """A handler leaves a generator's nursery open and ends: the node goes on working, and trio
    returns.
    """
    for _ in range(3):
        told = run_and_collect(features, door, drop, feed, keep)
        assert not [one for one in told if is_trios_own(one)]


@pytest.mark.parametrize("features", [FEATURES, Features.degraded()], ids=["full", "degraded"])
@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("make", [feed_through_a_manager, feed_of_scope])
def test_of_another_shape(features: Features, door: str, make: Any) -> None:
    """The same holds for a nursery in a context manager, and for a mere cancel scope."""
    for _ in range(3):
        told = run_and_collect(features, door, drop, make, keep_nothing)
        assert not [one for one in told if is_trios_own(one)]


@pytest.mark.parametrize("door", ["inline", "inline from an actor"])
@pytest.mark.parametrize("make", [feed, feed_through_a_manager, feed_of_scope])
@pytest.mark.parametrize("keep", [keep_nothing, keep_in_a_global])
def test_dropped_by_an_inline_handler(door: str, make: Any, keep: Keep) -> None:
    """A plain handler steps a generator by hand in its caller's task: the caller goes on
    unharmed.
    """
    for _ in range(3):
        told = run_and_collect(FEATURES, door, drop, make, keep)
        assert not [one for one in told if is_trios_own(one)]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("make", [feed, feed_through_a_manager])
def test_dropped_by_what_goes_on(door: str, make: Any) -> None:
    """trio closes the generator while its actor still waits in the same task: that actor is
    cancelled.
    """
    for _ in range(3):
        told = run_and_collect(FEATURES, door, drop_and_go_on, make, keep_nothing)
        assert not [one for one in told if is_trios_own(one)]
