"""A selection of the cells: each pair of two members of different kinds occurs in it."""

from __future__ import annotations

import logging
import sys

import pytest

from actorkit.runtime.base.trio_internals import Features
from tests.promises.cells import Cell, all_cells, pairs_of, pairwise, run, why_not
from tests.promises.doors import THROUGH, Door
from tests.promises.promises import PROMISES
from tests.promises.shapes import PIECE, Shape, Way


@pytest.mark.parametrize("cell", pairwise(), ids=lambda cell: cell.name)
async def test_it_is_kept(cell: Cell, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)  # of finalisers that were stopped
    caplog.set_level(logging.CRITICAL, "actorkit")
    await run(cell)


@pytest.mark.parametrize("door", Door)
async def test_without_private_names_of_trio(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    """In the degraded mode tasks in an actor's nurseries are known by an instrument."""
    caplog.set_level(logging.CRITICAL, "actorkit")
    kept = next(promise for promise in PROMISES if promise.name == "kept")
    await run(Cell(kept, door, Shape.NESTED, Way.PLAIN), features=Features.degraded())


def test_each_member_has_its_function() -> None:
    """An empty cell would be one that no function fills."""
    assert THROUGH.keys() == set(Door)
    assert PIECE.keys() == set(Shape)


def test_what_does_not_apply_has_a_reason() -> None:
    for cell in all_cells():
        why = why_not(cell)
        assert why is None or len(why.split()) > 3, cell.name


def test_each_pair_that_applies_is_selected() -> None:
    applies = {pair for cell in all_cells() if why_not(cell) is None for pair in pairs_of(cell)}
    selected = {pair for cell in pairwise() for pair in pairs_of(cell)}
    assert selected == applies
