"""The step fence: a request beyond what is left fails in the step that made it, and nowhere
else."""

from __future__ import annotations

import pytest
import trio

import actorkit as ak
from actorkit.governor.steps import can_fence

from .conftest import MIB, Memory

resource = pytest.importorskip("resource")

pytestmark = pytest.mark.skipif(not can_fence(), reason="RLIMIT_DATA is not known here, or what it limits is not told")


class Greedy(ak.Actor):
    @ak.call
    def take(self, size: int) -> int:
        return len(bytes(size))

    @ak.call
    async def hoard(self, size: int) -> int:
        await trio.lowlevel.checkpoint()
        rows = []
        while len(rows) < size // 1000:
            rows.append(bytes(1000))
        return len(rows)


@pytest.mark.parametrize("how", [Greedy.take, Greedy.hoard])
async def test_the_greedy_one_fails_alone(memory: Memory, how: object) -> None:
    """The actor that asks for too much fails alone, in one piece or in small ones. Fault: without
    the fence it is served either way.
    """
    import resource

    before = resource.getrlimit(resource.RLIMIT_DATA)
    fenced = ak.GovernorSettings(step_fence=True)
    async with ak.open_node(memory_source=memory.source, governor=fenced) as node:
        greedy, other = node.spawn(Greedy), node.spawn(Greedy)
        await trio.lowlevel.checkpoint()
        assert resource.getrlimit(resource.RLIMIT_DATA) != before, "within a step it is in force"
        with pytest.raises(ak.CalleeDied) as died:
            await greedy.call(how, 400 * MIB)  # type: ignore[arg-type]
        assert isinstance(died.value.reason, ak.Crash)
        assert died.value.reason.type == "MemoryError"
        assert await other.call(Greedy.take, MIB) == MIB
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


async def test_nothing_is_fenced_unasked(memory: Memory) -> None:
    async with ak.open_node(memory_source=memory.source) as node:
        assert await node.spawn(Greedy).call(Greedy.take, 200 * MIB) == 200 * MIB
