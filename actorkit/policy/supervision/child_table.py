"""What a static supervisor remembers of its children: one record each, in start order.

A record outlives the child's lives, and changes with them. Its ``state`` follows the table
``CHILD_TRANSITIONS``. A child that has ended while the machine was busy with others is still
``running``, with its end in ``exited``, until the machine comes to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs

from ...errors import BadKey, InvalidChildSpec
from ..key_table import KeyTable, Slot
from .backoff import BackoffState
from .child_spec import ChildSpec
from .supervision_events import ChildCounts, ChildExited, ChildInfo
from .supervision_states import ChildState, ChildStep, next_state

__all__ = ["Child", "ChildTable"]


@attrs.define(eq=False)
class Child:
    """One child of a static supervisor."""

    #: How it is started and treated; the same for all of its lives.
    spec: ChildSpec[Any]
    #: Its place in ``CHILD_TRANSITIONS``.
    state: ChildState = "undefined"
    #: Its present life; 0 if there is none.
    instance: int = 0
    #: What the shell knows its present life by, once that runs.
    ref: object = None
    #: When its present life began to run.
    since: float = 0.0
    #: The end of its present life, if that is known but not dealt with.
    exited: ChildExited | None = None
    #: Whether this life has been killed for not stopping in time. That is done once.
    killed: bool = False
    #: Its pending restart; 0 if there is none.
    ticket: int = 0
    #: Whether the shell knows of that restart.
    scheduled: bool = False
    #: Whether it is kept only because it cannot be killed.
    dropped: bool = False
    #: Its present row of failures; None if its spec has no backoff.
    backoff: BackoffState | None = None

    def __attrs_post_init__(self) -> None:
        self.forget_failures()

    def take(self, step: ChildStep) -> None:
        """Go to the state that ``step`` leads to. Raises KeyError where it leads nowhere."""
        self.state = next_state(self.state, step)

    def forget_failures(self) -> None:
        """Begin a new row of failures: somebody has taken the child in hand."""
        self.backoff = None if self.spec.backoff is None else BackoffState(self.spec.backoff)

    def end_life(self) -> None:
        """The present life is over."""
        self.take("ended")
        self.instance = 0
        self.ref = None
        self.exited = None
        self.killed = False

    def validate(self) -> None:
        """For tests: raise AssertionError if what is known of it contradicts itself."""
        alive = self.state in ("starting", "running", "stopping", "unkillable")
        assert bool(self.instance) == alive, self
        assert (self.ref is not None) == (self.state in ("running", "stopping")) or self.state == "unkillable", self
        assert self.exited is None or self.state == "running", self
        assert not self.killed or self.state in ("stopping", "unkillable"), self
        assert not self.ticket or self.state == "restarting", self
        assert not self.scheduled or self.ticket, self
        assert not self.dropped or self.state == "unkillable", self
        assert (self.backoff is None) == (self.spec.backoff is None), self

    def info(self) -> ChildInfo:
        """The child as ``which_children`` shows it: without a ref that is known to be dead."""
        dead = self.exited is not None
        return ChildInfo(
            self.spec.id,
            None if dead else self.ref,
            "undefined" if dead else self.state,
            self.spec.kind,
            self.spec.restart,
        )


class _Row(Slot):
    """A child at its id."""

    __slots__ = ("child",)

    def __init__(self, child: Child) -> None:
        self.child = child

    def holder(self) -> str:
        return f"another child ({self.child.state})"


class ChildTable:
    """The children of a static supervisor, by id and in start order. An id's own code runs where it
    is looked up, and nowhere else: a child can be removed whatever its id has become."""

    __slots__ = ("_ids", "_rows")

    def __init__(self) -> None:
        self._ids: KeyTable[_Row] = KeyTable(exactly=False)
        self._rows: dict[Child, _Row] = {}

    def add(self, spec: ChildSpec[Any]) -> Child:
        """Add a child at the end."""
        child = Child(spec)
        try:
            place = self._ids.locate(spec.id)
        except (BadKey, TypeError):  # it could be hashed when its spec was made; now nobody can ask for it
            place = self._ids.nowhere(spec.id)
        self._rows[child] = self._ids.put(place, _Row(child))
        return child

    def check_id(self, child_id: object) -> None:
        """Raise InvalidChildSpec for an id that cannot be compared with those that are there."""
        try:
            self._ids.locate(child_id)
        except (BadKey, TypeError) as error:
            why, remedy = str(error), "give a string, a number or a tuple of those"
            raise InvalidChildSpec("id", child_id, why, remedy) from None

    def get(self, child_id: object) -> Child | None:
        """The child with that id; None for what cannot be an id, or whose own code raises, too."""
        try:
            row = self._ids.find(child_id)
        except (BadKey, TypeError):
            return None
        return None if row is None else row.child

    def remove(self, child: Child) -> None:
        """Forget ``child``, if it is there."""
        row = self._rows.pop(child, None)
        if row is not None:
            self._ids.drop(row)

    def in_order(self) -> list[Child]:
        """All children, in start order; a list of its own."""
        return list(self._rows)

    def __iter__(self) -> Iterator[Child]:
        return iter(self._rows)

    def __contains__(self, child: Child) -> bool:
        return child in self._rows

    def infos(self) -> tuple[ChildInfo, ...]:
        """The answer to WhichChildren."""
        return tuple(child.info() for child in self)

    def counts(self) -> ChildCounts:
        """The answer to CountChildren."""
        supervisors = sum(child.spec.kind == "supervisor" for child in self)
        active = sum(child.ref is not None and child.exited is None for child in self)
        return ChildCounts(len(self._rows), active, supervisors, len(self._rows) - supervisors)
