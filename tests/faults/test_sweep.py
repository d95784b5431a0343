"""The allocation-failure sweep, quickly: two scenarios, one request each. The whole sweep: ``python
-m tests.prove``.
"""

from __future__ import annotations

import pytest

from tests.fault_injector import WHY_NOT

from .sweep import sweep


@pytest.mark.skipif(WHY_NOT is not None, reason="needs the extension")
@pytest.mark.parametrize("scenario", ["spawned_linked", "connections"])
def test_a_part_of_the_sweep(scenario: str) -> None:
    """The node goes on or stops in order; nothing is half done, and nothing is left."""
    lines: list[str] = []
    runs, refused, wrong = sweep(scenario, 30, lines.append)
    assert wrong == []
    assert runs > 0
    assert refused > 0
