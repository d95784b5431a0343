"""Plain trio's side of `python -m bench messaging`: an actor is a task that reads from a memory
channel.

A cast is `send_nowait`, trio's cheapest send, which never waits either. A call sends a one-shot
reply object with the message and waits for it. There is no deadline, no crash containment and no
name: this is the least that could do the job.
"""

import gc
from collections.abc import Awaitable, Callable

import trio

from bench.worker import gc_settings, rss, say, serve, timed

BURST = 1000


class Reply:
    """One answer, waited for once."""

    __slots__ = ("answered", "value")

    def __init__(self) -> None:
        self.answered = trio.Event()
        self.value = 0

    def set(self, value: int) -> None:
        self.value = value
        self.answered.set()

    async def get(self) -> int:
        await self.answered.wait()
        return self.value


Message = tuple[str, int, Reply | None]
Inbox = trio.MemoryReceiveChannel[Message]
Outbox = trio.MemorySendChannel[Message]
Actor = Callable[[Inbox], Awaitable[None]]


async def echo(inbox: Inbox, started: Callable[[], None] | None = None) -> None:
    """The counterpart of the actor: adds up the numbers that are put, echoes what it is asked."""
    total = 0
    if started is not None:
        started()
    async for what, x, reply in inbox:
        if what == "put":
            total += x
        elif reply is not None:
            reply.set(x if what == "echo" else total)


async def echo_asynchronously(inbox: Inbox) -> None:
    """The same with an asynchronous handler."""
    total = 0

    async def handle(what: str, x: int, reply: Reply | None) -> None:
        nonlocal total
        if what == "put":
            total += x
        elif reply is not None:
            reply.set(x if what == "echo" else total)

    async for what, x, reply in inbox:
        await handle(what, x, reply)


async def ask(actor: Outbox, what: str, x: int = 0) -> int:
    reply = Reply()
    await actor.send((what, x, reply))
    return await reply.get()


# -- the rows: each returns seconds for n operations, or bytes for n actors
# --------------------------


async def cast_sync(n: int) -> float:
    return await cast(n, echo)


async def cast_async(n: int) -> float:
    return await cast(n, echo_asynchronously)


async def cast(n: int, actor: Actor) -> float:
    async def bursts(n: int) -> None:
        for start in range(0, n, BURST):
            for _ in range(min(BURST, n - start)):
                ref.send_nowait(("put", 1, None))
            await ask(ref, "total")

    async with trio.open_nursery() as nursery:
        ref, inbox = trio.open_memory_channel[Message](1024)
        nursery.start_soon(actor, inbox)
        await bursts(n // 10)
        before = await ask(ref, "total")
        seconds = await timed(bursts, n)
        assert await ask(ref, "total") - before == n
        ref.close()
    return seconds


async def call_sync(n: int) -> float:
    return await call(n, echo)


async def call_async(n: int) -> float:
    return await call(n, echo_asynchronously)


async def call(n: int, actor: Actor) -> float:
    async def calls(n: int) -> None:
        for i in range(n):
            assert await ask(ref, "echo", i) == i

    async with trio.open_nursery() as nursery:
        ref, inbox = trio.open_memory_channel[Message](1024)
        nursery.start_soon(actor, inbox)
        await calls(n // 10)
        seconds = await timed(calls, n)
        ref.close()
    return seconds


async def ping_pong(n: int) -> float:
    async def player(inbox: trio.MemoryReceiveChannel[int], opponent: trio.MemorySendChannel[int]) -> None:
        async for left in inbox:
            if left:
                opponent.send_nowait(left - 1)
            else:
                finished[-1].set()

    async def play(n: int) -> None:
        finished.append(trio.Event())
        ping.send_nowait(n - 1)
        await finished[-1].wait()

    finished: list[trio.Event] = []
    async with trio.open_nursery() as nursery:
        ping, ping_inbox = trio.open_memory_channel[int](1024)
        pong, pong_inbox = trio.open_memory_channel[int](1024)
        nursery.start_soon(player, ping_inbox, pong)
        nursery.start_soon(player, pong_inbox, ping)
        await play(n // 10)
        seconds = await timed(play, n)
        ping.close()
        pong.close()
    return seconds


class Crowd:
    """Tasks with a channel each, until the last of them waits for messages."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.refs: list[Outbox] = []

    async def spawn(self, n: int) -> None:
        missing = n
        all_started = trio.Event()

        def started() -> None:
            nonlocal missing
            missing -= 1
            if not missing:
                all_started.set()

        for _ in range(n):
            ref, inbox = trio.open_memory_channel[Message](1024)
            self.nursery.start_soon(echo, inbox, started)
            self.refs.append(ref)
        await all_started.wait()

    def stop(self) -> None:
        for ref in self.refs:
            ref.close()


async def spawn(n: int) -> float:
    async with trio.open_nursery() as nursery:
        crowd = Crowd(nursery)
        await crowd.spawn(n // 10)
        crowd.stop()
    async with trio.open_nursery() as nursery:
        crowd = Crowd(nursery)
        seconds = await timed(crowd.spawn, n)
        crowd.stop()
    return seconds


async def idle(n: int) -> float:
    async with trio.open_nursery() as nursery:
        crowd = Crowd(nursery)
        await crowd.spawn(100)
        gc.collect()
        before = rss()
        await crowd.spawn(n)
        grown = rss() - before
        crowd.stop()
    return grown


if __name__ == "__main__":
    say(gc=gc_settings())
    serve([cast_sync, cast_async, call_sync, call_async, ping_pong, spawn, idle])
