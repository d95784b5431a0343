"""What is worth an own pass or a collection, and how often there may be one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actorkit.policy.memory.unexplained import FEW, TimeShare, calls_for_collection, is_hidden, is_news

KIB = 1024


def test_what_is_too_little_to_matter() -> None:
    """An eighth of the mark needs no explanation, and never less than 4 KiB."""
    assert not is_hidden(1000 * KIB + 128 * KIB, 1000 * KIB, 1024 * KIB)
    assert is_hidden(1000 * KIB + 128 * KIB + 1, 1000 * KIB, 1024 * KIB)
    assert not is_hidden(FEW, 0, 8 * KIB)
    assert is_hidden(FEW + 1, 0, 8 * KIB)


def test_what_was_searched_for_in_vain_is_no_news() -> None:
    assert is_news(200 * KIB, 0, 1024 * KIB)
    assert not is_news(200 * KIB, 150 * KIB, 1024 * KIB)


def test_when_it_is_worth_while_to_collect() -> None:
    """More than half of the limit, and a quarter of it more than what was left last time: what is
    abroad is not searched for again and again."""
    assert calls_for_collection(513 * KIB, 0, 1024 * KIB)
    assert not calls_for_collection(512 * KIB, 0, 1024 * KIB)
    assert not calls_for_collection(9000 * KIB, 8900 * KIB, 1024 * KIB)
    assert calls_for_collection(9000 * KIB, 8700 * KIB, 1024 * KIB)
    assert not calls_for_collection(60 * KIB, 0, 1 * KIB), "too little to be worth it"


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(1, 1000)), min_size=1, max_size=100))
def test_the_share_of_the_time(events: list[tuple[int, int]]) -> None:
    """Whoever keeps pace spends no more than a twentieth of the time, up to the next time that it
    is allowed."""
    pace, now, spent, last = TimeShare(), 0, 0, 0
    for pause, cost in events:
        now += pause
        if pace.allows(now):
            assert spent <= 0.05 * now + 1
            pace.took(now, now + cost)
            now, spent, last = now + cost, spent + cost, cost
    assert spent - last <= 0.05 * now + 1
