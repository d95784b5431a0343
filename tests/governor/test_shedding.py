"""What may be given up is given up, the oldest first, and never silently."""

from __future__ import annotations

import pytest
import trio

import actorkit as ak
from actorkit.governor.shed import shed


class Board(ak.Actor):
    def __init__(self) -> None:
        self.seen: list[object] = []
        self.go_on = trio.Event()

    @ak.cast
    async def block(self) -> None:
        await self.go_on.wait()

    @ak.cast(sheddable=True)
    def tick(self, number: int, payload: bytes = b"") -> None:
        self.seen.append(number)

    @ak.cast
    def order(self, number: int) -> None:
        self.seen.append(-number)

    @ak.call(sheddable=True)
    def quote(self) -> int:
        return 1

    @ak.call
    def all(self) -> list[object]:
        return self.seen

    @ak.call
    def nothing(self) -> None: ...


class LoudBoard(Board):
    def tick(self, number: int, payload: bytes = b"") -> None:
        self.seen.append((number, "loud"))


async def a_blocked_board(node: ak.Node, cls: type[Board] = Board) -> tuple[ak.Ref[Board], trio.Event]:
    board = node.spawn(cls)
    await board.call(Board.nothing)
    go_on: trio.Event = board.obj.go_on  # type: ignore[attr-defined]
    board.cast(Board.block)
    await trio.testing.wait_all_tasks_blocked()
    return board, go_on


async def test_sheddable_messages_go_oldest_first_and_the_others_stay() -> None:
    async with ak.open_node() as node, node.subscribe(ak.DeadLetter) as letters:
        board, go_on = await a_blocked_board(node)
        for number in range(1, 6):
            board.cast(Board.tick, number, bytes(1_000))
            board.cast(Board.order, number)
        before = node.statistics().dead_letters
        given_up = shed(board, 2_500, "a test")  # type: ignore[arg-type]
        assert given_up.messages == 3
        assert 3_000 <= given_up.bytes < 4_000
        assert node.statistics().dead_letters == before + 3
        assert [(await anext(letters)).args[0] for _ in range(3)] == [1, 2, 3]
        go_on.set()
        assert await board.call(Board.all) == [-1, -2, -3, 4, -4, 5, -5]


async def test_callers_of_shed_calls_are_told_at_once() -> None:
    told = trio.Event()

    async with ak.open_node() as node, trio.open_nursery() as nursery:
        board, go_on = await a_blocked_board(node)

        async def ask() -> None:
            with pytest.raises(ak.CallShed, match="a test; try again later"):
                await board.call(Board.quote)
            told.set()

        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        assert shed(board, 1, "a test").messages == 1  # type: ignore[arg-type]
        await told.wait()
        assert not go_on.is_set()
        go_on.set()
        assert await board.call(Board.quote) == 1


async def test_what_a_subclass_overrides_stays_sheddable_and_keyword_arguments_do_not_hide_it() -> None:
    async with ak.open_node() as node:
        board, go_on = await a_blocked_board(node, LoudBoard)
        board.cast(Board.tick, 1)
        board.cast(Board.tick, number=2)
        board.send("a plain message")
        assert shed(board, 10_000, "a test").messages == 2  # type: ignore[arg-type]
        assert board.mailbox_length == 1  # type: ignore[attr-defined]
        go_on.set()


async def test_those_who_wait_for_room_come_in() -> None:
    async with ak.open_node() as node, trio.open_nursery() as nursery:
        board = node.spawn(ak.child(Board).with_(mailbox=2, overflow="wait"))
        await board.call(Board.nothing)
        go_on: trio.Event = board.obj.go_on  # type: ignore[attr-defined]
        board.cast(Board.block)
        await trio.testing.wait_all_tasks_blocked()
        board.cast(Board.tick, 1)
        board.cast(Board.tick, 2)
        nursery.start_soon(board.cast_wait, Board.order, 7)
        await trio.testing.wait_all_tasks_blocked()
        assert shed(board, 1, "a test").messages == 1  # type: ignore[arg-type]
        go_on.set()
        assert await board.call(Board.all) == [2, -7]


async def test_the_dead_have_nothing_to_give() -> None:
    async with ak.open_node() as node:
        board = node.spawn(Board)
        board.kill()
        assert shed(board, 1, "a test").messages == 0  # type: ignore[arg-type]
