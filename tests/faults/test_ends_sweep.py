"""The sweep of ends, quickly: two scenarios, a few steps of each. The whole sweep: ``python -m
tests.prove "sweep of ends"``.
"""

from __future__ import annotations

import pytest

from .ends_scenarios import SCENARIOS
from .ends_sweep import KINDS, sweep
from .ends_world import Plan, World, judge


@pytest.mark.parametrize(("scenario", "degraded"), [("exits", False), ("shutdowns", False), ("calls", True)])
def test_a_part_of_the_sweep(scenario: str, degraded: bool) -> None:
    """Whatever is raised at a step, the books balance and trio returns."""
    tally = sweep(scenario, list(KINDS), 40, lambda _: None, degraded)
    assert tally.wrong == []
    assert tally.steps > 500
    assert tally.injected > 100


def test_a_fault_that_is_swallowed_would_be_told() -> None:
    """The judge notices a fault that is swallowed."""
    plan = Plan("interrupt", 1, 1)
    with pytest.raises(KeyboardInterrupt) as raised:
        plan.step("call")
    assert list(judge(plan, raised.value, False)) == []
    [problem] = judge(plan, None, False)
    assert "did not come out" in problem
    [problem] = judge(plan, BaseExceptionGroup("of two", [raised.value]), False)
    assert "did not come out" in problem
    assert list(World().after()) == []
    assert len(SCENARIOS) == 18
