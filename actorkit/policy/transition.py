"""State machines as tables: what can be read, checked and drawn.

A machine whose states have names lists its transitions in one table, a tuple of Transitions. Before
the machine goes anywhere it looks the step up there (``allows``), so the table is what the machine
does and not a picture of it. The state diagrams of the documentation are drawn from the tables.
"""

from __future__ import annotations

import enum

import attrs

__all__ = ["Transition", "allows"]


@attrs.frozen
class Transition:
    """One arrow of a state diagram."""

    source: enum.Enum
    target: enum.Enum
    when: str
    """What makes the machine take it, for people; some machines have several arrows between the same
    two states, and tell them apart by this."""


def allows(table: tuple[Transition, ...], source: enum.Enum, target: enum.Enum, when: str | None = None) -> bool:
    """Is there such an arrow? ``when`` None: whatever its reason."""
    return any(
        each.source is source and each.target is target and (when is None or each.when == when) for each in table
    )
