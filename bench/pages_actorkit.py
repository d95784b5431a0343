"""One node of `python -m bench pages`: `own` or `shared`, its actors' mean size, the order of
killing, their number.

It answers `fill`, then `kill SHARE`, with the resident set and the live part of it: what was
resident before there were actors, an idle actor's own memory, and what the living hold according to
a walk.
"""

import gc
import random
import sys
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import trio
import trio.testing

import actorkit as ak
from actorkit.governor.reclaim import trim_allocator
from actorkit.heap import own_heaps
from bench.worker import questions, rss, say

MODE, SIZE, ORDER, COUNT = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
STEP = 10
"""Items added by one message."""


class Holder(ak.Actor):
    def init(self) -> None:
        self.items: list[dict[str, Any]] = []

    @ak.cast
    def grow(self, number: int) -> None:
        for n in range(len(self.items), len(self.items) + number):
            self.items.append({"number": n + 1000, "text": f"item {n}", "pair": (n, float(n)), "tags": [str(n)]})

    @ak.call
    def done(self) -> None:
        pass


@dataclass
class Holding:
    ref: ak.Ref[Holder]
    items: int


async def settled(node: ak.Node) -> None:
    gc.collect()
    await trio.testing.wait_all_tasks_blocked(0.005)


def trimmed() -> float:
    """Trim until hardly anything more is returned, as the governor does over time. Returns the
    longest pause in seconds.
    """
    longest = 0.0
    while True:
        before, began = own_heaps.statistics().given_back, perf_counter()
        went, _ = trim_allocator(rss)
        longest = max(longest, perf_counter() - began)
        if (went or 0) < 1_000_000 and own_heaps.statistics().given_back == before:
            return longest


async def main() -> None:
    rng = random.Random(SIZE)
    async with ak.open_node(max_heap_size="1 GiB", own_heaps=MODE == "own") as node:
        probe = node.spawn(Holder)
        probe.cast(Holder.grow, 200)
        await probe.call(Holder.done)
        census = await node.heap_census()
        per_item = census.bytes / 200
        probe.kill()
        await settled(node)
        base = rss()
        alive: list[Holding] = []
        while len(alive) < COUNT:
            started = [Holding(node.spawn(Holder), 0) for _ in range(min(500, COUNT - len(alive)))]
            for holding in started:
                await holding.ref.call(Holder.done)
            alive += started
        empty = (rss() - base) / COUNT

        async def figures(**more: object) -> None:
            held = (await node.heap_census()).bytes
            say(rss=rss(), live=base + held + int(empty * len(alive)), **more)

        for question, *words in questions():
            if question == "fill":
                items = SIZE / per_item
                wanted = {id(h): max(1, int(items * rng.uniform(0.3, 1.7))) for h in alive}
                growing = list(alive)
                while growing:
                    rng.shuffle(growing)
                    for holding in growing:
                        more = min(STEP, wanted[id(holding)] - holding.items)
                        holding.items += more
                        holding.ref.cast(Holder.grow, more)
                    await trio.lowlevel.checkpoint()
                    await growing[-1].ref.call(Holder.done)
                    growing = [h for h in growing if h.items < wanted[id(h)]]
                for holding in alive:
                    await holding.ref.call(Holder.done)
                await settled(node)
                await figures()
            else:
                if ORDER == "random":
                    rng.shuffle(alive)
                elif ORDER == "largest":
                    alive.sort(key=lambda holding: -holding.items)
                killed = int(COUNT * float(words[0])) - (COUNT - len(alive))
                began = perf_counter()
                for holding in alive[:killed]:
                    holding.ref.kill()
                del alive[:killed]
                await settled(node)
                seconds, untrimmed = perf_counter() - began, rss()
                pause = trimmed()
                await figures(untrimmed=untrimmed, seconds=seconds, pause=pause)


if __name__ == "__main__":
    say(mode=MODE, own_heaps=own_heaps.why_not() is None)
    trio.run(main)
