"""The static machine does what the second, simple supervisor of ``reference`` does, step by step,
whatever happens.

This comparison also tells the strategies apart: a machine with one strategy is not taken for one
with another.
"""

from __future__ import annotations

import random
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorkit.policy.supervision.supervisor_flags import SupervisorFlags
from tests.effort import effort, times
from tests.policy.driver import Driver, spec
from tests.policy.reference import KINDS, NAMES, REASONS, Reference, Step, history

STRATEGIES: list[Any] = ["one_for_one", "one_for_all", "rest_for_one"]


def make_spec(name: str, seed: int, auto_shutdown: str = "never") -> Any:
    restart = ("permanent", "permanent", "transient", "temporary")[seed % 4]
    significant = auto_shutdown != "never" and restart != "permanent" and seed % 8 >= 4
    return spec(name, restart=restart, significant=significant)


def answer_of(reply: Any) -> str:
    return type(reply).__name__ if isinstance(reply, Exception) else "done"


class Pair:
    """A machine and its reference, which get the same history."""

    def __init__(self, flags: SupervisorFlags, seeds: list[int], reference: SupervisorFlags | None = None) -> None:
        specs = [make_spec(name, seed, flags.auto_shutdown) for name, seed in zip(NAMES, seeds, strict=False)]
        self.reference = Reference(reference or flags, list(specs))
        self.driver = Driver(specs, **attrs.asdict(flags, recurse=False))
        self.driver.hold_restarts = True
        self.reference.begin()
        self.driver.begin()
        self.compare("begin")

    def play(self, step: Step) -> None:
        """Play one step; a step that means nothing at the moment does nothing."""
        driver, reference, name = self.driver, self.reference, step.name
        states = reference.states()
        match step.kind:
            case "exit":
                running = [each for each, state in states.items() if state == "running"]
                if running:
                    who, reason = running[step.extra % len(running)], REASONS[step.extra % len(REASONS)]
                    counts = step.extra % 7 != 0
                    reference.exit(who, reason, driver.now, counts)
                    driver.exit(who, reason, counts)
            case "due":
                waiting = [child.id for child in reference.waiting]
                if waiting:
                    who = waiting[step.extra % len(waiting)]
                    reference.due(who, driver.now)
                    driver.restart_due(who)
            case "start_child":
                child = make_spec(name, step.extra, driver.machine.flags.auto_shutdown)
                assert answer_of(driver.start_child(child)) == reference.start_child(child)
            case "terminate" | "restart" | "delete" as deed:
                assert answer_of(getattr(driver, deed)(name)) == getattr(reference, deed)(name)
            case "fail":
                for one in (driver, reference):
                    (one.failing if step.extra % 3 else one.ignoring).add(name)
            case "mend":
                for one in (driver, reference):
                    one.failing.clear()
                    one.ignoring.clear()
            case "wait":
                driver.now += (0.5, 2.0, 10.0)[step.extra % 3]
        self.compare(step)

    def compare(self, after: object) -> None:
        assert self.driver.take_trace() == self.reference.take_trace(), f"after {after}"
        over = self.driver.outcome
        assert (over and over.reason) == self.reference.over
        if over is None:
            assert self.driver.states() == self.reference.states(), f"after {after}"

    def run(self, steps: Any) -> None:
        for step in steps:
            if self.reference.over is not None:
                return
            self.play(step)


steps = st.lists(
    st.builds(Step, st.sampled_from(KINDS), st.sampled_from(NAMES), st.integers(0, 999)), max_size=25, min_size=5
)
children = st.lists(st.integers(0, 7), min_size=1, max_size=5)
flags = st.builds(
    SupervisorFlags,
    strategy=st.sampled_from(STRATEGIES),
    max_restarts=st.sampled_from([100, 3, 1, 0]),
    max_seconds=st.sampled_from([1.0, 10.0]),
    auto_shutdown=st.sampled_from(["never", "any_significant", "all_significant"]),
)


@effort(60)
@given(flags, children, steps)
def test_a_machine_does_what_the_reference_does(flags: SupervisorFlags, children: list[int], steps: list[Step]) -> None:
    Pair(flags, children).run(steps)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_long_histories(strategy: Any) -> None:
    for seed in range(times(40)):
        pick = random.Random(seed)
        kind = SupervisorFlags(
            strategy=strategy,
            max_restarts=pick.choice([2, 5, 1000]),
            max_seconds=pick.choice([1.0, 10.0]),
            auto_shutdown=pick.choice(["never", "any_significant", "all_significant"]),
        )
        Pair(kind, [pick.randrange(8) for _ in range(5)]).run(history(seed, 60))


@pytest.mark.parametrize("claimed", STRATEGIES)
@pytest.mark.parametrize("real", STRATEGIES)
def test_no_strategy_passes_for_another(real: Any, claimed: Any) -> None:
    """No strategy passes for another. Fault: a comparison that any strategy would pass."""

    def passes(seed: int) -> bool:
        flags, others = (SupervisorFlags(strategy=each, max_restarts=1000) for each in (real, claimed))
        try:
            Pair(flags, [0, 0, 0, 0], others).run(history(seed, 10))
        except AssertionError:
            return False
        return True

    passed = [passes(seed) for seed in range(20)]
    assert all(passed) if real == claimed else passed.count(True) < 10
