"""What would fail later, in another task, is refused where it is given; and what an end meets on
its way to another node.
"""

from __future__ import annotations

import logging
import math
from typing import Any

import pytest
import trio
from trio.testing import MockClock

import actorkit as ak


class Plain(ak.Actor):
    @ak.call
    def ask(self) -> int:
        return 1

    @ak.call
    async def ask_slowly(self) -> int:
        await trio.sleep(1)
        return 1

    @ak.cast
    def link(self, other: ak.Ref[Any]) -> None:
        self.ctx.link(other)

    @ak.call
    def later(self, error: Any) -> ak.Later[int]:
        answer = ak.Later[int]()
        answer.fail(error)
        return answer

    @ak.call
    def go_on(self, what: Any) -> None:
        self.ctx.continue_with(what)


class Trapping(Plain):
    trap_exit = True

    def __init__(self) -> None:
        self.got: list[Any] = []

    def handle_info(self, message: Any) -> None:
        self.got.append(message)


NO_TIME = [math.nan, -1, "3", None, True]


@pytest.mark.parametrize("seconds", NO_TIME)
@pytest.mark.parametrize("ref", ["record", "named"])
async def test_what_is_no_time_for_a_call(seconds: Any, ref: str) -> None:
    """within raises ValueError; the node goes on."""
    async with ak.open_node() as node:
        node.spawn(ak.child(Plain).with_(name="plain"))
        target: Any = ak.named(Plain, "plain") if ref == "named" else node.whereis("plain")
        with pytest.raises(ValueError, match=r"within=.* is no time: give seconds"):
            target.within(seconds)
        assert await target.within(math.inf).call(Plain.ask) == 1


@pytest.mark.parametrize("seconds", NO_TIME)
@pytest.mark.parametrize("option", ["stop_timeout", "call_timeout", "kill_timeout", "slice_seconds"])
async def test_what_is_no_time_for_a_node(seconds: Any, option: str) -> None:
    """A ValueError names the option, before anything has begun."""
    options: dict[str, Any] = {option: seconds}
    with pytest.raises(ValueError, match=f"{option}=.* is no time: give seconds"):
        async with ak.open_node(**options):
            raise AssertionError("it was opened")


async def test_a_nodes_name_is_a_text() -> None:
    """A name that is not a string is refused: it would come up in the middle of a report."""
    name: Any = 7
    with pytest.raises(TypeError, match="name=7: a node's name is a text"):
        async with ak.open_node(name=name):
            raise AssertionError("it was opened")


@pytest.mark.parametrize("wanted", [3, (int, str), "text", list[int]])
@pytest.mark.parametrize("waits", [False, True])
async def test_what_cannot_be_received(wanted: Any, waits: bool) -> None:
    """receive raises TypeError whether a message is there or not, and takes no message."""
    told: list[Any] = []

    async def process(ctx: ak.ProcessContext) -> None:
        if waits:
            await trio.testing.wait_all_tasks_blocked()
        for receive in (ctx.receive_nowait, ctx.receive):
            try:
                result: Any = receive(wanted)
                if receive == ctx.receive:
                    await result
            except TypeError as error:
                told.append(str(error))
        if waits:
            told.append(await ctx.receive())

    async with ak.open_node() as node:
        ref = node.spawn(process)
        if waits:
            ref.send("a message")
        await node.stopped(ref)
    assert [text for text in told if "cannot receive" in text and "give a class" in text] == told[:2]
    assert told[2:] == (["a message"] if waits else [])


@pytest.mark.parametrize("error", ["x", 3, None, KeyboardInterrupt(), ValueError])
async def test_what_cannot_be_an_answer(error: Any) -> None:
    """Later.fail raises TypeError where it is called; the caller is told of that crash, not the
    other way round.
    """
    logging.disable(logging.CRITICAL)
    try:
        async with ak.open_node() as node:
            with pytest.raises(ak.CalleeDied, match="fail takes an Exception"):
                await node.spawn(Plain).call(Plain.later, error)
    finally:
        logging.disable(logging.NOTSET)


