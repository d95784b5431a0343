"""Fixtures of the messaging tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio.testing

import actorkit as ak


@pytest.fixture
async def node(autojump_clock: trio.testing.MockClock) -> AsyncIterator[ak.Node]:
    """A node without a tree; its clock jumps when nothing runs."""
    async with ak.open_node() as opened:
        yield opened
