"""The tables of transitions say what the machines do: no step is missing, and no arrow is never
taken.

Each machine is driven at random, and the steps that it takes are compared with its table.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import attrs
import pytest

from actorkit.policy.memory import governor, kill_rounds, ladder, restart_queue
from actorkit.policy.memory import governor_events as ev
from actorkit.policy.memory.fill_rate import LookSettings
from actorkit.policy.memory.governor import GovernorMachine, Phase
from actorkit.policy.memory.governor_settings import GovernorSettings
from actorkit.policy.memory.kill_rounds import KillRounds, KillSettings, RoundPhase
from actorkit.policy.memory.ladder import Ladder, LadderSettings, Way
from actorkit.policy.memory.memory_sample import MemoryLevel, MemorySample, Priority
from actorkit.policy.memory.restart_queue import GateSettings, RestartQueue, RestartState
from actorkit.policy.transition import Transition, allows

Arrow = tuple[Any, Any]
SEEDS = range(20)


def arrows(table: tuple[Transition, ...]) -> set[Arrow]:
    return {(each.source, each.target) for each in table}


def sample(now: float, used: int, live: int | None = None) -> MemorySample:
    return MemorySample(now, 1000, used, "test", used, live)


@pytest.mark.parametrize(
    "table",
    [ladder.LADDER, restart_queue.GATE, restart_queue.RESTARTS, kill_rounds.ROUNDS, governor.PHASES],
    ids=["LADDER", "GATE", "RESTARTS", "ROUNDS", "PHASES"],
)
def test_a_table_has_each_arrow_once_and_every_state(table: tuple[Transition, ...]) -> None:
    assert len(set(table)) == len(table)
    assert all(each.when for each in table)
    states: Any = type(table[0].source)
    assert {state for arrow in arrows(table) for state in arrow} == set(states)


def test_the_ladder(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: set[tuple[Any, Any, str]] = set()
    move = Ladder._move

    def noting(self: Ladder, level: MemoryLevel, way: Way, now: float, because: str) -> Any:
        taken.add((self.level, level, way))
        return move(self, level, way, now, because)

    monkeypatch.setattr(Ladder, "_move", noting)
    for seed in SEEDS:
        pick = random.Random(seed)
        machine, now = Ladder(LadderSettings(dwell=0.1)), 0.0
        for _ in range(500):
            now += pick.choice([0.01, 0.2])
            used = pick.choice([0, 500, 690, 750, 790, 850, 890, 930, 970])
            machine.step(sample(now, used, pick.choice([None, used // 2])), pick.choice([0.1, 9.0]), 1.0)
    assert taken == {(each.source, each.target, each.when) for each in ladder.LADDER}


def test_no_step_that_the_table_lacks() -> None:
    with pytest.raises(AssertionError, match="no arrow leads from NORMAL to EXHAUSTED"):
        Ladder()._move(MemoryLevel.EXHAUSTED, Way.EARLY, 0.0, "a test")
    assert not allows(ladder.LADDER, MemoryLevel.KILL, MemoryLevel.NORMAL)


def test_held_restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: set[Arrow] = set()
    become: Callable[..., None] = restart_queue._Waiting.become

    def noting(self: Any, state: RestartState) -> None:
        taken.add((self.state, state))
        become(self, state)

    monkeypatch.setattr(restart_queue._Waiting, "become", noting)
    for seed in SEEDS:
        pick = random.Random(seed)
        machine = RestartQueue(GateSettings(stagger=0.1))
        for now in range(200):
            priority = pick.choice([Priority.NORMAL, Priority.CRITICAL])
            machine.handle(
                pick.choice(
                    [
                        restart_queue.Held(now, pick.randrange(5), "a kind", 100, pick.choice([0, 3]), "", priority),
                        restart_queue.Cancelled(now, pick.randrange(5)),
                        restart_queue.Looked(sample(now, pick.choice([100, 900]))),
                        restart_queue.Closed(now),
                        restart_queue.Opened(now),
                        restart_queue.Tick(now),
                    ]
                )
            )
    assert taken == arrows(restart_queue.RESTARTS)


def test_rounds_of_kills() -> None:
    """The phase also depends on time, so it is checked between all calls."""
    taken: set[Arrow] = set()
    for seed in SEEDS:
        pick = random.Random(seed)
        machine, now = KillRounds(KillSettings(pause=3.0, futile_rounds=2)), 0.0
        phases = [RoundPhase.NO_ROUND]
        for number in range(200):
            now += 1.0
            phases.append(machine.phase(now))
            if machine.may_begin(now):
                machine.begin(number, now, sample(now, 900, 900), 0.0, 100, frozenset((number,)))
                phases.append(machine.phase(now))
                if pick.random() < 0.8:
                    machine.ended(number, now)
            live = pick.choice([900, 700])
            machine.look(sample(now + 0.5, 900, live), pick.choice([0.1, 99.0]))
            phases.append(machine.phase(now + 0.5))
        taken |= {(before, after) for before, after in pairwise(phases) if before is not after}
    assert taken == arrows(kill_rounds.ROUNDS)


def test_the_phases_of_a_governor(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dry run goes on after the point at which it would have stopped the node."""
    taken: set[Arrow] = set()
    enter = GovernorMachine._enter

    def noting(self: GovernorMachine, phase: Phase, now: float) -> None:
        taken.add((self.phase, phase))
        enter(self, phase, now)

    monkeypatch.setattr(GovernorMachine, "_enter", noting)
    settings = GovernorSettings(looks=LookSettings(assumed=0), ladder=LadderSettings(forecast=False))
    for dry_run, exhausted_for in ((False, 4), (True, 20), (False, 20)):
        machine = GovernorMachine(attrs.evolve(settings, dry_run=dry_run))
        for now in range(40):
            machine.handle(ev.Sampled(sample(now, 970 if now < exhausted_for else 100)))
        assert machine.over is (not dry_run and exhausted_for > 4)
    assert taken == arrows(governor.PHASES)
