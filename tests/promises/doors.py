"""Doors: the ways in which an actor's code comes to run.

For each there is a function that has a subject do the world's work behind that door. It runs in the
bystander's handler. Where the subject lives on, it stays in its handler, or is idle, so that what
it holds can be looked at.
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

import trio

import actorkit as ak
from tests.promises.shapes import Keeper
from tests.promises.world import Work, World

__all__ = ["THROUGH", "Door"]


class Door(enum.Enum):
    """Where an actor's code comes to run. The value says it for the docs."""

    SYNC_CALL = "a plain handler of a call that waited in the mailbox"
    ASYNC_CALL = "an async handler, after an await"
    INLINE_CALL = "a plain handler in its caller's task"
    CAST = "a handler of a cast"
    INFO = "`handle_info`"
    CONTINUE = "`continue_with`"
    TIMER = "`handle_info`, by a timer"
    CONSTRUCTOR = "the constructor"
    FACTORY = "a function that makes the actor"
    INIT = "`init`"
    TERMINATE = "`terminate`"
    CONNECTED = "`connected` of a connection"
    RECEIVED = "plain `received` of a connection"
    ASYNC_RECEIVED = "async `received` of a connection"
    PROCESS = "a process"
    PREDICATE = "the predicate of a process's `receive`"
    NURSERY = "a task in an actor's nursery"
    TASK = "a task of a task supervisor"
    SOURCE = "the source of a task stream"
    THREAD = "`ak.to_thread`"
    NAMED = "a cast to a named ref"
    CHILD = "an actor below a supervisor that is governed"
    TRACED = "a cast to an actor that `ak.sys` traces"
    REPLACED = "the function of `ak.sys.replace_state`"

    @property
    def inside(self) -> bool:
        """Is an actor stopped there in the middle of a message? Elsewhere when that is done."""
        return self not in (Door.FACTORY, Door.THREAD, Door.REPLACED)

    @property
    def stops(self) -> str:
        """When that is, in words."""
        return "in the middle" if self.inside else "when it is done"

    @property
    def from_c(self) -> bool:
        """Is there code in C between the activation and what runs? (Until Python 3.12, a call with
        ``*args`` is made by C.)"""
        return self is Door.SOURCE or (self is Door.TRACED and sys.version_info < (3, 12))

    @property
    def in_locals(self) -> bool:
        """Is what it holds in local variables, and not in an actor's object?"""
        return self in (Door.PROCESS, Door.PREDICATE, Door.TASK)


THROUGH: Final[dict[Door, Callable[[World], Awaitable[None]]]] = {}


def through(door: Door) -> Callable[[Callable[[World], Awaitable[None]]], Callable[[World], Awaitable[None]]]:
    """This function has the work done behind that door."""

    def enter(function: Callable[[World], Awaitable[None]]) -> Callable[[World], Awaitable[None]]:
        THROUGH[door] = function
        return function

    return enter


class Subject(ak.Actor):
    def __init__(self, work: Work) -> None:
        self.held: list[Any] = []
        self.work = work

    @ak.call
    def by_call(self, plainly: bool = True) -> None:
        self.work.run(self)

    @ak.call
    async def by_async_call(self) -> None:
        await trio.lowlevel.checkpoint()
        self.work.run(self)
        await self.work.gate.wait()

    @ak.cast
    def by_cast(self) -> None:
        self.work.run(self)

    @ak.cast
    def by_continuation(self) -> None:
        self.ctx.continue_with(Subject.goes_on)

    def goes_on(self) -> None:
        self.work.run(self)

    def handle_info(self, message: Any) -> None:
        self.work.run(self)

    @ak.cast
    async def in_a_nursery(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._kid)

    async def _kid(self) -> None:
        await trio.lowlevel.checkpoint()
        self.work.run(self)
        await self.work.gate.wait()

    @ak.cast
    async def in_a_thread(self) -> None:
        try:
            await ak.to_thread(self.work.do, self)
        finally:
            self.work.over = True
        await self.work.gate.wait()

    @ak.cast
    async def from_a_stream(self, jobs: Any) -> None:
        async with ak.task_stream(jobs, _nothing, self._source()) as outcomes:
            async for _ in outcomes:
                await self.work.gate.wait()

    def _source(self) -> Iterator[int]:
        self.work.run(self)
        yield 1

    @ak.cast
    def ping(self) -> None:
        pass


async def _nothing(_: int) -> None:
    pass


@through(Door.SYNC_CALL)
async def _(world: World) -> None:
    await world.spawn(Subject, world.work).call(Subject.by_call, plainly=False)


@through(Door.ASYNC_CALL)
async def _(world: World) -> None:
    await world.spawn(Subject, world.work).within(10**6).call(Subject.by_async_call)


@through(Door.INLINE_CALL)
async def _(world: World) -> None:
    await world.spawn(Subject, world.work).call(Subject.by_call)


@through(Door.CAST)
async def _(world: World) -> None:
    world.spawn(Subject, world.work).cast(Subject.by_cast)


@through(Door.INFO)
async def _(world: World) -> None:
    world.spawn(Subject, world.work).send("go")


@through(Door.CONTINUE)
async def _(world: World) -> None:
    world.spawn(Subject, world.work).cast(Subject.by_continuation)


