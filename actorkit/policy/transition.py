"""State machines as tables: what can be read, checked and drawn.

A machine whose states have names lists its transitions in one table, a tuple of Transitions. Before
the machine goes anywhere it looks the step up there (``allows``), so the table is what the machine
does and not a picture of it. The state diagrams of the documentation are drawn from the tables.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import attrs

__all__ = ["State", "Transition", "allows", "leads"]

State = enum.Enum | str


@attrs.frozen
class Transition:
    """One arrow of a state diagram."""

    source: State
    target: State
    when: str
    """What makes the machine take it, for people; some machines have several arrows between the
    same two states, and tell them apart by this."""


def allows(table: tuple[Transition, ...], source: State, target: State, when: str | None = None) -> bool:
    """Is there such an arrow? ``when`` None: whatever its reason."""
    return any(
        each.source == source and each.target == target and (when is None or each.when == when) for each in table
    )


def leads(table: tuple[Transition, ...]) -> Mapping[tuple[State, str], State]:
    """Where each reason leads from each state, for a machine in which that is always one state."""
    found = {(each.source, each.when): each.target for each in table}
    assert len(found) == len(table), "a reason leads to two states"
    return found
