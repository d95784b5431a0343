"""One side of `python -m bench page_costs`. Its arguments are `own`, `shared` or `none`, and the
program. It answers each count with the microseconds for one operation, and with what the process
holds.
"""

import gc
import sys
from time import perf_counter
from typing import Any

import trio

import actorkit as ak
from actorkit.heap import own_heaps
from bench.worker import gc_settings, questions, rss, say

MODE, PROGRAM = sys.argv[1:3]
KEPT = 300
PLAYERS = 100
WORKERS = 20
WORDS = [f"word{number}" for number in range(1000)]


class Objects(ak.Actor):
    """Keeps the last 300 of its rows, and makes 3,000 for each message."""

    def init(self) -> None:
        self.rows: list[dict[str, Any]] = []

    @ak.call
    def work(self, times: int) -> None:
        for _ in range(times):
            made = [{"number": n + 1000, "text": str(n), "pair": (n, float(n)), "tags": [n]} for n in range(3_000)]
            made.sort(key=lambda row: row["text"])
            self.rows = [*self.rows, *made[::10]][-KEPT:]


class Texts(ak.Actor):
    """Keeps 2,000 lines; splits, joins, replaces and formats them."""

    def init(self) -> None:
        self.lines = [" ".join(WORDS[n % 990 : n % 990 + 8]) for n in range(2_000)]

    @ak.call
    def work(self, times: int) -> None:
        for _ in range(times):
            lines = [" ".join(reversed(line.split())) for line in self.lines]
            lines = [f"{line.replace('word', 'w')}:{len(line)}" for line in lines]
            counts: dict[str, int] = {}
            for line in lines:
                for word in line.partition(":")[0].split():
                    counts[word] = counts.get(word, 0) + 1
            self.lines[:200] = [" ".join(WORDS[n % 990 : n % 990 + 8]) for n in range(200)]


class LargeTexts(ak.Actor):
    """Makes 5,000 texts of 0.5 to 4 kB for each message, and keeps 50."""

    def init(self) -> None:
        self.kept: list[str] = []

    @ak.call
    def work(self, times: int) -> None:
        for _ in range(times):
            made = [f"{n:>{500 + n * 61 % 3_500}}" for n in range(500)]
            for n in range(9):
                made = [f"{text[: 500 + n * 300]}{n:>500}" for text in made]
            self.kept = made[:50]


class Bytearrays(ak.Actor):
    """The same with bytearrays, each of which grows once."""

    def init(self) -> None:
        self.kept: list[bytearray] = []

    @ak.call
    def work(self, times: int) -> None:
        for _ in range(times):
            for _ in range(10):
                made = [bytearray(500 + n * 61 % 3_000) for n in range(500)]
                for buffer in made:
                    buffer += b"more than there was room for" * 10
            self.kept = made[:50]


WORKER_CLASSES: dict[str, Any] = {
    "objects": Objects,
    "texts": Texts,
    "large_texts": LargeTexts,
    "bytearrays": Bytearrays,
}


class Player(ak.Actor):
    """One of a hundred that send each other small messages; each remembers the last 300."""

    others: "list[ak.Ref[Player]]"
    finished: trio.Event

    @ak.call
    def meet(self, others: "list[ak.Ref[Player]]") -> None:
        self.others = others
        self.past = [{"left": n + 1000, "text": f"message {n}"} for n in range(KEPT)]

    @ak.cast
    def play(self, left: int, what: dict[str, Any], finished: trio.Event) -> None:
        self.past[left % KEPT] = what
        if left:
            self.others[left % PLAYERS].cast(Player.play, left - 1, {"left": left, "text": f"message {left}"}, finished)
        else:
            finished.set()


async def main() -> None:
    limit = None if MODE == "none" else "256 MiB"
    async with ak.open_node(max_heap_size=limit, own_heaps=MODE == "own") as node:
        before = rss()
        players: list[ak.Ref[Player]] = []
        workers: list[ak.Ref[Any]] = []
        if PROGRAM == "messages":
            players = [node.spawn(Player) for _ in range(PLAYERS)]
            for player in players:
                await player.call(Player.meet, players)
        else:
            assert worker_class is not None
            workers = [node.spawn(worker_class) for _ in range(WORKERS)]
            for worker in workers:
                await worker.call(worker_class.work, 1)

        async def work(times: int) -> None:
            if workers:
                for number in range(times):
                    await workers[number % WORKERS].call(worker_class.work, 1)
                return
            finished = trio.Event()
            players[0].cast(Player.play, times, {"left": 0, "text": "begin"}, finished)
            await finished.wait()

        await work(10)
        for (question,) in questions():
            count = int(question)
            if not count:
                gc.collect()
                await trio.sleep(3)
                say(held=rss() - before)
                continue
            gc.collect()
            began = perf_counter()
            await work(count)
            say(value=(perf_counter() - began) / count * 1e6)


if __name__ == "__main__":
    worker_class = WORKER_CLASSES.get(PROGRAM)
    say(gc=gc_settings(), own_heaps=own_heaps.why_not() is None)
    trio.run(main)
