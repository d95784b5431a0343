"""The states of an actor's life: ``TRANSITIONS`` lists every step that actors take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import trio

import actorkit as ak
from actorkit.runtime.actor.mailbox import Mailbox
from actorkit.runtime.actor.states import DEAD, IDLE, QUEUED, RUNNING, STATES, SUSPENDED, TRANSITIONS

LISTED = {(each.source, each.target) for each in TRANSITIONS}


def test_each_state_has_its_word() -> None:
    """The words are in the order of the states' numbers."""
    numbers = (IDLE, QUEUED, RUNNING, DEAD, SUSPENDED)
    assert [STATES[number] for number in numbers] == ["waiting", "runnable", "running", "exiting", "suspended"]
    assert len(STATES) == len(numbers)


class Seen:
    """Stands in for the slot ``state`` of records, and notes each step."""

    def __init__(self) -> None:
        self.slot: Any = vars(Mailbox)["state"]
        self.steps: set[tuple[int, int]] = set()

    def __get__(self, record: Any, cls: type) -> Any:
        return self if record is None else self.slot.__get__(record, cls)

    def __set__(self, record: Any, new: int) -> None:
        try:
            old = self.slot.__get__(record, type(record))
        except AttributeError:
            assert new == RUNNING, "an actor is born RUNNING"
        else:
            if old != new:
                self.steps.add((old, new))
        self.slot.__set__(record, new)


@pytest.fixture
def seen() -> Iterator[Seen]:
    instead = Seen()
    Mailbox.state = instead  # type: ignore[assignment]
    try:
        yield instead
    finally:
        Mailbox.state = instead.slot


class Worker(ak.Actor):
    @ak.call
    def now(self) -> int:
        return 1

    @ak.call
    async def wait(self) -> int:
        await trio.sleep(1)
        return 1

    @ak.cast
    def fail(self) -> None:
        raise ValueError

    @ak.cast
    def go_on(self) -> None:
        self.ctx.continue_with(Worker.now)


class Slow(Worker):
    def __init__(self) -> None:
        self.ctx.ref.send("to itself")

    async def init(self) -> None:
        await trio.sleep(1)

    def handle_info(self, message: object) -> None:
        pass

    def terminate(self, reason: ak.ExitReason) -> None:
        pass


async def process(ctx: ak.ProcessContext) -> None:
    async for _ in ctx:
        await trio.sleep(1)


async def live(node: ak.Node) -> None:
    """Take actors of all kinds through everything that may happen to them."""
    refs = [node.spawn(Worker) for _ in range(8)]
    await refs[0].call(Worker.now)
    await refs[0].call(Worker.wait)
    refs[1].cast(Worker.fail)
    refs[2].cast(Worker.go_on)
    for _ in range(500):
        refs[3].cast(Worker.go_on)
    await trio.sleep(0.1)
    refs[4].cast(Worker.wait)
    refs[4].kill()  # queued
    refs[5].cast(Worker.wait)
    await trio.sleep(0.1)
    refs[5].kill()  # running
    refs[6].kill()  # idle
    await ak.sys.suspend(refs[7])
    refs[7].cast(Worker.now)
    await ak.sys.resume(refs[7])
    await trio.sleep(0.1)
    await ak.sys.suspend(refs[7])
    await ak.sys.resume(refs[7])
    for end in ("stop", "kill"):
        slow = node.spawn(Slow)
        await trio.sleep(2)
        await ak.sys.suspend(slow)
        getattr(slow, end)()
    queued = node.spawn(ak.child(Worker).with_(mailbox=100_000))
    for _ in range(20_000):  # more than a slice of work
        queued.cast(Worker.now)
    await ak.sys.suspend(queued)
    busy = node.spawn(Worker)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(busy.call, Worker.wait)
        await trio.sleep(0.1)
        nursery.start_soon(ak.sys.suspend, busy)
    receiver = node.spawn(process)
    await trio.sleep(0.1)
    receiver.send(1)
    receiver.send(2)
    await trio.sleep(3)


async def test_every_step_is_listed(seen: Seen, autojump_clock: Any) -> None:
    """Each step that actors take is in the table, and each step of the table is taken."""
    async with ak.open_node() as node:
        await live(node)
    assert {(STATES[old], STATES[new]) for old, new in seen.steps} == LISTED


def test_the_table_makes_sense() -> None:
    """No step is listed twice, none leads out of death, and every other state can be left."""
    assert len(LISTED) == len(TRANSITIONS)
    assert {old for old, _ in LISTED} == set(STATES) - {STATES[DEAD]}
    assert {new for _, new in LISTED} == set(STATES)
    assert (STATES[IDLE], STATES[RUNNING]) in LISTED
