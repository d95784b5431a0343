"""The child of ``extensions``: rounds of abuse, one a seed, each on a node of its own.

Actors with all kinds of limits do deeds (``extension_deeds``), and keep, drop, wrap into cycles,
send, or hand to a thread what they made; they fail, hoard, get killed, and are looked at in every
way. A plain thread makes and drops objects beside them. After each round the node has ended, and
what its accounts had allocated must be free: the ledgers and the heaps are at zero, but for what
the packages keep for themselves.
"""

from __future__ import annotations

import gc
import logging
import queue
import random
import sys
import threading
import warnings
from collections import Counter
from typing import Any

import trio

import actorkit as ak
from actorkit.heap import own_heaps

from .extension_deeds import DEEDS, Deed

STEPS = 60
LIMITS = ("64 KiB", "256 KiB", "1 MiB", "4 MiB", "16 MiB", None)
KEPT_BY_PACKAGES = 2 * 2**20
"""Bytes that may stay with a package's own caches after a round."""
CALL_SECONDS = 60

NAMES = sorted(DEEDS)


class Ring:
    """An object in a cycle, with a finaliser."""

    def __init__(self, what: Any) -> None:
        self.what = what
        self.ring = self

    def __del__(self) -> None:
        self.what = None


class Abused(ak.Actor):
    """Does what it is told with what a deed makes."""

    def __init__(self, others: list[ak.Ref[Abused]], hand_over: Any) -> None:
        self.others = others
        self.hand_over = hand_over
        self.kept: list[Any] = []

    def use(self, made: Any, how: str, source: random.Random) -> None:
        if how == "keep":
            self.kept.append(made)
        elif how == "cycle":
            self.kept.append(Ring([made, self]))
        elif how == "cyclic garbage":
            Ring([made, self])
        elif how == "send" and self.others:
            source.choice(self.others).cast(Abused.take, made)
        elif how == "hand over":
            self.hand_over(made)
        elif how == "fail":
            raise RuntimeError("with what was made in a local", len(self.kept))
        elif how == "generator":
            going = (each for each in [made, Ring(made), made])
            next(going)
            self.kept.append(going)
        elif how == "forget":
            del self.kept[: len(self.kept) // 2 + 1]

    @ak.cast
    def do(self, name: str, how: str, seed: int) -> None:
        source = random.Random(seed)
        self.use(DEEDS[name](source), how, source)

    @ak.call
    def do_inline(self, name: str, how: str, seed: int) -> int:
        source = random.Random(seed)
        self.use(list(map(DEEDS[name], [source])), how, source)
        return len(self.kept)

    @ak.cast
    async def do_in_thread(self, name: str, how: str, seed: int) -> None:
        source = random.Random(seed)
        self.use(await ak.to_thread(DEEDS[name], source), how, source)

    @ak.cast
    async def do_in_tasks(self, name: str, how: str, seed: int) -> None:
        source = random.Random(seed)

        async def task() -> None:
            made = DEEDS[name](source)
            await trio.lowlevel.checkpoint()
            self.use(made, how, source)

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(task)

    @ak.cast
    def hoard(self, name: str, seed: int) -> None:
        source = random.Random(seed)
        for _ in range(40):
            self.kept.append(Ring(DEEDS[name](source)))

    @ak.cast
    def take(self, made: Any) -> None:
        self.kept.append(made)


HOWS = (
    "keep",
    "keep",
    "cycle",
    "cycle",
    "cyclic garbage",
    "send",
    "send",
    "hand over",
    "fail",
    "generator",
    "forget",
    "drop",
)
DOORS = (Abused.do, Abused.do, Abused.do_in_thread, Abused.do_in_tasks)


class Beside:
    """A plain thread that makes and drops objects, and drops what actors have made."""

    def __init__(self, seed: int) -> None:
        self.queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._source = random.Random(seed)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        pure: list[Deed] = [DEEDS[name] for name in NAMES if name.startswith("stdlib")]
        held: list[Any] = []
        while True:
            got = self.queue.get()
            if got is None:
                return
            held.append(got)
            self._source.choice(pure)(self._source)
            if len(held) > 10:
                del held[:7]

    def end(self) -> None:
        self.queue.put(None)
        self._thread.join()


class Round:
    """One round."""

    def __init__(self, seed: int) -> None:
        self.source = random.Random(seed)
        self.accounts: list[Any] = []
        self.counts: Counter[str] = Counter()

    async def run(self, beside: Beside) -> None:
        source = self.source
        node_limit = source.choice((None, "2 MiB", "16 MiB"))
        async with ak.open_node(max_heap_size=node_limit, own_heaps=source.random() < 0.85) as node:
            refs: list[ak.Ref[Abused]] = []
            for _ in range(source.randrange(2, 10)):
                self.spawn(node, refs, beside)
            for _ in range(STEPS):
                await self.step(node, refs, beside)
            for ref in refs:
                if source.random() < 0.3:
                    ref.kill()

    def spawn(self, node: ak.Node, refs: list[ak.Ref[Abused]], beside: Beside) -> None:
        limit = self.source.choice(LIMITS)
        size = None if limit is None else ak.HeapLimit(limit, kill=self.source.random() < 0.8)
        ref = node.spawn(ak.child(Abused, refs, beside.queue.put).with_(max_heap_size=size))
        refs.append(ref)
        self.accounts += [record.account for record in [*node.engine.budgets.all] if record.pid == ref.pid]

    async def step(self, node: ak.Node, refs: list[ak.Ref[Abused]], beside: Beside) -> None:
        source = self.source
        for at in reversed(range(len(refs))):
            if node.process_info(refs[at]) is None:
                del refs[at]
        while len(refs) < 2:
            self.spawn(node, refs, beside)
        ref = source.choice(refs)
        name, how, seed = source.choice(NAMES), source.choice(HOWS), source.randrange(10**9)
        chance = source.random()
        self.counts["steps"] += 1
        if chance < 0.55:
            ref.cast(source.choice(DOORS), name, how, seed)
        elif chance < 0.7:
            try:
                with trio.fail_after(CALL_SECONDS):
                    await ref.call(Abused.do_inline, name, how, seed)
            except (ak.CalleeDied, ak.CallTimeout, ak.MailboxFull):
                self.counts["failed calls"] += 1
        elif chance < 0.75:
            ref.cast(Abused.hoard, name, seed)
        elif chance < 0.8:
            ref.kill()
        elif chance < 0.85:
            await self.look(node, ref)
        elif chance < 0.87:
            gc.collect(source.randrange(3))
        elif chance < 0.89:
            own_heaps.purge()
        elif chance < 0.92:
            self.spawn(node, refs, beside)
        else:
            await trio.sleep(source.random() / 200)
        if source.random() < 0.5:
            await trio.lowlevel.checkpoint()

    async def look(self, node: ak.Node, ref: ak.Ref[Abused]) -> None:
        chance = self.source.random()
        if chance < 0.3:
            node.process_info(ref)
        elif chance < 0.6:
            node.heap_explain(ref)
        elif chance < 0.8:
            await node.heap_census()
        else:
            await node.engine.budgets.look_at_all()

    def left(self) -> int:
        """Bytes that the accounts of this round still have, in their heaps and ledgers."""
        held = 0
        for account in self.accounts:
            for figure in ("own_live", "large_live"):
                value = getattr(account, figure, 0) or 0
                assert 0 <= value < 2**40, f"{figure} is {value}"
                held += value
        return held


def one_round(seed: int) -> None:
    """Do it, and tell how it went."""
    this = Round(seed)
    sys.setswitchinterval(this.source.choice((0.005, 0.0001, 0.00001)))
    if this.source.random() < 0.15:
        gc.disable()
    beside = Beside(seed)
    try:
        trio.run(this.run, beside)
    finally:
        beside.end()
        gc.enable()
        sys.setswitchinterval(0.005)
    del beside
    for _ in range(3):
        gc.collect()
    left = this.left()
    print(
        seed,
        "ok" if left <= KEPT_BY_PACKAGES else "wrong",
        f"{left} B left of {len(this.accounts)} accounts, {dict(this.counts)}",
        flush=True,
    )


def main(first: int, rounds: int) -> None:
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    for name in NAMES:  # what packages set up at their first use
        for seed in range(3):
            DEEDS[name](random.Random(seed))
    for seed in range(first, first + rounds):
        one_round(seed)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
