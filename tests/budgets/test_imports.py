"""Large packages can be imported first inside an actor with a small budget."""

from __future__ import annotations

import pytest

from tests.prove.imports import PACKAGES, installed, tried


@pytest.mark.every_version
@pytest.mark.parametrize("name", PACKAGES)
def test_everybody_lives(name: str) -> None:
    """In a process of its own, since a package is imported first only once."""
    if not installed(name):
        pytest.skip(f"{name} is not installed")
    assert tried(name) == ""
