"""What the tests of the runtime share: nodes in both modes, and a log of crash reports that tests expect."""

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
    assert not node.actors
    assert node.workers == 0
    assert not node.idle
    assert node.current is None
    assert not node.holders
    assert not node.busy
    assert not node.grant
    assert node.starting == 0
    assert node.deadlines.pending == 0
    assert not node.unkillable
    assert not node.dying


@pytest.fixture(params=["full", "degraded"])
def features(request: pytest.FixtureRequest) -> Features:
    """With trio's private names, and without any."""
    return FEATURES if request.param == "full" else Features.degraded()


@pytest.fixture
def opened(features: Features) -> OpenNode:
    """``open_node`` in both modes, with a check at the end that nothing is left."""
    return partial(checked_node, features=features)
