"""Ten thousand children that the node has killed stand at the gate together: which ones come back
when, and what is left of the others.
"""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from typing import Any

import trio
import trio.testing

import actorkit as ak
from actorkit.governor.restart_gate import MemoryGate
from actorkit.policy.memory.governor_settings import LEVEL_ACTIONS
from actorkit.policy.memory.restart_queue import GateSettings
from actorkit.runtime.actor.record import Record
from actorkit.testing import ScriptedMemory

from .conftest import MIB, level_is

L, P = ak.MemoryLevel, ak.Priority
COUNT = 10_000
PRESSURE = ak.MemoryPressure(L.KILL, because="a test")
GATE = GateSettings(stagger=0.02, burst=20)
KEEPS_ALL = ak.GovernorSettings(
    actions={
        level: actions - {"gc", "trim", "kill", "stop_all", "stop_node"} for level, actions in LEVEL_ACTIONS.items()
    }
)
"""No child is killed except by the test."""

MANY = ak.named(ak.DynamicSupervisor, "many")


class Child(ak.Actor):
    born: list[tuple[float, int]] = []

    def __init__(self, number: int) -> None:
        self.number = number
        self.born.append((trio.current_time(), number))


def priority(number: int) -> ak.Priority:
    return (P.NORMAL, P.LOW, P.HIGH)[number % 3]


class AtTheGate:
    """A node with so many children, all killed for its sake while memory is short."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.memory = ScriptedMemory(limit=1000 * MIB, used=100 * MIB, live=100 * MIB)
        Child.born = []

    def open(self, gate: GateSettings = GATE) -> Any:
        tree = ak.dynamic_supervisor(max_restarts=3, max_seconds=5).with_(name="many")
        return ak.open_node(tree, memory_source=self.memory, governor=KEEPS_ALL, gate=gate)

    def use(self, part: float) -> None:
        self.memory.used = self.memory.live = int(part * 1000) * MIB
        self.memory.wake()

    async def fill(self, node: ak.Node) -> tuple[list[ak.Ref[Any]], MemoryGate]:
        refs = []
        for number in range(self.count):
            spec = ak.child(Child, number).with_(priority=priority(number))
            refs.append(await MANY.call(ak.DynamicSupervisor.start_child, spec))
        self.use(0.92)
        await level_is(node, L.KILL)
        for ref in refs:
            assert isinstance(ref, Record)
            node.engine.end_now(ref, PRESSURE)
        gate: Any = node.restart_gate
        while len(gate) < self.count:
            await trio.sleep(0.01)
        Child.born = []
        return refs, gate


def left_behind(gate: Any) -> dict[str, int]:
    """What is left at the gate: tickets, timers, and what its machine still holds."""
    policy = gate._policy
    return {
        "going": len(gate._going),
        "released": len(gate._released),
        "waiting": len(policy),
        "resting": sum(not entry[2].gone for entry in policy._resting),
        "ready": sum(not entry[2].gone for heap in policy._ready.values() for entry in heap),
    }


async def test_they_come_back_in_order_a_few_at_a_time_until_terminated_or_shut_down(
    autojump_clock: trio.testing.MockClock,
) -> None:
    tasks = trio.lowlevel.current_statistics().tasks_living
    at = AtTheGate(COUNT)
    async with at.open() as node:
        refs, gate = await at.fill(node)
        timers = len(node.engine.timers)
        await trio.sleep(100)
        assert Child.born == []
        assert len(gate) == COUNT
        counts = await MANY.call(ak.DynamicSupervisor.count_children)
        assert (counts.specs, counts.active) == (COUNT, 0)
        assert len(node.engine.timers) <= timers, "one timer for the whole gate, not one for each"

        gone = set(range(0, COUNT, 50))
        for number in gone:
            await MANY.call(ak.DynamicSupervisor.terminate_child, refs[number])
        assert len(gate) == COUNT - len(gone)

        opened = trio.current_time()
        at.use(0.10)
        while len(gate) > COUNT // 5:
            await trio.sleep(0.05)
        took = trio.current_time() - opened
        began = trio.current_time()
    assert trio.current_time() - began < 5

    numbers = [number for _, number in Child.born]
    # The more important children come first, then those that have waited longest; terminated ones
    # do not come back.
    order = sorted(set(range(COUNT)) - gone, key=lambda number: (-priority(number), number))
    assert numbers == order[: len(numbers)]
    assert COUNT * 3 // 4 < len(numbers) < COUNT - len(gone)
    instants = Counter(seen for seen, _ in Child.born)
    assert max(instants.values()) <= GATE.burst
    apart = sorted(instants)
    assert all(later - sooner >= GATE.stagger - 1e-9 for sooner, later in zip(apart, apart[1:], strict=False))
    assert took <= 5 + 1.2 * GATE.stagger * len(numbers) / GATE.burst

    await trio.sleep(100)
    assert len(Child.born) == len(numbers), "nobody is started after the end"
    assert set(left_behind(gate).values()) == {0}
    assert len(node.engine.timers) == 0
    assert not node.engine.actors
    assert trio.lowlevel.current_statistics().tasks_living == tasks
    watched = [weakref.ref(ref) for ref in refs]
    del refs, node
    gc.collect()
    assert not [one for one in gc.get_objects() if type(one) is Child], "an actor's object is left"
    assert not any(one() for one in watched), "a record is left"


async def test_while_memory_is_short_only_as_many_come_back_as_fit(autojump_clock: trio.testing.MockClock) -> None:
    at = AtTheGate(1_000)
    async with at.open(GateSettings(reserve=0.20)) as node:
        _, gate = await at.fill(node)
        await trio.sleep(100)
        footprint = node.footprint_of("Child")
        assert footprint is not None
        each = footprint.predict()
        base = int(0.80 * 1000 * MIB) - 300 * each
        at.memory.used = at.memory.live = lambda: base + each * len(Child.born)
        await trio.sleep(60)
        assert 290 <= len(Child.born) <= 300
        assert len(gate) == 1_000 - len(Child.born)
        assert node.memory is not None
        assert node.memory.level == L.SHED
