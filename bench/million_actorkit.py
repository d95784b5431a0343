"""The process that holds the million actors of `python -m bench million`."""

import math
from time import perf_counter

import trio

import actorkit as ak
from bench.worker import gc_settings, questions, rss, say


class Cell(ak.Actor):
    def __init__(self, number: int) -> None:
        self.number = number

    @ak.cast
    def ask(self, tally: "ak.Ref[Tally]") -> None:
        tally.cast(Tally.answer, self.number)


class Tally(ak.Actor):
    """Adds up the answers; a lost or doubled answer would show in the sum or the count."""

    def __init__(self, expected: int, complete: trio.Event) -> None:
        self.missing = expected
        self.sum = 0
        self.complete = complete

    @ak.cast
    def answer(self, number: int) -> None:
        self.missing -= 1
        self.sum += number
        if not self.missing:
            self.complete.set()

    @ak.call
    def total(self) -> int:
        return self.sum


async def measure(count: int) -> dict[str, float]:
    complete = trio.Event()
    async with ak.open_node() as node:
        tally = node.spawn(ak.child(Tally, count, complete).with_(mailbox=math.inf))

        start = perf_counter()
        cells = [node.spawn(Cell, number) for number in range(count)]
        spawn = perf_counter() - start
        rss_idle = rss()

        start = perf_counter()
        accepted = sum(cell.cast(Cell.ask, tally) for cell in cells)
        send = perf_counter() - start
        rss_queued = rss()
        assert accepted == count, f"{count - accepted} casts were refused"

        start = perf_counter()
        await complete.wait()
        answer = perf_counter() - start
        rss_after = rss()
        assert await tally.call(Tally.total) == count * (count - 1) // 2

        mib = 2**20
        return {
            "rss_idle": rss_idle / mib,
            "rss_queued": rss_queued / mib,
            "rss_after": rss_after / mib,
            "spawn": spawn,
            "send": send,
            "answer": answer,
            "total": spawn + send + answer,
        }


async def gc_in_force() -> dict[str, object]:
    async with ak.open_node():
        return gc_settings()


if __name__ == "__main__":
    say(gc=trio.run(gc_in_force))
    for _, n in questions():
        say(**trio.run(measure, int(n)))
