"""Cells: one promise, door, shape and way each; why some do not apply; and a selection of them.

The selection is *pairwise*: each pair of two members of different kinds that applies together at
all is in some cell of it. Faults come from two things that meet, rarely from three.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import attrs

from tests.promises.doors import THROUGH, Door
from tests.promises.promises import PROMISES, Promise
from tests.promises.shapes import Shape, Way
from tests.promises.world import World, a_world

__all__ = ["Cell", "all_cells", "pairs_of", "pairwise", "run", "why_not"]


@attrs.frozen
class Cell:
    promise: Promise
    door: Door
    shape: Shape
    way: Way

    @property
    def name(self) -> str:
        return "-".join((self.promise.name, self.door.name, self.shape.name, self.way.name)).lower()

    @property
    def members(self) -> tuple[Promise, Door, Shape, Way]:
        return (self.promise, self.door, self.shape, self.way)


def why_not(cell: Cell) -> str | None:
    """Why the cell does not apply; None: it is run."""
    missing = cell.shape.why_missing
    if missing is not None:
        return missing
    if cell.way is Way.FINALISER and cell.promise.name in ("kept", "gone"):
        return "what is raised in a finaliser is ignored by Python: the message goes on"
    return cell.promise.why_not(cell.door, cell.shape, cell.way)


def all_cells() -> Iterator[Cell]:
    """Every cell, those that do not apply too."""
    for members in itertools.product(PROMISES, Door, Shape, Way):
        yield Cell(*members)


def pairs_of(cell: Cell) -> tuple[tuple[str, str], ...]:
    """The pairs of members that occur in it, by name."""
    names = (cell.promise.name, cell.door.name, cell.shape.name, cell.way.name)
    return tuple(itertools.combinations(names, 2))


@cache
def pairwise() -> tuple[Cell, ...]:
    """A selection of the cells that apply, in which each pair occurs. Always the same one."""
    cells = [cell for cell in all_cells() if why_not(cell) is None]
    chosen: list[Cell] = []
    by_pair: dict[tuple[str, str], list[Cell]] = {}
    for cell in _shuffled(cells):
        for pair in pairs_of(cell):
            by_pair.setdefault(pair, []).append(cell)
    wanted = set(by_pair)
    for pair, those in sorted(by_pair.items(), key=lambda item: (len(item[1]), item[0])):  # the rarest first
        if pair in wanted:
            best = max(those, key=lambda cell: sum(each in wanted for each in pairs_of(cell)))
            chosen.append(best)
            wanted.difference_update(pairs_of(best))
    return tuple(sorted(chosen, key=lambda cell: cell.name))


def _shuffled(cells: Sequence[Cell]) -> list[Cell]:
    """In an order in which neighbours differ: always the same one."""
    step = 7919  # a prime, and so no divisor of their number
    return [cells[index * step % len(cells)] for index in range(len(cells))]


async def run(cell: Cell, **options: Any) -> None:
    """Run the cell, in a node with these options. Raises AssertionError if the promise was not
    kept."""
    world: World
    failure: AssertionError | None = None
    async with a_world(cell.shape, cell.way, cell.promise.load, **options) as world:
        await world.run(THROUGH[cell.door])
        try:
            cell.promise.check(world, *cell.members[1:])
        except AssertionError as error:
            failure = error
    if failure is not None:
        raise failure  # out here it is in no group
