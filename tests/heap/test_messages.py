"""What is charged for a message, and how the same call queues it."""

from __future__ import annotations

import dataclasses
import sys
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actorkit.heap import clock, walk
from actorkit.heap.python import clock as portable_clock

counting = pytest.mark.skipif(not clock.COUNTS_ALLOCATIONS, reason=f"portable clock: {clock.WHY_PORTABLE}")
CLOCKS = [portable_clock, *([clock] if clock.COUNTS_ALLOCATIONS else [])]


@counting
@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.data())
def test_the_bound_of_a_message_is_one(data: st.DataObject) -> None:
    """For random messages of the plain types, with parts that are shared inside and outside, the
    charge is never less than the walk's figure, and not far more.
    """
    kept: list[Any] = [f"kept {number}" * data.draw(st.integers(1, 30)) for number in range(5)]
    atoms = st.one_of(
        st.integers(-(10**30), 10**30), st.floats(), st.text(max_size=300), st.binary(max_size=300), st.none()
    ) | st.sampled_from(kept)
    message = data.draw(
        st.recursive(
            atoms | st.sampled_from([(), [1.5], {"x": 0.5}]),
            lambda inner: (
                st.lists(inner, max_size=8)
                | st.tuples(inner, inner)
                | st.dictionaries(st.text(max_size=9) | st.sampled_from(kept), inner, max_size=8)
                | st.builds(lambda part: [part, (part, {"again": part})], inner)
            ),
            max_leaves=40,
        )
    )
    account = clock.Account()
    assert account.receive((message,))
    size = walk.size_of(message) + clock.ENVELOPE
    references = message.__repr__().count(",") + 2 if isinstance(message, (list, tuple, dict)) else 1
    assert size <= account.bytes <= size + 130 * 2 * references


@dataclasses.dataclass(slots=True)
class Waiting:
    account: Any
    inbox: list[Any] | None
    outbox: list[Any] | None = None


@pytest.mark.parametrize("module", CLOCKS)
def test_accepted_is_sized_charged_and_queued(module: ModuleType) -> None:
    """A message is sized, charged and queued, or none of these."""
    module.deliver_to("inbox", "outbox")  # as the mailbox tells the clock that is in use
    account = module.Account()
    record = Waiting(account, [])
    arguments = (b"x" * 1000,)
    size = walk.size_of(*arguments) + module.ENVELOPE
    account.soft = 2 * size + 1
    account.bound = 100
    assert [account.accept(record, len, arguments) for _ in range(3)] == [True, True, False]
    assert record.inbox == [(len, arguments, None)] * 2
    assert account.bytes == 2 * size
    account.soft = 0
    record.outbox = [None] * 97
    assert [account.accept(record, len, arguments) for _ in range(2)] == [True, False]
    assert account.bytes == 3 * size
    account.bound = 98
    record.inbox = None
    assert [account.accept(record, len, arguments) for _ in range(2)] == [None, False]
    assert record.inbox == [(len, arguments, None)]
    account.bound = 1000
    assert account.accept(record, len, arguments)
    assert record.inbox == [(len, arguments, None)] * 2
    size *= 5
    record.inbox = []
    account.measured = True
    assert not account.accept(record, len, arguments)
    assert (record.inbox, account.bytes) == ([], size)
    account.measured = False
    with pytest.raises(TypeError, match="tuple"):
        account.accept(record, len, [1])


@pytest.mark.parametrize("module", CLOCKS)
def test_nothing_is_queued_where_the_account_has_changed(module: ModuleType) -> None:
    """Sizing may run an adapter, which may end the actor's budget."""
    account = module.Account()
    record = Waiting(account, [])

    def ends_it(*_: object) -> int:
        record.account = None
        return 10

    module.size_with(ends_it)
    try:
        assert not account.accept(record, len, (1,))
    finally:
        walk.size_messages()
    assert record.inbox == []
    assert account.bytes == 0


@counting
def test_accepting_leaks_nothing() -> None:
    account = clock.Account()
    record = Waiting(account, [])
    arguments = (1.5, "x" * 50)
    before = [sys.getrefcount(obj) for obj in (account, record, arguments, len)]
    for _ in range(10_000):
        assert account.accept(record, len, arguments) is True
        record.inbox = None
        assert account.accept(record, len, arguments) is None
        record.inbox = []
    assert [sys.getrefcount(obj) for obj in (account, record, arguments, len)] == before
