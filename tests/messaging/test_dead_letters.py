"""Dead letters: each has a reason for programs, and a text that says the same to people."""

from __future__ import annotations

from typing import Any

import pytest
import trio

import actorkit as ak
from actorkit.governor.shed import shed
from actorkit.runtime.actor.dead_letters import DeadLetterReason


class Board(ak.Actor):
    @ak.cast(sheddable=True)
    def put(self, what: object) -> None:
        pass


def board(**options: Any) -> Any:
    return ak.child(Board).with_(**options)


async def suspended(node: ak.Node, **options: Any) -> Any:
    """A board that handles nothing."""
    ref = node.spawn(board(**options))
    await ak.sys.suspend(ref)
    return ref


async def full(node: ak.Node, overflow: Any) -> None:
    ref = await suspended(node, mailbox=1, overflow=overflow)
    ref.cast(Board.put, 1)
    ref.cast(Board.put, 2)


async def heap_full(node: ak.Node, overflow: Any) -> None:
    ref = await suspended(node, max_heap_size="64 KiB", overflow=overflow)
    for _ in range(3):
        ref.cast(Board.put, bytes(30_000))


async def dead(node: ak.Node) -> None:
    ref = node.spawn(Board)
    ref.kill()
    ref.send(1)


async def ended(node: ak.Node) -> None:
    ref = node.spawn(Board)
    ref.cast(Board.put, 1)
    ref.kill()


async def nobody(node: ak.Node) -> None:
    ak.named(Board, "nobody").cast(Board.put, 1)


async def notices(node: ak.Node) -> None:
    ref = await suspended(node, mailbox=1, overflow="drop_oldest")
    node.send_after(0, ref, "exempt")
    await trio.sleep(0.1)
    ref.send(1)


async def wrong(node: ak.Node) -> None:
    node.spawn(Board).cast(Board.put)  # type: ignore[call-arg]


async def given_up(node: ak.Node) -> None:
    ref = await suspended(node)
    ref.cast(Board.put, 1)
    shed(ref, 1, "a test")


R = DeadLetterReason
CASES = {
    R.DEAD: (dead, (), "dead"),
    R.RECEIVER_ENDED: (ended, (), "its receiver ended first"),
    R.NO_SUCH_NAME: (nobody, (), "no actor has this name"),
    R.MAILBOX_FULL: (full, ("reject",), "mailbox full"),
    R.FULL_OF_NOTICES: (notices, (), "mailbox full of notices"),
    R.DROPPED_NEWEST: (full, ("drop_newest",), "dropped as the newest of a full mailbox"),
    R.DROPPED_OLDEST: (full, ("drop_oldest",), "dropped as the oldest of a full mailbox"),
    R.HEAP_FULL: (heap_full, ("reject",), "its heap is full: "),
    R.DROPPED_FOR_HEAP: (heap_full, ("drop_oldest",), "dropped as the oldest of a full heap"),
    R.BAD_ARGUMENTS: (wrong, (), "bad_arguments: "),
    R.SHED: (given_up, (), "a test"),
}


def test_every_reason_has_a_case() -> None:
    """Every reason for a dead letter has a case here."""
    assert set(CASES) == set(DeadLetterReason)


@pytest.mark.parametrize("reason", CASES, ids=lambda reason: reason.name.lower())
async def test_reason_and_text(reason: DeadLetterReason, autojump_clock: Any) -> None:
    """Subscribers see the reason, and a text that says the same with the details of the case."""
    case, arguments, text = CASES[reason]
    async with ak.open_node() as node:
        with node.subscribe(ak.DeadLetter) as letters:
            await case(node, *arguments)  # type: ignore[operator]
            await trio.sleep(1)
            letter = letters.drain()[0]
        assert isinstance(letter, ak.DeadLetter)
        assert letter.reason is reason
        assert letter.why.startswith(text)
        assert (letter.why == text) == (text[-2:] != ": ")
