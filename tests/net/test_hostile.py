"""Hostile peers, quickly: each kind many times, at once, beside one that is well-behaved and must
not notice.
"""

from __future__ import annotations

import logging
import math

import pytest

from .hostile import KINDS, siege


@pytest.mark.real_clock("the hostile take their time; no verdict is about it")
@pytest.mark.parametrize("seed", [1, 2])
async def test_a_siege(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    """No crash but the connection's own, no leak, everybody gone at the end; the well-behaved got
    all its answers.
    """
    caplog.set_level(logging.CRITICAL + 1, "actorkit")
    seen = await siege(seconds=math.inf, seed=seed, peers=20, most=250, answers=20)
    assert seen["problems"] == []
    assert all(seen["counts"].get(kind.__name__) for kind in KINDS)
    assert len(seen["rss"]) >= 2
