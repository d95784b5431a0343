"""New work is let in by count, rate and learned bytes."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actorkit.policy.memory.admission import AdmissionMachine, AdmissionSettings, Admit, KindLimits, LearnedSize, Refuse
from actorkit.policy.memory.memory_sample import MemorySample


def look(now: float, used: int, live: int | None = None) -> MemorySample:
    return MemorySample(now, 1000, used, "test", used, live)


def admission(used: int | None = None, **kinds: KindLimits) -> AdmissionMachine:
    made = AdmissionMachine(AdmissionSettings(kinds, other=KindLimits(first_guess=0)))
    if used is not None:
        made.looked(look(0, used))
    return made


def refusal(answer: Admit | Refuse) -> Refuse:
    assert isinstance(answer, Refuse)
    return answer


def test_what_is_not_limited_is_let_in() -> None:
    made = admission()
    assert made.ask("x", 0) == Admit(0)
    assert made.count("x") == 1
    assert made.capacity("x") == math.inf


def test_by_count() -> None:
    made = admission(a=KindLimits(count=2, first_guess=0))
    assert made.capacity("a") == 2
    made.ask("a", 0)
    made.ask("a", 0)
    assert made.capacity("a") == 0
    assert "2 are in, and 2 may be" in refusal(made.ask("a", 0)).because
    made.ended("a")
    assert made.ask("a", 0) == Admit(0)
    assert made.ask("b", 0) == Admit(0), "each kind by its own"


def test_by_rate() -> None:
    made = admission(a=KindLimits(rate=2, burst=3, first_guess=0))
    assert [type(made.ask("a", 10)) for _ in range(4)] == [Admit, Admit, Admit, Refuse]
    assert refusal(made.ask("a", 10.1)).retry_after == pytest.approx(0.4)
    assert isinstance(made.ask("a", 10.5), Admit)
    assert isinstance(made.ask("a", 10.5), Refuse)
    assert [type(made.ask("a", 99)) for _ in range(4)] == [Admit, Admit, Admit, Refuse], "no more than a burst is saved"
    slow = admission(a=KindLimits(rate=0.5, first_guess=0))
    assert isinstance(slow.ask("a", 0), Admit)
    assert refusal(slow.ask("a", 0)).retry_after == 2


def test_a_refusal_takes_nothing() -> None:
    made = admission(500, a=KindLimits(rate=1, burst=1, first_guess=301))
    assert "301 bytes are predicted for it, and 300 may be taken up" in refusal(made.ask("a", 0)).because
    assert made.count("a") == 0
    made.looked(look(0, 100))
    assert made.ask("a", 0) == Admit(301), "its token is still there"


def test_by_bytes_less_the_reserve_and_what_is_promised() -> None:
    made = admission(400, a=KindLimits(first_guess=100))
    assert made.capacity("a") == 4
    assert [type(made.ask("a", 1)) for _ in range(5)] == [Admit, Admit, Admit, Admit, Refuse]
    made.looked(look(2.9, 400))
    assert made.capacity("a") == 0, "what was let in may not show yet"
    made.looked(look(3, 400))
    assert made.capacity("a") == 4, "it did not take what was predicted"
    made.looked(look(4, 900, 400))
    assert made.capacity("a") == 4, "by what is needed"


def test_refused_altogether() -> None:
    made = admission(0, probe=KindLimits(exempt=True, count=0))
    made.refuse_all("SHED: 80 of 100")
    assert refusal(made.ask("a", 0)).because == "no a is admitted: SHED: 80 of 100"
    assert refusal(made.ask("a", 0)).retry_after == 1.0
    assert made.capacity("a") == 0
    assert isinstance(made.ask("probe", 0), Admit)
    assert made.count("probe") == 1
    assert made.capacity("probe") == math.inf
    made.allow()
    assert isinstance(made.ask("a", 0), Admit)


def test_what_is_learned_takes_the_place_of_the_guess() -> None:
    made = admission(a=KindLimits(first_guess=100))
    made.learn("a", [10] * 8)
    assert made.predicted("a") == 100
    made.ended("a", 4000)
    made.learn("a", [10])
    assert made.predicted("a") < 4000, "the ninth of ten"
    made.learn("a", [4000, 4000])
    assert 4000 <= made.predicted("a") <= 4000 * 2**0.25


def test_more_ends_than_beginnings() -> None:
    made = admission()
    made.ended("a")
    assert made.count("a") == 0


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=200), st.floats(0.01, 1))
@settings(max_examples=60, deadline=None)
def test_a_quantile_is_right_up_to_a_bucket(sizes: list[int], part: float) -> None:
    learned = LearnedSize()
    for size in sizes:
        learned.note(size)
    exact = sorted(sizes)[math.ceil(part * len(sizes)) - 1]
    assert exact <= learned.quantile(part) <= math.ceil(exact * 2**0.25) + 1


def test_old_sizes_fade() -> None:
    learned = LearnedSize(keep=64)
    for _ in range(64):
        learned.note(10**6)
    for _ in range(640):
        learned.note(100)
    assert learned.quantile(0.99) < 200
    assert learned.seen <= 64
    assert LearnedSize().quantile(0.5) == 0


@given(st.lists(st.tuples(st.sampled_from(["ask", "ask", "ask", "end", "look"]), st.floats(0, 1)), max_size=60))
@settings(max_examples=60, deadline=None)
def test_capacity_tells_the_truth(steps: Any) -> None:
    """Work for which there is room is let in, and work for which there is none is not."""
    made = admission(300, a=KindLimits(count=8, first_guess=60))
    now = 0.0
    for what, part in steps:
        now += part
        before = made.capacity("a")
        if what == "ask":
            assert isinstance(made.ask("a", now), Admit) == (before >= 1)
        elif what == "end":
            made.ended("a")
            assert made.capacity("a") >= before
        else:
            made.looked(look(now, int(1000 * part)))
        assert 0 <= made.count("a") <= 8


@pytest.mark.parametrize("wrong", [{"count": -1}, {"rate": 0}, {"burst": 0.5}, {"first_guess": -1}, {"rate": math.inf}])
def test_limits_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="give"):
        KindLimits(**wrong)


@pytest.mark.parametrize("wrong", [{"reserve": 1}, {"quantile": 0}, {"settle": -1}, {"retry_after": 0}])
def test_settings_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="give"):
        AdmissionSettings(**wrong)


# --- What mutants have shown to be missing ---


def test_each_refusal_says_why_and_when_to_ask_again() -> None:
    made = AdmissionMachine(
        AdmissionSettings(
            {"a": KindLimits(count=0), "b": KindLimits(rate=4, burst=1, first_guess=0), "c": KindLimits(first_guess=1)},
            retry_after=3.0,
        )
    )
    made.looked(look(0, 900))
    made.ask("b", 0)
    answers = {kind: refusal(made.ask(kind, 0)) for kind in "abc"}
    assert {kind: (answer.retry_after, answer.because) for kind, answer in answers.items()} == {
        "a": (3.0, "no a is admitted: 0 are in, and 0 may be"),
        "b": (0.25, "no b is admitted: 4 a second are, the next in 0.25 s"),
        "c": (3.0, "no c is admitted: 1 bytes are predicted for it, and 0 may be taken up"),
    }
    made.refuse_all("")
    assert refusal(made.ask("c", 0)) == Refuse(3.0)
    assert refusal(made.ask("c", 0)).because == "no c is admitted: memory is short"


def test_who_is_exempt_takes_nobody_s_turn() -> None:
    """Exempt work takes no other's turn. Fault: a health check uses up the rate of its kind."""
    made = admission(a=KindLimits(rate=1, burst=2, first_guess=0))
    assert isinstance(made.ask("a", 0), Admit)
    for _ in range(3):
        assert isinstance(made.ask("a", 0, exempt=True), Admit)
    assert isinstance(made.ask("a", 0), Admit)
    assert isinstance(made.ask("a", 0), Refuse)


