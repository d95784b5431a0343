"""A context is for its own actor: what an actor may do to itself is refused to all others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

import actorkit as ak

from .kit import Puppet, Trapper

OPERATIONS: dict[str, Callable[[Any, Any], object]] = {
    "spawn": lambda ctx, other: ctx.spawn(Puppet),
    "spawn_link": lambda ctx, other: ctx.spawn_link(Puppet),
    "spawn_monitor": lambda ctx, other: ctx.spawn_monitor(Puppet),
    "link": lambda ctx, other: ctx.link(other),
    "unlink": lambda ctx, other: ctx.unlink(other),
    "monitor": lambda ctx, other: ctx.monitor(other),
    "demonitor": lambda ctx, other: ctx.demonitor(ak.MonitorId(1)),
    "trap_exit": lambda ctx, other: setattr(ctx, "trap_exit", False),
    "exit_now": lambda ctx, other: ctx.exit_now(ak.NORMAL),
    "continue_with": lambda ctx, other: ctx.continue_with(Puppet.note, 1),
    "idle_timeout": lambda ctx, other: setattr(ctx, "idle_timeout", 1),
    "send_after": lambda ctx, other: ctx.send_after(1, other, "x"),
    "subscribe": lambda ctx, other: ctx.subscribe(),
    "unsubscribe": lambda ctx, other: ctx.unsubscribe(),
    "register": lambda ctx, other: ctx.register("name"),
    "unregister": lambda ctx, other: ctx.unregister(),
}


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_from_the_host_and_from_another_actor(node: ak.Node, clock: MockClock, operation: str) -> None:
    """Used by the host, by another actor or by one of their tasks, a context raises NotInsideActor,
    names the operation, and does nothing.
    """
    ref, other = node.spawn(Trapper), node.spawn(Puppet)
    function = OPERATIONS[operation]
    actors = node.statistics().actors

    def misuse(me: Puppet | None = None) -> None:
        with pytest.raises(ak.NotInsideActor, match=rf"ctx\.{operation.replace('spawn_monitor', 'spawn')}"):
            function(ref, other)

    async def misuse_in_task(me: Puppet) -> None:
        async def task() -> None:
            misuse()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(task)

    misuse()
    await other.call(Puppet.do, misuse)
    await other.call(Puppet.run, misuse_in_task)
    assert node.statistics().actors == actors
    info = node.process_info(ref)
    assert info is not None
    assert (info.name, info.links, info.monitors, info.trap_exit) == (None, (), (), True)


@pytest.mark.parametrize("operation", [o for o in OPERATIONS if o != "exit_now"])
async def test_from_inside(node: ak.Node, clock: MockClock, operation: str) -> None:
    """An actor may use its context in its constructor, its handlers, its continuations, its
    terminate and its own tasks.
    """
    other = node.spawn(Trapper)
    worked: list[str] = []

    class Uses(Puppet):
        def __init__(self, where: str) -> None:
            super().__init__()
            self.where = where
            if where == "init":
                self.use()

        def use(self) -> None:
            OPERATIONS[operation](self.ctx, other)
            worked.append(self.where)

        @ak.call
        def sync(self) -> None:
            self.use()

        @ak.call
        async def asynchronous(self) -> None:
            await trio.lowlevel.checkpoint()
            self.use()

        @ak.call
        async def task(self) -> None:
            async def run() -> None:
                await trio.lowlevel.checkpoint()
                self.use()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(run)

        def terminate(self, reason: ak.ExitReason) -> None:
            if self.where == "terminate":
                self.use()

    node.spawn(Uses, "init").kill()
    for method in (Uses.sync, Uses.asynchronous, Uses.task):
        ref = node.spawn(Uses, method.__name__)
        await ref.call(method)
        ref.kill()
    if operation != "continue_with":
        ref = node.spawn(Uses, "terminate")
        ref.stop()
        await trio.testing.wait_all_tasks_blocked()
        assert not ref.alive
        assert worked.pop() == "terminate"
    assert worked == ["init", "sync", "asynchronous", "task"]


async def test_a_process_context_too(node: ak.Node, clock: MockClock) -> None:
    """A process's receive and context are its own as well."""

    async def process(ctx: ak.ProcessContext) -> None:
        await ctx.receive()

    ref: Any = node.spawn(process)
    with pytest.raises(ak.NotInsideActor, match=r"ctx\.receive of"):
        await ref.receive()
    with pytest.raises(ak.NotInsideActor, match=r"ctx\.receive_nowait"):
        ref.receive_nowait()
    with pytest.raises(ak.NotInsideActor):
        ref.link(ref)


async def test_a_dead_actors_instance(node: ak.Node, clock: MockClock) -> None:
    """A saved instance or bound method of a dead actor raises ActorDead and says to keep the
    ref."""
    saved: list[Puppet] = []
    ref = node.spawn(Puppet)
    await ref.call(Puppet.do, saved.append)
    ref.kill()
    with pytest.raises(ak.ActorDead, match="keep its ref"):
        _ = saved[0].seen
    with pytest.raises(ak.ActorDead):
        saved[0].note(1)
