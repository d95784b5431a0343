"""What an actor and a process do for themselves: contexts, timers, continuations, later answers,
tasks.
"""

from __future__ import annotations

from typing import Any, Self, assert_type

import actorkit as ak
from tests.typing.actors import Box, Chat, Room, fetch


class Clerk(ak.Actor):
    """Uses its context; callbacks may be plain or async."""

    trap_exit = True

    def __init__(self, room: ak.Ref[Room]) -> None:
        self.room = room
        self.waiting: list[ak.Later[int]] = []

    async def init(self) -> None:
        assert_type(self.ctx.ref, ak.Ref[Self])
        assert_type(self.ctx.node, ak.Node)
        assert_type(self.ctx.spawn(Box, "x"), ak.Ref[Box[str]])
        assert_type(self.ctx.spawn_link(Room, "back office"), ak.Ref[Room])
        assert_type(self.ctx.monitor(self.room), ak.MonitorId)
        self.ctx.idle_timeout = 5.0
        self.ctx.idle_timeout = "soon"  # error
        self.ctx.priority = ak.Priority.HIGH
        self.ctx.priority = "high"  # error
        self.ctx.spawn(Room)  # error
        self.ctx.monitor(Room)  # error
        self.ctx.continue_with(Clerk.settle, 3)
        self.ctx.continue_with(Clerk.settle, "three")  # error
        self.ctx.continue_with(Room.topic, 3)  # whose method it is is checked at run time only
        self.ctx.send_after(1.0, self.ctx.ref, "tick")
        self.ctx.send_after("1 s", self.ctx.ref, "tick")  # error

    def settle(self, value: int) -> None:
        for later in self.waiting:
            later.set(value)
            later.set("three")  # error
            later.fail(ValueError("closed"))
            later.fail("closed")  # error

    @ak.call
    def wait(self) -> ak.Later[int]:
        later = ak.Later[int]()
        self.waiting.append(later)
        return later

    def handle_info(self, message: object) -> None:
        if isinstance(message, ak.Down):
            assert_type(message.reason, ak.ExitReason)
            assert_type(message.ref, ak.Ref[Any])

    def terminate(self, reason: ak.ExitReason) -> None:
        if isinstance(reason, ak.Crash):
            assert_type(reason.message, str)


class Wordy(ak.StreamActor):
    """A connection's callbacks."""

    async def connected(self) -> None:
        self.write(b"hello\n")
        self.write("hello\n")  # error

    def received(self, line: bytes) -> None: ...


async def process(ctx: ak.ProcessContext, room: ak.Ref[Room]) -> None:
    """Selective receive: a class gives the message its type, a predicate leaves it open."""
    assert_type(await ctx.receive(), Any)
    assert_type(await ctx.receive(ak.Down), ak.Down)
    assert_type(await ctx.receive(str, within=2), str)
    assert_type(ctx.receive_nowait(int), int)
    await ctx.receive(lambda message: message == "tick")
    await ctx.receive("tick")  # error
    await ctx.receive(str, within="2")  # error
    assert_type(await room.call(Room.topic, 3), str)


async def tasks(jobs: ak.Ref[ak.TaskSupervisor], room: ak.Ref[Room]) -> None:
    """A task's result has the return type of its function."""
    task = await jobs.call(ak.TaskSupervisor.run, fetch, "https://example.org")
    assert_type(await task.result(), bytes)
    stream = ak.task_stream(jobs, fetch, ["https://example.org"], max_concurrency=3)
    print(stream)
    await jobs.call(ak.TaskSupervisor.run, 3)  # error
    await jobs.call(ak.TaskSupervisor.run)  # error


async def nodes() -> None:
    """A node, and the threads beside it."""
    async with ak.open_node(ak.supervisor(ak.child(Room, "lobby"))) as node:
        assert_type(node, ak.Node)
        assert_type(node.whereis("lobby"), ak.Ref[Any] | None)
        assert_type(await node.finished(), None)
        info = node.process_info(ak.named(Room, "lobby"))
        assert info is not None
        assert_type(info.mailbox, int)
    async with ak.open_node(Room) as node:  # error
        print(node)
    assert_type(await ak.to_thread(len, [1]), int)
    await ak.to_thread(len, 1)  # error


def main() -> None:
    """The outermost call."""
    ak.run(nodes)
    ak.run(nodes, 3)  # error
    print(Chat, Clerk)
