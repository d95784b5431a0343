"""No schedule of allocations, receipts and replies lets an actor pass a boundary above its budget
unnoticed. What an actor inherits is noticed at the next forced look. No actor that keeps its budget
is killed.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import actorkit as ak
from actorkit.heap import clock

from .holders import KINDS, VERBS, World

in_c = pytest.mark.skipif(not clock.COUNTS_ALLOCATIONS, reason="the portable clock counts messages only")

steps = st.tuples(
    st.sampled_from(VERBS), st.integers(0, 3), st.integers(0, 3), st.sampled_from(KINDS), st.integers(1, 90)
)


async def schedule(steps: list[Any], seen: Counter[str]) -> None:
    mock_clock: Any = trio.lowlevel.current_clock()
    async with ak.open_node() as node:
        world = World(node, mock_clock)
        with node.subscribe(ak.ActorExited, capacity=1000) as stream:
            for step in (*steps, ("open", 0, 0, "", 0), ("second", 0, 0, "", 0)):
                await world.step(*step)
                for event in stream.drain():
                    if isinstance(event, ak.ActorExited) and event.ref in world.most:
                        world.ended(event.ref, event.reason)
                assert not world.wrong, (step, world.wrong)
        seen["boundaries"] += world.boundaries
        seen["killed"] += len(world.ends)
        seen["alive"] += sum(ref.alive for ref in world.refs)


@in_c
def test_no_schedule_gets_past_it() -> None:
    seen: Counter[str] = Counter()

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(steps, min_size=10, max_size=30))
    def run(steps: list[Any]) -> None:
        trio.run(schedule, steps, seen, clock=trio.testing.MockClock())

    run()
    assert seen["boundaries"] > 500
    assert seen["killed"] > 20
    assert seen["alive"] > 20
