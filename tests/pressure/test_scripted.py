"""ScriptedMemory reports what it is set to, and is a MemorySource like the real one."""

from __future__ import annotations

import pytest
import trio

from actorkit.policy.memory.memory_sample import MemorySample
from actorkit.pressure.sources import MemorySource, NodeMemory
from actorkit.testing import ScriptedMemory


async def test_set_at_any_time(autojump_clock: trio.testing.MockClock) -> None:
    memory = ScriptedMemory(limit=100, used=40)
    source: MemorySource = memory
    assert source.sample(1.0) == MemorySample(now=1.0, limit=100, used=40, source="scripted", resident=40)
    memory.used, memory.live, memory.stalled = 90, 50, 1.5
    told = source.sample(2.0)
    assert (told.used, told.retained, told.needed, told.stalled) == (90, 40, 50, 1.5)
    assert memory.samples[1] is told
    source.close()
    assert memory.closed


async def test_steps(autojump_clock: trio.testing.MockClock) -> None:
    """Each sample takes one step, and the last step stays. A whole sample is reported as it is,
    except for its time.
    """
    whole = MemorySample(now=0.0, limit=50, used=30, source="RLIMIT_AS", resident=10, live=5, owned=False)
    memory = ScriptedMemory(limit=100, steps=[10, 20, whole])
    assert [memory.sample(float(n)).used for n in range(4)] == [10, 20, 30, 30]
    assert memory.sample(9.0) == MemorySample(
        now=9.0, limit=50, used=30, source="RLIMIT_AS", resident=10, live=5, owned=False
    )


async def test_wakes(autojump_clock: trio.testing.MockClock) -> None:
    """A wake may come before the wait, during it, or never."""
    memory = ScriptedMemory()
    memory.wake("before")
    began = trio.current_time()
    assert await memory.wait_for_wake(1.0) == "before"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(memory.wait_for_wake, 5.0)
        await trio.testing.wait_all_tasks_blocked()
        memory.wake()
    assert trio.current_time() == began
    assert await memory.wait_for_wake(5.0) is None
    assert trio.current_time() == began + 5


@pytest.mark.parametrize("method", ["sample", "wait_for_wake", "close"])
def test_it_is_documented_as_the_real_one_is(method: str) -> None:
    for kind in (ScriptedMemory, NodeMemory):
        assert getattr(kind, method).__doc__