@through(Door.TIMER)
async def _(world: World) -> None:
    world.node.send_after(0, world.spawn(Subject, world.work), "go")


class SubjectOfConstructor(Subject):
    def __init__(self, work: Work) -> None:
        super().__init__(work)
        self.work.run(self)


@through(Door.CONSTRUCTOR)
async def _(world: World) -> None:
    world.spawn(SubjectOfConstructor, world.work)


def made_subject(work: Work) -> Subject:
    subject = Subject(work)
    work.run(subject)
    return subject


@through(Door.FACTORY)
async def _(world: World) -> None:
    world.spawn(made_subject, world.work).cast(Subject.ping)


class SubjectOfInit(Subject):
    def init(self) -> None:
        self.work.run(self)


@through(Door.INIT)
async def _(world: World) -> None:
    world.spawn(SubjectOfInit, world.work)


class SubjectOfTerminate(Subject):
    async def terminate(self, reason: ak.ExitReason) -> None:
        self.work.run(self)
        await self.work.gate.wait()


@through(Door.TERMINATE)
async def _(world: World) -> None:
    world.spawn(SubjectOfTerminate, world.work).stop()


# --- connections ----------------------------------------------------------------------------------


class SubjectConnection(ak.StreamActor):
    def __init__(self, world: World) -> None:
        self.held: list[Any] = []
        self.work = world.work
        world.ref = self.ctx.ref


class SubjectConnected(SubjectConnection):
    def connected(self) -> None:
        self.work.run(self)


class SubjectReceived(SubjectConnection):
    def received(self, data: bytes) -> None:
        self.work.run(self)


class SubjectReceivedAsync(SubjectConnection):
    async def received(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.work.run(self)
        await self.work.gate.wait()


async def _connect(world: World, cls: type[SubjectConnection]) -> None:
    listener = ak.tcp_listener(world.budgeted(cls, world), port=0, max_line=99)
    ref: Any = world.node.spawn(listener)
    ((host, port),) = await ref.call(ak.Listener.addresses)
    stream = await trio.open_tcp_stream(host, port)
    world.stack.push_async_callback(stream.aclose)
    await stream.send_all(b"go\n")


@through(Door.CONNECTED)
async def _(world: World) -> None:
    await _connect(world, SubjectConnected)


@through(Door.RECEIVED)
async def _(world: World) -> None:
    await _connect(world, SubjectReceived)


@through(Door.ASYNC_RECEIVED)
async def _(world: World) -> None:
    await _connect(world, SubjectReceivedAsync)


# --- tasks ----------------------------------------------------------------------------------------


async def Subject_process(ctx: ak.ProcessContext, work: Work) -> None:
    mine = Keeper()
    work.run(mine)
    await ctx.receive()


@through(Door.PROCESS)
async def _(world: World) -> None:
    world.spawn(Subject_process, world.work)


async def Subject_receives(ctx: ak.ProcessContext, work: Work) -> None:
    mine = Keeper()

    def wanted(message: object) -> bool:
        work.run(mine)
        return True

    await ctx.receive(wanted)
    await ctx.receive()


@through(Door.PREDICATE)
async def _(world: World) -> None:
    world.spawn(Subject_receives, world.work).send("go")


@through(Door.NURSERY)
async def _(world: World) -> None:
    world.spawn(Subject, world.work).cast(Subject.in_a_nursery)


async def Subject_task(work: Work) -> None:
    mine = Keeper()
    work.run(mine)
    await work.gate.wait()


@through(Door.TASK)
async def _(world: World) -> None:
    jobs = world.node.spawn(ak.task_supervisor())
    task = await jobs.call(ak.TaskSupervisor.run, Subject_task, world.work)
    world.ref = task.ref


@through(Door.SOURCE)
async def _(world: World) -> None:
    jobs = world.node.spawn(ak.task_supervisor())
    world.spawn(Subject, world.work).cast(Subject.from_a_stream, jobs)


@through(Door.THREAD)
async def _(world: World) -> None:
    world.spawn(Subject, world.work).cast(Subject.in_a_thread)


# --- others in between ----------------------------------------------------------------------------


@through(Door.NAMED)
async def _(world: World) -> None:
    world.ref = world.node.spawn(world.budgeted(Subject, world.work).with_(name="subject"))
    ak.named(Subject, "subject").cast(Subject.by_cast)


@through(Door.CHILD)
async def _(world: World) -> None:
    family = world.node.spawn(ak.dynamic_supervisor())
    await world.stack.enter_async_context(ak.govern_subtree(family, "1 GiB"))
    spec = world.budgeted(Subject, world.work).with_(restart="temporary")
    world.ref = await family.call(ak.DynamicSupervisor.start_child, spec)
    world.ref.cast(Subject.by_cast)


@through(Door.TRACED)
async def _(world: World) -> None:
    ref = world.spawn(Subject, world.work)
    await ak.sys.trace(ref, lambda _: None)
    ref.cast(Subject.by_cast)


@through(Door.REPLACED)
async def _(world: World) -> None:
    ref = world.spawn(Subject, world.work)

    def replace(state: dict[str, Any]) -> dict[str, Any]:
        mine = Keeper()
        world.work.run(mine)
        return state | {"held": mine.held}

    await ak.sys.replace_state(ref, replace)
