"""Hostile peers, quickly: many of each kind at once, beside a well-behaved peer that must notice
nothing.
"""

from __future__ import annotations

import logging
import math

import pytest

from .hostile import KINDS, siege


@pytest.mark.real_clock("the hostile take their time; no verdict is about it")
@pytest.mark.parametrize("seed", [1, 2])
async def test_a_siege(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing crashes but the connection itself, nothing leaks, every peer is gone at the end, and
    the well-behaved peer got all its answers.
    """
    caplog.set_level(logging.CRITICAL + 1, "actorkit")
    seen = await siege(seconds=math.inf, seed=seed, peers=20, most=250, answers=20)
    assert seen["problems"] == []
    assert all(seen["counts"].get(kind.__name__) for kind in KINDS)
    assert len(seen["rss"]) >= 2
