"""Which kind a sample belongs to, and how many of the living are asked in a pass."""

from __future__ import annotations

from functools import partial

import pytest

from actorkit.policy.memory.footprint import FootprintLearner
from actorkit.policy.memory.footprint_samples import PER_PASS, Samples, kind_of


class Room: ...


def opened() -> None: ...


class Started:
    def __call__(self) -> None: ...


@pytest.mark.parametrize(
    ("start", "name"),
    [(Room, "Room"), (partial(partial(Room, 1), 2), "Room"), (list[int], "list"), (opened, "opened"),
     (Started(), "Started")],
)  # fmt: skip
def test_a_kind_is_called_by_what_is_started(start: object, name: str) -> None:
    assert kind_of(start) == name


def test_a_child_s_sample_is_one_of_its_kind() -> None:
    kind = Samples(FootprintLearner("Room"))
    child = Samples(FootprintLearner("Room", "lobby"), kind)
    child.learn(10)
    kind.learn(30, truncated=True)
    assert (child.learner.count, kind.learner.count) == (1, 2)
    assert (child.learner.maximum, kind.learner.maximum) == (10, 30)
    assert (child.learner.truncated, kind.learner.truncated) == (0, 1)


def test_few_of_the_living_are_asked_in_a_pass_and_others_in_the_next() -> None:
    """The first pass does not know yet how many actors there are, so it asks the first of them."""
    samples = Samples(FootprintLearner("Room"))
    asked = [[one for one in range(100) if samples.wants(number)] for number in (1, 2, 3)]
    assert [len(each) for each in asked] == [PER_PASS, 7, 7]
    assert asked[0] == list(range(PER_PASS))
    assert not set(asked[1]) & set(asked[2])


def test_all_are_asked_when_there_are_few() -> None:
    samples = Samples(FootprintLearner("Room"))
    for number in (1, 2):
        assert [samples.wants(number) for _ in range(PER_PASS)] == [True] * PER_PASS
