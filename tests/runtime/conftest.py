"""What the tests of the runtime share: nodes in both modes, and a log of the crash reports that
tests expect.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

import pytest

import actorkit as ak
from actorkit.runtime.base.trio_internals import FEATURES, Features

OpenNode = Callable[..., AbstractAsyncContextManager[ak.Node]]


@asynccontextmanager
async def checked_node(**options: Any) -> AsyncIterator[ak.Node]:
    """A node that must leave nothing behind when it closes."""
    async with ak.open_node(**options) as node:
        yield node
    assert_closed_clean(node)


def assert_closed_clean(node: ak.Node) -> None:
    """A closed node holds no actor, worker, token, current actor or pending call."""
    assert not node.engine.actors
    assert node.engine.workers == 0
    assert not node.engine.idle
    assert node.engine.current is None
    assert not node.engine.holders
    assert not node.engine.busy
    assert not node.engine.grant
    assert node.engine.starting == 0
    assert node.engine.deadlines.pending == 0
    assert not node.engine.unkillable
    assert not node.engine.dying


@pytest.fixture(params=["full", "degraded"])
def features(request: pytest.FixtureRequest) -> Features:
    """With all of trio's private names, and without any."""
    return FEATURES if request.param == "full" else Features.degraded()


@pytest.fixture
def opened(features: Features) -> OpenNode:
    """``open_node`` in both modes, with a check at the end that nothing is left."""
    return partial(checked_node, features=features)
