"""A dict whose table was refused is whole: it holds what it held, and takes more later.

CPython 3.13.0 to 3.13.5 go on after the MemoryError in ``setdefault`` and count an entry that is
not there. So no table of a dict is refused on these versions.
"""

from __future__ import annotations

import sys
from collections import deque
from typing import Any

import pytest

import actorkit as ak

from .conftest import Ends, needs_the_extension

MISCOUNTS = (3, 13) <= sys.version_info < (3, 13, 6)


def by_loop(table: dict[Any, Any], keys: list[Any]) -> None:
    for key in keys:
        table.setdefault(key, key)


def by_map(table: dict[Any, Any], keys: list[Any]) -> None:
    deque(map(table.setdefault, keys), maxlen=0)


class Filler(ak.Actor):
    """Fills a dict until it is refused, or ended."""

    @ak.cast
    def fill(self, how: Any, keys: list[Any], seen: list[Any]) -> None:
        table: dict[Any, Any] = {}
        try:
            how(table, keys)
        except MemoryError:
            seen.append("refused")
            raise
        finally:
            seen.append((len(table), sum(1 for _ in table)))


@needs_the_extension
@pytest.mark.parametrize("how", [by_loop, by_map])
@pytest.mark.parametrize("kind", [int, str])
async def test_a_dict_that_may_not_grow_is_whole(ends: Ends, how: Any, kind: type) -> None:
    """Its length is that of what is in it, whether the dict was grown by Python or by C."""
    keys = [kind(number) for number in range(40_000)]
    seen: list[Any] = []
    filler = ends.node.spawn(ak.child(Filler).with_(max_heap_size=ak.HeapLimit("256 KiB", hard="256 KiB")))
    filler.cast(Filler.fill, how, keys, seen)
    await ends.of(filler)
    length, counted = next(found for found in seen if found != "refused")
    assert length == counted
    assert "refused" not in seen or not MISCOUNTS
