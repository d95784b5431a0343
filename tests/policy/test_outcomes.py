"""Outcomes, and the pace of actions that may be repeated."""

from __future__ import annotations

from typing import Any

import pytest

from actorkit.policy.memory.outcomes import DEFAULT_PACES, ActionOutcome, OutcomeBook, Pace, PaceSettings


def done(at: float, realised: int | None, *, predicted: int = 100, duration: float = 0.0) -> ActionOutcome:
    return ActionOutcome("shed", at, predicted, realised, duration)


def test_what_does_not_deliver_waits_longer_and_longer() -> None:
    pace = Pace(PaceSettings(first=1, longest=5, effective=0.5))
    now = 0.0
    for wait in (2, 4, 5, 5):
        assert pace.why_not(now) == ""
        pace.begun(now)
        assert pace.note(done(now, 49))
        assert pace.interval == wait
        assert "before" in pace.why_not(now + wait - 0.01)
        now += wait
    assert not pace.note(done(now, 50))
    assert pace.interval == 1


def test_what_is_not_known_changes_nothing() -> None:
    pace = Pace(PaceSettings(first=1, longest=5, effective=0.5))
    pace.note(done(0, 0))
    assert pace.interval == 2
    assert not pace.note(done(0, None))
    assert pace.interval == 2


def test_what_is_not_heard_of_may_be_asked_for_again() -> None:
    pace = Pace(PaceSettings(first=3))
    pace.begun(10)
    assert pace.why_not(12.9)
    assert not pace.why_not(13)


def test_garbage_collection_takes_its_share_of_time_at_most() -> None:
    pace = Pace(PaceSettings(first=1, share=0.05))
    pace.note(done(100, 1000, duration=0.5))
    assert pace.why_not(109.9)
    assert not pace.why_not(110)


def test_a_pause_that_would_be_too_long() -> None:
    pace = Pace(PaceSettings(first=1, longest=30, longest_pause=0.5))
    pace.begun(0, 1000)
    pace.note(done(0, 1000, duration=0.3))
    assert not pace.why_not(10, 1600)
    assert "0.6 s" in pace.why_not(10, 2000)
    assert not pace.why_not(10, 2000, any_pause=True), "better than a kill"
    assert not pace.why_not(30, 2000), "a prediction is believed for a while"


def test_the_book_keeps_the_last_ones() -> None:
    book = OutcomeBook(keep=2)
    for at in range(3):
        book.note(done(at, 100))
    assert [outcome.at for outcome in book.outcomes] == [1, 2]
    assert not book.note(ActionOutcome("kill", 3, 100, 0, 0.0)), "kills have a breaker of their own"
    assert book.note(done(4, 0))
    assert set(book.paces) == set(DEFAULT_PACES)


@pytest.mark.parametrize(
    "wrong", [{"first": 0}, {"first": 50}, {"effective": -1}, {"share": 0}, {"share": 2}, {"longest_pause": 0}]
)
def test_paces_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="give"):
        PaceSettings(**wrong)


# --- What mutants have shown to be missing ---


def test_a_pause_without_a_size_is_as_the_last_one() -> None:
    """A pause without a size is predicted to be as long as the last one. Fault: what has no size is
    reckoned as one byte.
    """
    pace = Pace(PaceSettings(first=1, longest=30, longest_pause=0.5))
    pace.note(done(0, 1000, duration=0.6))
    assert pace.predicted_pause(300) == 0.6
    pace.begun(0)
    pace.note(done(0, 1000, duration=0.6))
    assert pace.predicted_pause(300) == 0.6
    pace.begun(0, 1000)
    pace.note(done(0, 1000, duration=0.6))
    assert "0.6 s" in pace.why_not(10)


def test_a_pause_that_is_just_allowed_and_one_that_is_not_any_more_believed() -> None:
    pace = Pace(PaceSettings(first=1, longest=30, longest_pause=0.5))
    pace.begun(100, 1000)
    pace.note(done(100, 1000, duration=0.5))
    assert not pace.why_not(110, 1000)
    assert "predicted" in pace.why_not(110, 1001)
    assert "predicted" in pace.why_not(129.9, 1001)
    assert not pace.why_not(130, 1001)


def test_how_long_to_wait_is_said() -> None:
    pace = Pace(PaceSettings(first=3))
    pace.begun(10)
    assert pace.why_not(11) == "not before 2 s have passed"


def test_the_book_keeps_a_hundred() -> None:
    book = OutcomeBook()
    for at in range(101):
        book.note(done(at, 100))
    assert len(book.outcomes) == 100
