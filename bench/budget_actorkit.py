"""One side of `python -m bench budget`: the same programs, with budgets on (argument `on`) or
off."""

import sys

import trio

import actorkit as ak
from bench.worker import gc_settings, say, serve, timed

LIMIT = "256 MiB" if sys.argv[1:] == ["on"] else None
BURST = 500
TEN_KEYS = {f"key-{number}": number * 1000.0 for number in range(10)}


class Sink(ak.Actor):
    @ak.cast
    def put(self, what: object) -> None:
        pass

    @ak.cast
    def build(self) -> None:
        rows = [{"number": number, "text": str(number), "pair": (number, number + 1)} for number in range(200)]
        rows.sort(key=lambda row: row["text"])

    @ak.call
    def done(self) -> None:
        pass


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


async def bursts(n: int, message: object) -> float:
    async with ak.open_node(max_heap_size=LIMIT) as node:
        ref = node.spawn(Sink)

        async def run(n: int) -> None:
            for start in range(0, n, BURST):
                for _ in range(min(BURST, n - start)):
                    ref.cast(Sink.put, message)
                await ref.call(Sink.done)

        await run(n // 10)
        return await timed(run, n)


async def cast_int(n: int) -> float:
    return await bursts(n, 123_456)


async def cast_text(n: int) -> float:
    return await bursts(n, "x" * 100)


async def cast_dict(n: int) -> float:
    return await bursts(n, TEN_KEYS)


async def cast_nested(n: int) -> float:
    """A hundred kilobytes, made anew for each message."""
    async with ak.open_node(max_heap_size=LIMIT) as node:
        ref = node.spawn(Sink)

        async def run(n: int) -> None:
            for _ in range(n):
                ref.cast(Sink.put, [{"number": number + 1e6, "pair": (number, 1.5)} for number in range(300)])
                await ref.call(Sink.done)

        await run(max(1, n // 10))
        return await timed(run, n)


async def ping_pong(n: int) -> float:
    async with ak.open_node(max_heap_size=LIMIT) as node:
        ping, pong = node.spawn(Player), node.spawn(Player)

        async def play(n: int) -> None:
            finished = trio.Event()
            await ping.call(Player.meet, pong, finished)
            await pong.call(Player.meet, ping, finished)
            ping.cast(Player.bounce, n - 1)
            await finished.wait()

        await play(n // 10)
        return await timed(play, n)


async def allocating(n: int) -> float:
    async with ak.open_node(max_heap_size=LIMIT) as node:
        ref = node.spawn(Sink)

        async def run(n: int) -> None:
            for _ in range(n):
                ref.cast(Sink.build)
                await ref.call(Sink.done)

        await run(n // 10)
        return await timed(run, n)


if __name__ == "__main__":
    say(gc=gc_settings())
    serve([cast_int, cast_text, cast_dict, cast_nested, ping_pong, allocating])
