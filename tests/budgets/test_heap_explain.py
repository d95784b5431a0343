"""``node.heap_explain``: what the heap of one actor consists of."""

from __future__ import annotations

from typing import Any

import trio

import actorkit as ak
from tests.budgets.conftest import KIB


class Rooms(ak.Actor):
    def __init__(self) -> None:
        self.rooms = {"lobby": [bytearray(1000) for _ in range(300)], "hall": [bytes(10)]}
        self.started = trio.Event()

    @ak.cast
    async def wait(self) -> None:
        held = bytearray(500 * KIB)
        self.started.set()
        await trio.sleep_forever()
        assert held

    @ak.call
    def explain_itself(self) -> Any:
        return self.ctx.node.heap_explain(self.ctx.ref)


async def reading(ctx: ak.ProcessContext) -> None:
    lines = [bytearray(1000) for _ in range(200)]
    await ctx.receive(int)
    assert lines


async def test_an_actor() -> None:
    """The explanation gives types, and paths named as in the actor's code; its figures are those of
    process_info.
    """
    async with ak.open_node() as node:
        ref = node.spawn(Rooms)
        assert node.heap_explain(ref) is not None  # makes the instance's dict, which counts from now on
        explained, info = node.heap_explain(ref), node.process_info(ref, walk=True)
        assert explained is not None
        assert info is not None
        assert info.memory is not None
        assert (explained.usage.charged, explained.usage.objects) == (info.memory.charged, info.memory.objects)
        assert explained.complete
        assert explained.types[0][:2] == ("bytearray", 300)
        assert explained.paths[0][0] == ".rooms['lobby']"
        assert (await ref.call(Rooms.explain_itself)).paths[0][0] == ".rooms['lobby']"


async def test_its_handler_and_its_mailbox() -> None:
    """The explanation covers what a suspended handler holds and what waits in the mailbox."""
    async with ak.open_node() as node:
        ref = node.spawn(Rooms)
        ref.cast(Rooms.wait)
        await trio.testing.wait_all_tasks_blocked()
        ref.send(bytearray(700 * KIB))
        explained = node.heap_explain(ref)
        assert explained is not None
        paths = [path for path, _ in explained.paths]
        assert paths[0].startswith("mailbox")
        assert paths[1].startswith("<in Rooms.wait>")
        assert paths[2] == ".rooms['lobby']"


async def test_a_process() -> None:
    async with ak.open_node() as node:
        ref = node.spawn(reading)
        await trio.testing.wait_all_tasks_blocked()
        explained = node.heap_explain(ref)
        assert explained is not None
        assert explained.types[0][:2] == ("bytearray", 200)
        assert "reading" in explained.paths[0][0]


async def test_the_dead_and_names() -> None:
    """As in process_info, the answer for a dead actor or an unheld name is None."""
    async with ak.open_node() as node:
        ref = node.spawn(ak.child(Rooms).with_(name="rooms"))
        named = node.heap_explain(ak.named(Rooms, "rooms"))
        assert named is not None
        assert named.paths[0][0] == ".rooms['lobby']"
        ref.kill()
        assert node.heap_explain(ref) is None
        assert node.heap_explain(ak.named(Rooms, "rooms")) is None


async def test_as_text() -> None:
    """The text is a table of a few short lines, however much there is."""

    class Many(ak.Actor):
        def __init__(self) -> None:
            self.held = {f"{n:>100}": type(f"T{n:>100}", (), {"__slots__": ("x",)})() for n in range(300)}

    async with ak.open_node() as node:
        lines = str(node.heap_explain(node.spawn(Rooms))).splitlines()
        assert lines[0].endswith("0 B in the mailbox")
        assert lines[1].split() == ["bytes", "count", "type"]
        assert lines[2].split()[1:] == ["300", "bytearray"]
        assert any(line.endswith("  .rooms['lobby']") for line in lines)
        many = str(node.heap_explain(node.spawn(Many))).splitlines()
        assert len(many) <= 20
        assert max(map(len, many)) < 300
