"""One side of `python -m bench heap`: looks at actors that hold cycles, beside a large world.

    look SHAPE BYTES    seconds of a look with both passes, at its best, and the objects found
    first SHAPE BYTES   the same of the first pass alone, where there are no cycles
    ordinary PROGRAM    how often each pass ran in an ordinary program, and what it allocated

The world is 250,000 objects that everybody shares; each actor refers to it. The actor has built
what it holds in its own handler, so that it lies on its own pages. A look cannot be cut into
pieces, so the best of several is taken: a stall of the machine hits one, seldom all.
"""

import gc
import inspect
import logging
import time
from collections.abc import Callable
from typing import Any

import trio

import actorkit as ak
from actorkit.heap import walk
from actorkit.heap.usage import HeapUsage
from actorkit.runtime.budgets.holdings import roots_of
from bench.ordinary import CYCLIC, PLAIN, Program, Runner
from bench.worker import questions, say

OWN_PASS = "account" in inspect.signature(walk.measure).parameters
WORLD = 250_000
SAMPLE = 2_000
REPEATS = 15
ROUNDS = 4
PROGRAMS = {program.__name__: program for program in (*PLAIN, *CYCLIC)}


class Node:
    """A node of a tree that knows its parent."""

    def __init__(self, parent: "Node | None", number: int) -> None:
        self.parent = parent
        self.number = number + 1000
        self.children: list[Node] = []
        if parent is not None:
            parent.children.append(self)


class Link:
    """An element of a list that is linked both ways."""

    __slots__ = ("before", "following", "value")

    def __init__(self, before: "Link | None", value: float) -> None:
        self.before = before
        self.following: Link | None = None
        self.value = value
        if before is not None:
            before.following = self


def tree(count: int) -> object:
    """Each node has eight children."""
    nodes = [Node(None, 0)]
    for number in range(1, count):
        nodes.append(Node(nodes[(number - 1) // 8], number))
    return nodes[0]


def linked_dicts(count: int) -> object:
    first: dict[str, Any] = {"before": None, "following": None, "value": 0.5}
    last = first
    for number in range(count):
        following = {"before": last, "following": None, "value": number + 0.5}
        last["following"] = following
        last = following
    return first


def linked_slots(count: int) -> object:
    first = last = Link(None, 0.5)
    for number in range(count):
        last = Link(last, number + 0.5)
    return first


def rows(count: int) -> object:
    """Without cycles."""
    return [{"number": number + 0.5, "text": f"text {number}", "pair": (number + 0.25, 1.5)} for number in range(count)]


SHAPES: dict[str, Callable[[int], object]] = {
    "tree": tree,
    "linked_dicts": linked_dicts,
    "linked_slots": linked_slots,
    "rows": rows,
}


class Holder(ak.Actor):
    """Holds what it has built, and refers to the world."""

    def __init__(self, world: list[Any]) -> None:
        self.world = world
        self.held: object = None

    @ak.call
    def build(self, shape: str, count: int) -> None:
        self.held = None
        self.held = SHAPES[shape](count)


async def holding(node: ak.Node, world: list[Any], shape: str, size: int) -> Any:
    """The record of an actor that holds so many bytes of a shape."""
    ref = node.spawn(Holder, world)
    await ref.call(Holder.build, shape, SAMPLE)
    record = record_of(node, ref)
    usage = walk.measure(roots_of(record), cycles=True, edge_cap=10**9)
    each = (usage.private + usage.after_gc) / SAMPLE
    await ref.call(Holder.build, shape, round(size / each))
    gc.collect()
    return record


def record_of(node: ak.Node, ref: ak.Ref[Any]) -> Any:
    (record,) = (record for record in node.engine.budgets.all if record.pid == ref.pid)
    return record


def objects_in(root: object) -> int:
    """How many objects hang together with this one."""
    seen, level, objects = {id(root)}, [root], 0
    while level:
        objects += len(level)
        following = []
        for referent in gc.get_referents(*level):
            if id(referent) not in seen and not isinstance(referent, type):
                seen.add(id(referent))
                following.append(referent)
        level = following
    return objects


def best(look: Callable[[], HeapUsage], objects: int) -> dict[str, object]:
    """The best time of several, and what was found."""
    usage, seconds = look(), float("inf")
    for _ in range(REPEATS):
        start = time.thread_time()
        look()
        seconds = min(seconds, time.thread_time() - start)
    found = usage.private + usage.after_gc
    return {"value": seconds, "objects": objects, "bytes": found, "exact": usage.exact}


async def looked(shape: str, size: int, both: bool) -> dict[str, object]:
    world = [[number + 1000] for number in range(WORLD // 2)]
    async with ak.open_node(max_heap_size="1 TiB") as node:
        record = await holding(node, world, shape, size)
        roots = roots_of(record)
        options = {"account": record.account} if both and OWN_PASS else {}
        return best(lambda: walk.measure(roots, **options), objects_in(record.obj.held))  # type: ignore[arg-type]


async def ordinary(program: type[Program]) -> dict[str, object]:
    """Run it for a while, with real time, through an ordinary cast."""
    async with ak.open_node() as node:
        ref = node.spawn(ak.child(Runner, program).with_(max_heap_size=program.LIMIT))
        await ref.call(Runner.done)
        account = record_of(node, ref).account
        before = walk.passes_made()
        killed = 0
        began = time.thread_time()
        try:
            for number in range(program.STEPS * ROUNDS):
                ref.cast(Runner.in_a_message, number)
                await ref.call(Runner.done)
        except ak.CalleeDied:
            killed = 1
        first, own = walk.passes_made()
        seconds = time.thread_time() - began
        figures = {"allocated": account.total, "limit": program.LIMIT, "seconds": seconds, "killed": killed}
        return figures | {"first": first - before[0], "own": own - before[1]}


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    say(own_pass=OWN_PASS)
    for kind, *words in questions():
        if kind == "ordinary":
            say(**trio.run(ordinary, PROGRAMS[words[0]]))
        else:
            gc.disable()
            say(**trio.run(looked, words[0], int(words[1]), kind == "look"))
            gc.enable()
