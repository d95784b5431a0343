"""The governor does not wait for its turn: it looks and acts between the steps of one pass of
trio's loop.
"""

from __future__ import annotations

from typing import Any

import trio
import trio.testing

import actorkit as ak

from .conftest import MIB, Holder, Memory

TASKS = 200


async def test_it_kills_within_one_pass_of_the_loop(memory: Memory, mock_clock: trio.testing.MockClock) -> None:
    """Two hundred tasks run in the same pass, and each takes one of the 90 MiB that are left.
    Fault: a governor that is a task like the others looks only when all have had what they wanted.
    """
    tree = ak.dynamic_supervisor().with_(name="many")
    async with ak.open_node(tree, memory_source=memory.source) as node:
        memory.node = node
        many = ak.named(ak.DynamicSupervisor, "many")
        spec = ak.child(Holder).with_(restart="temporary")
        refs: list[Any] = [await many.call(ak.DynamicSupervisor.start_child, spec) for _ in range(TASKS)]
        began = trio.Event()
        alive_at: list[int] = []

        async def one(ref: Any) -> None:
            await began.wait()
            if ref.alive:
                ref.obj.held.append(bytes(MIB))
            mock_clock.jump(0.01)  # the time that a step takes
            memory.used()
            alive_at.append(sum(r.alive for r in refs))

        async with trio.open_nursery() as nursery:
            for ref in refs:
                nursery.start_soon(one, ref)
            await trio.testing.wait_all_tasks_blocked()
            began.set()
        assert alive_at[0] == TASKS
        assert alive_at[-1] < TASKS, "somebody was killed before the pass was over"
        assert memory.highest < 100 * MIB


async def test_a_look_that_fails_is_tried_again(memory: Memory, autojump_clock: trio.testing.MockClock) -> None:
    """A look that fails raises nothing, since trio drops an instrument that raises."""
    async with ak.open_node(memory_source=memory.source) as node:
        memory.node = node
        memory.source.used = lambda: 1 // 0
        await trio.sleep(5)
        memory.base, memory.source.used = 75 * MIB, memory.used
        await trio.sleep(5)
        assert node.memory is not None
        assert node.memory.level == ak.MemoryLevel.CONSERVE
