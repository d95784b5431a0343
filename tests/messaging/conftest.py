"""Fixtures of the messaging tests. A test that waits takes ``clock``: pytest-trio uses a clock only
if the test itself asks for it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

import pytest
from trio.testing import MockClock

import actorkit as ak
from actorkit.runtime.base.trio_internals import Features


@pytest.fixture(autouse=True, params=["full", "degraded"])
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test runs twice: its nodes use all of trio's private names, or none of them."""
    name = str(request.param)
    if name == "degraded":
        monkeypatch.setattr(ak, "open_node", partial(ak.open_node, features=Features.degraded()))
    return name


@pytest.fixture
def clock(autojump_clock: MockClock) -> MockClock:
    """A clock that jumps when nothing runs."""
    return autojump_clock


@pytest.fixture
async def node(clock: MockClock) -> AsyncIterator[ak.Node]:
    """A node without a tree."""
    async with ak.open_node() as opened:
        yield opened
