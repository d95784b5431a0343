"""How an ordinary program fares under a budget."""

from __future__ import annotations

from typing import Any

import attrs

import actorkit as ak
from actorkit.heap import walk
from bench.ordinary import Program, Runner

__all__ = ["DOORS", "Course", "course_of"]

DOORS = (Runner.inline, Runner.in_a_message, Runner.between_awaits, Runner.in_a_constructor, Runner.in_a_key)
SWEEP_AFTER = 7
"""Messages; no multiple of the number of doors."""


@attrs.frozen
class Course:
    """How it went."""

    allocated: int
    """Bytes, gross."""
    first_passes: int
    own_passes: int


async def course_of(
    program: type[Program], *, doors: Any = DOORS, limit: int | None = None, rounds: int = 1, sweeps: bool = True
) -> Course:
    """Run it in an actor with a budget, a message at a time, through the doors in turn. Raises
    CalleeDied if the actor does."""
    passes = walk.passes_made()
    async with ak.open_node() as node:
        ref = node.spawn(ak.child(Runner, program).with_(max_heap_size=limit or program.LIMIT))
        await ref.call(Runner.done)
        (budget,) = node.engine.budgets.all.values()
        for number in range(program.STEPS * rounds):
            door = doors[number % len(doors)]
            if door is Runner.in_a_message:
                ref.cast(door, number)
                await ref.call(Runner.done)
            else:
                await ref.call(door, number)
            if sweeps and number % SWEEP_AFTER == 0:
                await node.engine.budgets.look_at_all()
        first, own = walk.passes_made()
        return Course(budget.account.total, first - passes[0], own - passes[1])
