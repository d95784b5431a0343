"""A caller that is refused and tries again at once, as people do, lets others run meanwhile: a
supervisor that restarts, a deadline that comes, Ctrl-C.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import trio
from trio.testing import MockClock

import actorkit as ak

from .conftest import OpenNode


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


class Callee(ak.Actor):
    @ak.call
    def ask(self) -> int:
        return 1

    @ak.call
    async def ask_slowly(self) -> int:
        await trio.sleep_forever()
        return 1

    @ak.call
    def boom(self) -> int:
        raise ValueError("boom")

    @ak.cast
    async def hang(self) -> None:
        await trio.sleep_forever()


class Refuses(ak.Actor):
    def __init__(self) -> None:
        raise ValueError("not today")


async def attempt(door: str, node: ak.Node, dead: Any, full: Any) -> None:
    """One call that is refused at once."""
    nobody: Any = ak.named(Callee, "nobody")
    match door:
        case "dead":
            await dead.call(Callee.ask)
        case "dead, within":
            await dead.within(5).call(Callee.ask)
        case "dead, cast_wait":
            await dead.cast_wait(Callee.ask)
        case "dead, send_wait":
            await dead.send_wait("x")
        case "nobody":
            await nobody.call(Callee.ask)
        case "nobody, within":
            await nobody.within(5).call(Callee.ask)
        case "nobody, cast_wait":
            await nobody.cast_wait(Callee.ask)
        case "nobody, send_wait":
            await nobody.send_wait("x")
        case "via":
            await ak.via(Callee, "no registry", "key").call(Callee.ask)
        case "full":
            await full.call(Callee.ask)
        case "full, within":
            await full.within(5).call(Callee.ask)
        case "start":
            await node.start(Refuses)
        case "crash":
            await node.spawn(Callee).call(Callee.boom)
        case "arguments":
            await node.spawn(Callee).call(Callee.ask, 1, 2)  # type: ignore[call-arg]
        case _:
            raise AssertionError(door)


DOORS = [
    "dead", "dead, within", "dead, cast_wait", "dead, send_wait", "nobody", "nobody, within", "nobody, cast_wait",
    "nobody, send_wait", "via", "full", "full, within", "start", "crash", "arguments",
]  # fmt: skip


@pytest.mark.parametrize("who", ["the host", "an actor", "a process"])
@pytest.mark.parametrize("door", DOORS)
async def test_whoever_tries_again_and_again_lets_others_run(opened: OpenNode, door: str, who: str) -> None:
    """Ten turns of another task come while the caller tries again, whatever refuses the call."""
    tries = 0
    turns = 0

    async with opened(slice_seconds=1e-9) as node:
        dead = node.spawn(Callee)
        dead.kill()
        full = node.spawn(ak.child(Callee).with_(mailbox=1))
        full.cast(Callee.hang)
        await trio.testing.wait_all_tasks_blocked()
        full.cast(Callee.ask)

        async def again(*_: Any) -> None:
            nonlocal tries
            while turns < 10:
                tries += 1
                assert tries < 10_000, "nobody else had a turn"
                try:
                    await attempt(door, node, dead, full)
                except (ak.ActorkitError, TypeError):
                    pass

        class Tries(ak.Actor):
            @ak.call
            async def again(self) -> None:
                await again()

        async with trio.open_nursery() as nursery:
            if who == "the host":
                nursery.start_soon(again)
            elif who == "an actor":
                nursery.start_soon(node.spawn(Tries).call, Tries.again)
            else:
                node.spawn(again)
            while turns < 10:
                await trio.lowlevel.checkpoint()
                turns += 1
        await trio.testing.wait_all_tasks_blocked()
    assert tries > 0


async def test_a_child_that_is_called_until_it_is_back(opened: OpenNode) -> None:
    """A program does what the tutorial advises: it catches CallError and tries again."""
    async with opened(tree=ak.supervisor(ak.child(Callee).with_(name="it"))) as node:
        it = ak.named(Callee, "it")
        killed: Any = node.whereis("it")
        killed.kill()
        for _ in range(1_000):
            try:
                answer = await it.call(Callee.ask)
            except ak.CallError:
                continue
            break
        assert answer == 1
        assert node.whereis("it") is not killed


async def test_a_deadline_comes_to_whoever_tries_again(opened: OpenNode, autojump_clock: MockClock) -> None:
    """A loop of refused calls can be cancelled."""
    async with opened() as node:
        dead = node.spawn(Callee)
        dead.kill()
        tries = 0
        with trio.CancelScope() as scope:
            while True:
                tries += 1
                assert tries < 1_000
                if tries == 5:
                    scope.cancel()
                try:
                    await dead.call(Callee.ask)
                except ak.CalleeDied:
                    pass
        assert scope.cancelled_caught
        assert tries == 5


class Hostile(ak.Failure):
    """A reason of a user's own, whose text raises."""

    def __repr__(self) -> str:
        raise RuntimeError("of a repr")

    __str__ = __repr__


async def test_a_reason_without_a_text_in_a_nursery(opened: OpenNode) -> None:
    """trio asks for the text of what a nursery's child raises; a reason without a text must not end
    the program.
    """

    class Exits(ak.Actor):
        @ak.call
        async def go(self) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.child)

        async def child(self) -> None:
            self.ctx.exit_now(Hostile("x"))

    async with opened() as node:
        with pytest.raises(ak.CalleeDied) as died:
            await node.spawn(Exits).call(Exits.go)
        assert isinstance(died.value.reason, Hostile)


class NoText:
    def __repr__(self) -> str:
        raise RuntimeError("of a repr")

    __hash__ = object.__hash__


def test_data_about_users_values_always_has_a_text() -> None:
    """Reasons, messages, events and errors have a text even when they hold values whose own text
    raises.
    """
    value: Any = NoText()
    reason = Hostile("x")
    data = [
        ak.Failure(value), ak.Shutdown(value), ak.FailedToStart(value, reason), ak.StartFailed(value, reason),
        ak.ActorExit(reason), ak.Exit(None, reason), ak.ActorExited(None, None, "who", reason),
        ak.DeadLetter(None, None, "who", "message", (value,), "why"), ak.Registered("registry", value, value, value),
        ak.Unregistered("registry", value, value), ak.TaskResult(value), ak.ChildNotFound(value),
        ak.DuplicateChildId(value), ak.AlreadyRegistered(value, "holder"),
    ]  # fmt: skip
    for one in data:
        if not isinstance(one, (ak.Registered, ak.Unregistered)):  # their ref is the runtime's own
            assert repr(one)
            assert str(one)


async def test_a_later_is_not_its_own_answer(opened: OpenNode) -> None:
    """A Later that is set to itself is a TypeError where it is set."""
    later = ak.Later[Any]()
    with pytest.raises(TypeError, match="with itself"):
        later.set(later)
