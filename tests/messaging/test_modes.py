"""All tests of this folder run in both modes."""

from __future__ import annotations

import actorkit as ak
from actorkit.runtime.base.trio_internals import FEATURES, Features


async def test_the_mode_is_in_force(mode: str, node: ak.Node) -> None:
    """Every node that a test opens, itself or by the fixture, has the features of its mode."""
    expected = FEATURES if mode == "full" else Features.degraded()
    assert node.engine.features == expected
    async with ak.open_node() as other:
        assert other.engine.features == expected
