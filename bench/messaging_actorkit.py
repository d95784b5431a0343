"""actorkit's side of `python -m bench messaging`."""

import gc

import trio

import actorkit as ak
from bench.worker import gc_settings, rss, say, serve, timed

BURST = 1000


class Echo(ak.Actor):
    def __init__(self) -> None:
        self.sum = 0

    @ak.cast
    def put(self, x: int) -> None:
        self.sum += x

    @ak.cast
    async def put_asynchronously(self, x: int) -> None:
        self.sum += x

    @ak.call
    def total(self) -> int:
        return self.sum

    @ak.call
    def sync(self, x: int) -> int:
        return x

    @ak.call
    async def asynchronous(self, x: int) -> int:
        return x


class Player(ak.Actor):
    opponent: "ak.Ref[Player]"
    finished: trio.Event

    @ak.call
    def meet(self, opponent: "ak.Ref[Player]", finished: trio.Event) -> None:
        self.opponent = opponent
        self.finished = finished

    @ak.cast
    def bounce(self, left: int) -> None:
        if left:
            self.opponent.cast(Player.bounce, left - 1)
        else:
            self.finished.set()


# -- the rows: each returns seconds for n operations, or bytes for n actors
# --------------------------


async def cast_sync(n: int) -> float:
    async with ak.open_node() as node:
        ref = node.spawn(Echo)

        async def bursts(n: int) -> None:
            for start in range(0, n, BURST):
                for _ in range(min(BURST, n - start)):
                    ref.cast(Echo.put, 1)
                await ref.call(Echo.total)

        await bursts(n // 10)
        before = await ref.call(Echo.total)
        seconds = await timed(bursts, n)
        assert await ref.call(Echo.total) - before == n
        return seconds


async def cast_async(n: int) -> float:
    async with ak.open_node() as node:
        ref = node.spawn(Echo)

        async def bursts(n: int) -> None:
            for start in range(0, n, BURST):
                for _ in range(min(BURST, n - start)):
                    ref.cast(Echo.put_asynchronously, 1)
                await ref.call(Echo.total)

        await bursts(n // 10)
        before = await ref.call(Echo.total)
        seconds = await timed(bursts, n)
        assert await ref.call(Echo.total) - before == n
        return seconds


async def call_sync(n: int) -> float:
    async with ak.open_node() as node:
        ref = node.spawn(Echo)

        async def calls(n: int) -> None:
            for i in range(n):
                assert await ref.call(Echo.sync, i) == i

        await calls(n // 10)
        return await timed(calls, n)


async def call_async(n: int) -> float:
    async with ak.open_node() as node:
        ref = node.spawn(Echo)

        async def calls(n: int) -> None:
            for i in range(n):
                assert await ref.call(Echo.asynchronous, i) == i

        await calls(n // 10)
        return await timed(calls, n)


async def ping_pong(n: int) -> float:
    async with ak.open_node() as node:
        ping, pong = node.spawn(Player), node.spawn(Player)

        async def play(n: int) -> None:
            finished = trio.Event()
            await ping.call(Player.meet, pong, finished)
            await pong.call(Player.meet, ping, finished)
            ping.cast(Player.bounce, n - 1)
            await finished.wait()

        await play(n // 10)
        return await timed(play, n)


async def spawn(n: int) -> float:
    async def spawns(n: int) -> None:
        refs.extend([node.spawn(Echo) for _ in range(n)])
        await refs[-1].call(Echo.total)

    refs: list[ak.Ref[Echo]] = []
    async with ak.open_node() as node:
        await spawns(n // 10)
    refs.clear()
    async with ak.open_node() as node:
        return await timed(spawns, n)


async def idle(n: int) -> float:
    async with ak.open_node() as node:
        refs = [node.spawn(Echo) for _ in range(100)]
        gc.collect()
        before = rss()
        refs += [node.spawn(Echo) for _ in range(n)]
        await refs[-1].call(Echo.total)
        return rss() - before


async def gc_in_force() -> dict[str, object]:
    """Run with a node open, so that the settings that the runtime changes show."""
    async with ak.open_node():
        return gc_settings()


if __name__ == "__main__":
    say(gc=trio.run(gc_in_force))
    serve([cast_sync, cast_async, call_sync, call_async, ping_pong, spawn, idle])
