"""Fixtures of the messaging tests. A test that waits takes ``clock``: pytest-trio runs only the clock that the test
itself asks for."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from trio.testing import MockClock

import actorkit as ak


@pytest.fixture
def clock(autojump_clock: MockClock) -> MockClock:
    """Jumps when nothing runs."""
    return autojump_clock


@pytest.fixture
async def node(clock: MockClock) -> AsyncIterator[ak.Node]:
    """A node without a tree."""
    async with ak.open_node() as opened:
        yield opened
