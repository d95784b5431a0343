"""The tables of states: they hold together, and a static supervisor goes through every row of
them."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from actorkit.policy.supervision import supervision_events as ev
from actorkit.policy.supervision.child_table import Child
from actorkit.policy.supervision.static import Supervision
from actorkit.policy.supervision.supervision_states import (
    CHILD_TRANSITIONS,
    PHASE_TRANSITIONS,
    ChildState,
    ChildStep,
    Phase,
    PhaseStep,
)
from actorkit.policy.transition import Transition
from tests.policy.driver import Driver, spec

TABLES = [
    pytest.param(CHILD_TRANSITIONS, "undefined", ChildState, ChildStep, id="child"),
    pytest.param(PHASE_TRANSITIONS, "new", Phase, PhaseStep, id="supervisor"),
]


def rows(table: tuple[Transition, ...]) -> set[tuple[Any, Any]]:
    return {(each.source, each.when) for each in table}


@pytest.mark.parametrize(("table", "first", "states", "steps"), TABLES)
def test_a_table_holds_together(table: Any, first: str, states: Any, steps: Any) -> None:
    """A table knows all states and steps and no others, and each state can be reached."""
    assert {step for _, step in rows(table)} == set(get_args(steps))
    reached: set[Any] = set()
    todo = {first}
    while todo:
        state = todo.pop()
        reached.add(state)
        todo |= {each.target for each in table if each.source == state} - reached
    assert reached == set(get_args(states))


def an_ordinary_life() -> None:
    driver = Driver("ab", max_restarts=5).begin()
    driver.exit("a")
    driver.hold_restarts = True
    driver.exit("b")
    driver.terminate("b")
    driver.terminate("a")
    driver.failing = {"c"}
    driver.start_child("c")
    driver.stop()


def a_stubborn_one() -> None:
    driver = Driver("ab")
    driver.held = {"b"}
    driver.stubborn = {"a"}
    driver.begin()
    driver.stop()
    driver.feed(ev.KillTimeout(driver.now, driver.starting["b"]))
    driver.feed(ev.StopTimeout(driver.now, driver.refs["a"][1]))
    driver.feed(ev.KillTimeout(driver.now, driver.refs["a"][1]))
    driver.exit("a")
    driver.start_failed("b")


def one_that_does_not_begin() -> None:
    Driver("a").stop()


def one_whose_child_does_not_start() -> None:
    driver = Driver("ab")
    driver.failing = {"b"}
    driver.begin()


def test_every_row_is_taken_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every row is taken; a child or a supervisor that took a step that its state does not have
    would raise KeyError.
    """
    taken: set[tuple[Any, Any]] = set()
    entered: set[tuple[Any, Any]] = set()
    take, enter = Child.take, Supervision._enter

    def noting(child: Child, step: Any) -> None:
        taken.add((child.state, step))
        take(child, step)

    def entering(machine: Supervision, step: Any) -> None:
        entered.add((machine.phase, step))
        enter(machine, step)

    monkeypatch.setattr(Child, "take", noting)
    monkeypatch.setattr(Supervision, "_enter", entering)
    for scenario in (an_ordinary_life, a_stubborn_one, one_that_does_not_begin, one_whose_child_does_not_start):
        scenario()
    assert taken == rows(CHILD_TRANSITIONS)
    assert entered == rows(PHASE_TRANSITIONS)


def test_a_step_that_leads_nowhere_is_a_fault_of_the_machine() -> None:
    with pytest.raises(KeyError):
        Child(spec("a")).take("started")


@pytest.mark.parametrize(
    "wrong",
    [
        {"state": "running"},
        {"instance": 7},
        {"ticket": 1},
        {"killed": True},
        {"dropped": True},
        {"exited": ev.ChildExited(0.0, 1, ev.ExitReason())},
        {"backoff": object()},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_validate_finds_what_contradicts_itself(wrong: dict[str, Any]) -> None:
    driver = Driver("a").begin()
    driver.terminate("a")
    (child,) = driver.machine._children
    driver.machine.validate()
    for name, value in wrong.items():
        setattr(child, name, value)
    with pytest.raises(AssertionError):
        driver.machine.validate()