@pytest.mark.parametrize(
    ("used", "guess", "capacity"), [(None, 10, math.inf), (0, 0, math.inf), (350, 100, 4), (800, 1, 0)]
)
def test_capacity_is_in_whole_ones(used: int | None, guess: int, capacity: float) -> None:
    made = admission(used, a=KindLimits(first_guess=guess))
    assert made.capacity("a") == capacity


def test_one_end_ends_one() -> None:
    made = admission()
    for _ in range(3):
        made.ask("a", 0)
    made.ended("a")
    assert made.count("a") == 2


def test_enough_have_been_seen() -> None:
    made = AdmissionMachine(AdmissionSettings(other=KindLimits(first_guess=100), enough=2))
    made.learn("a", [10])
    assert made.predicted("a") == 100
    made.learn("a", [10])
    assert made.predicted("a") == 12, "the bucket of 10"


@pytest.mark.parametrize(("noted", "seen"), [(3, 3), (4, 2), (5, 3), (6, 2)])
def test_sizes_are_halved_when_so_many_are_kept(noted: int, seen: float) -> None:
    learned = LearnedSize(keep=4)
    for _ in range(noted):
        learned.note(100)
    assert learned.seen == seen


def test_a_size_that_came_once_is_kept_by_half_once() -> None:
    """A size that came once survives the first halving. Fault: such sizes are forgotten there."""
    learned = LearnedSize(keep=2)
    learned.note(1)
    learned.note(1024)
    assert (learned.seen, learned.quantile(1.0)) == (1.0, 1024)


def test_a_time_after_which_to_ask_again_is_a_time() -> None:
    with pytest.raises(ValueError, match="retry_after=inf"):
        AdmissionSettings(retry_after=math.inf)
