"""Every test gives back what it took: descriptors are checked here, sockets by making
ResourceWarning an error.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import pytest


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture(autouse=True, scope="module")
def quick_collections() -> Iterator[None]:
    """Objects that were there before are not looked at again and again."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def no_descriptor_leaks() -> Iterator[None]:
    gc.collect()
    before = descriptors()
    yield
    gc.collect()
    assert descriptors() == before
