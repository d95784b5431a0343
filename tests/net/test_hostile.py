"""Hostile peers, quickly: each kind many times, at once, beside one that is well-behaved and must not notice."""

from __future__ import annotations

import logging

import pytest
import trio

from .hostile import KINDS, siege


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_siege(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    """No crash but the connection's own, no leak, everybody gone at the end; the well-behaved got all its answers."""
    caplog.set_level(logging.CRITICAL + 1, "actorkit")
    with trio.fail_after(60):
        seen = await siege(seconds=30, seed=seed, peers=20, most=250)
    assert seen["problems"] == []
    assert all(seen["counts"].get(kind.__name__) for kind in KINDS)
    assert seen["counts"]["crashes"] > 0
    assert seen["counts"]["answers to the well-behaved"] > 10
