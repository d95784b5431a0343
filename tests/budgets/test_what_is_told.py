"""What errors, reasons and log lines about budgets say: whose limit it is, how much of it is used
and for what, what was attempted, and what helps."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio

import actorkit as ak
from actorkit.heap import clock
from actorkit.heap.memory_limit import shares_of
from actorkit.heap.usage import HeapUsage

from .conftest import KIB, MIB, Ends, needs_the_extension
from .hogs import Hog


class Asking(Hog):
    """Asks for memory that is not to be had."""

    @ak.call
    def ask(self, size: int) -> int:
        return len(bytes(size))

    @ak.call
    async def ask_after_an_await(self, size: int) -> int:
        await trio.lowlevel.checkpoint()
        return self.ask(size)

    @ak.call
    def ask_and_catch(self, size: int) -> str:
        try:
            return str(self.ask(size))
        except MemoryError:
            return "caught"

    @ak.call
    def raise_one(self, *about: object) -> None:
        raise MemoryError(*about)


def test_where_it_lies() -> None:
    """Only what there is is mentioned."""
    assert shares_of(HeapUsage(1000, 0, 20, 7, True)) == "mailbox 20 B, private 1,000 B"
    text = shares_of(HeapUsage(1000, 30, 20, 7, True, 4000), 1, 500)
    assert text == (
        "mailbox 20 B in 1 message, private 1,000 B, private cycles 4,000 B, shared 30 B; "
        "500 B live in large blocks of its own"
    )


async def test_the_reason(ends: Ends) -> None:
    ref = ends.node.spawn(ak.child(Hog).with_(max_heap_size=MIB, name="glutton"))
    with pytest.raises(ak.CalleeDied):
        for _ in range(20_000):
            await ref.call(Hog.make, 300 * KIB)
            await trio.lowlevel.checkpoint()
    reason = await ends.of(ref)
    assert isinstance(reason, ak.MemoryLimit)
    assert reason.holder == f"{ref.pid} (Hog 'glutton')"
    for part in (
        reason.holder,
        "max_heap_size is 1,048,576 B",
        "mailbox 0 B",
        "private 1,2",
        "most of it: bytes",
        "raise",
    ):
        assert part in str(reason), part


@needs_the_extension
async def test_what_is_raised_in_its_code(ends: Ends) -> None:
    texts: list[str] = []

    class Catching(Hog):
        @ak.cast
        def grow(self) -> None:
            try:
                self.in_a_handler()
            except BaseException as error:
                texts.append(str(error))
                raise

    ref = ends.node.spawn(ak.child(Catching).with_(max_heap_size=MIB))
    ref.cast(Catching.grow)
    await ends.of(ref)
    for part in (str(ref.pid), "Catching", "max_heap_size is 1,048,576 B", "mailbox 0 B in 0 messages", "private 1,0"):
        assert part in texts[0], part


async def test_the_log_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "actorkit")
    async with ak.open_node() as node:
        ref = node.spawn(ak.child(Hog).with_(max_heap_size=ak.HeapLimit(100 * KIB, kill=False), name="glutton"))
        await ref.call(Hog.make, 200 * KIB)
        await node.engine.budgets.look_at_all()
    (line,) = [record.getMessage() for record in caplog.records if record.name == "actorkit"]
    for part in (str(ref.pid), "Hog 'glutton'", "of 102400 B", "mailbox 0 B in 0 messages", "private 20", "kill=False"):
        assert part in line, part


async def test_a_message_that_does_not_fit(ends: Ends) -> None:
    """The error of a call names the size of the message as well."""
    ref = ends.node.spawn(ak.child(Hog).with_(max_heap_size=100 * KIB))
    ref.cast(Hog.keep, bytes(60 * KIB))
    with pytest.raises(ak.MailboxFull) as caught:
        await ref.call(Hog.make, *[bytes(80 * KIB)])  # type: ignore[arg-type]
    text = str(caught.value)
    for part in (
        str(ref.pid),
        "a message of 8",
        "max_heap_size",
        "102,400 B",
        "mailbox 61,",
        "in 1 message",
        "raise its",
    ):
        assert part in text, part


@needs_the_extension
@pytest.mark.parametrize("door", [Asking.ask, Asking.ask_after_an_await])
async def test_a_request_that_was_refused(ends: Ends, door: Any) -> None:
    """A MemoryError that the budget has caused says so: the machine has memory enough."""
    ref = ends.node.spawn(ak.child(Asking).with_(max_heap_size=MIB, name="asking"))
    await ref.call(Hog.make, 300 * KIB)
    with pytest.raises(ak.CalleeDied) as caught:
        await ref.call(door, 10 * MIB)
    reason = caught.value.reason
    assert isinstance(reason, ak.Crash)
    assert reason.type == "MemoryError"
    for part in (str(ref.pid), "Asking 'asking'", "refused a request of 10,4", "max_heap_size is 1,048,576 B"):
        assert part in reason.message, part
    assert "hard cap 1,572,864 B" in reason.message
    assert reason == await ends.of(ref)


@needs_the_extension
async def test_in_a_constructor(ends: Ends) -> None:
    class Large(ak.Actor):
        def __init__(self) -> None:
            self.held = bytes(10 * MIB)

    with pytest.raises(ak.StartFailed) as caught:
        ends.node.spawn(ak.child(Large).with_(max_heap_size=MIB))
    assert "refused a request" in str(caught.value)


async def test_other_memory_errors_are_not_the_budget_s(ends: Ends) -> None:
    """Nobody's budget has refused these, or nobody has a budget."""
    for limit in (MIB, None):
        ref = ends.node.spawn(ak.child(Asking).with_(max_heap_size=limit))
        with pytest.raises(ak.CalleeDied) as caught:
            await ref.call(Asking.raise_one, "of my own")
        reason = caught.value.reason
        assert isinstance(reason, ak.Crash)
        assert reason.message == "of my own"


async def test_who_is_only_watched_is_refused_nothing(ends: Ends) -> None:
    """``kill=False`` ends nobody and refuses nothing, whatever fails: only the system can."""
    ref = ends.node.spawn(ak.child(Asking).with_(max_heap_size=ak.HeapLimit(MIB, kill=False)))
    for _ in range(5):
        assert await ref.call(Asking.ask_and_catch, 2**62) == "caught"
    assert await ref.call(Asking.ask, 10 * MIB) == 10 * MIB
    await ref.call(Hog.keep_numbers, 100_000)
    await ends.node.engine.budgets.look_at_all()
    assert ref.alive
    assert ends.node.engine.budgets.all[ref].account.refused == 0  # type: ignore[index]
    if not clock.COUNTS_ALLOCATIONS:
        return
    ref = ends.node.spawn(ak.child(Asking).with_(max_heap_size=MIB))
    assert await ref.call(Asking.ask_and_catch, 2**62) == "caught"
    assert ends.node.engine.budgets.all[ref].account.refused == 1  # type: ignore[index]