@pytest.mark.parametrize("what", ["ask", None, 3])
async def test_what_cannot_be_continued_with(what: Any) -> None:
    """A TypeError says the remedy."""
    logging.disable(logging.CRITICAL)
    try:
        async with ak.open_node() as node:
            with pytest.raises(ak.CalleeDied, match=r"cannot continue with .*: give a method"):
                await node.spawn(Plain).call(Plain.go_on, what)
    finally:
        logging.disable(logging.NOTSET)


async def _generator(self: Any, *_: Any) -> Any:
    yield 1


@pytest.mark.parametrize("name", ["connected", "received"])
@pytest.mark.parametrize("how", ["generator", "async generator", "a message"])
def test_what_the_reader_calls_is_neither_a_generator_nor_a_message(name: str, how: str) -> None:
    """The method is refused when the class is defined: a generator would never run."""

    def generator(self: Any, *_: Any) -> Any:
        yield 1

    def plain(self: Any, *_: Any) -> None: ...

    function = {"generator": generator, "async generator": _generator, "a message": ak.call(plain)}[how]
    with pytest.raises(TypeError, match=f"Line.{name} cannot be"):
        type("Line", (ak.StreamActor,), {name: function})


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
async def test_a_host_that_catches_an_interrupt_of_an_inline_call(error: type[BaseException]) -> None:
    """It makes no difference that the call runs inline: the node stops, and the interrupt comes
    out, as from any handler.
    """
    began: list[int] = []

    class Raises(ak.Actor):
        def __init__(self) -> None:
            began.append(1)

        @ak.call
        def now(self) -> None:
            raise error("in a handler")

    with pytest.raises(error, match="in a handler"):
        async with ak.open_node(ak.supervisor(ak.child(Raises).with_(name="it"))) as node:
            with pytest.raises(error):
                await ak.named(Raises, "it").call(Raises.now)
            await node.finished()
    assert began == [1], "nobody who has ended by one is started again"


@pytest.mark.parametrize("receiver", [Plain, Trapping])
async def test_a_link_to_an_actor_of_another_node(receiver: Any) -> None:
    """An end tells the actor there, and touches no actor of the same number here."""
    async with ak.open_node(name="one") as one, ak.open_node(name="two") as two:
        here = [one.spawn(Plain) for _ in range(3)]
        there = [two.spawn(receiver) for _ in range(3)]
        here[1].cast(Plain.link, there[1])
        await trio.testing.wait_all_tasks_blocked()
        here[1].exit(ak.Failure("over"))
        await trio.testing.wait_all_tasks_blocked()
        assert list(one.processes()) == [here[0], here[2]]
        alive = [ref.alive for ref in there]
        assert alive == [True, receiver is Trapping, True]
        assert [ref for ref, lives in zip(there, alive, strict=True) if lives] == list(two.processes())
        there[2].kill()
        assert not there[2].alive


async def test_who_waits_for_a_node_that_has_ended_is_told() -> None:
    """finished() returns, with a tree or without."""
    async with ak.open_node() as node:
        pass
    await node.finished()


async def test_a_stop_by_force_names_whom_it_kills(caplog: pytest.LogCaptureFixture, autojump_clock: MockClock) -> None:
    """What an actor could not save in time is lost: the log names the actor."""

    class Slow(ak.Actor):
        trap_exit = True

        async def terminate(self, reason: ak.ExitReason) -> None:
            await trio.sleep_forever()

    async with ak.open_node(stop_timeout=1) as node:
        node.spawn(Slow)
    assert "stops by force: 1 actors are killed" in caplog.text
    assert "(" + Slow.__qualname__ + ")" in caplog.text


async def test_a_call_within_its_time(autojump_clock: MockClock) -> None:
    """A call with a valid time keeps to it."""
    async with ak.open_node() as node:
        ref = node.spawn(Plain)
        assert await ref.within(2).call(Plain.ask_slowly) == 1
        with pytest.raises(ak.CallTimeout):
            await ref.within(0.5).call(Plain.ask_slowly)
