"""The basket of a task stream: the items whose outcomes have not been taken yet.

How it works. An item is in the basket from the start of its task until the consumer takes its
outcome. The items form a list, linked from item to item, in the order in which they will be handed
out. So noting that an item has finished allocates nothing, and cannot fail: it happens in the step
in which a task dies, where an error would have no one to go to.
"""

from __future__ import annotations

import math
from typing import Final, Generic, TypeVar

from ..behaviours.task import Task, TaskResult
from ..errors import TaskFailed, TaskTimeout
from ..reasons import Failure

__all__ = ["Basket", "Item"]

T = TypeVar("T")

TIMED_OUT: Final = Failure("timeout")


class Item(Generic[T]):
    """One item, from the start of its task until its outcome is taken."""

    __slots__ = ("deadline", "done", "index", "item", "later", "task", "timed_out")

    def __init__(self, item: object, index: int) -> None:
        self.item = item
        self.index = index
        self.task: Task[T] | None = None
        self.deadline = math.inf
        self.done = False
        """Has it an outcome? Its task may still run if it has timed out."""
        self.timed_out = False
        self.later: Item[T] | None = None
        """The item that is handed out after this one."""

    def outcome(self, seconds: float) -> TaskResult[T] | TaskFailed:
        """The outcome. It is made when the consumer takes it: what may raise here (a reason's
        ``str``) must not raise in the end of a task."""
        task = self.task
        assert task is not None
        if self.timed_out:
            return TaskTimeout(task.describe(), TIMED_OUT, seconds, item=self.item, index=self.index)
        outcome = task.outcome_of(self.item, self.index)
        assert outcome is not None
        return outcome


class Basket(Generic[T]):
    """The items that have not been taken: those that run, and those that wait for the consumer."""

    __slots__ = ("__weakref__", "count", "first", "last", "ordered")

    def __init__(self, ordered: bool) -> None:
        self.ordered = ordered
        self.count = 0
        """How many there are, whether or not they are in the list yet."""
        self.first: Item[T] | None = None
        self.last: Item[T] | None = None

    def begun(self, item: Item[T]) -> None:
        """The item's task has started."""
        self.count += 1
        if self.ordered:
            self._append(item)

    def finished(self, item: Item[T]) -> None:
        """The item has an outcome."""
        item.done = True
        if not self.ordered:
            self._append(item)

    def take(self) -> Item[T] | None:
        """The next item to hand out, if it has its outcome."""
        due = self.first
        if due is None or not due.done:
            return None
        self.first = due.later
        if self.first is None:
            self.last = None
        due.later = None
        self.count -= 1
        return due

    def clear(self) -> None:
        """Nobody will take them."""
        self.first = self.last = None
        self.count = 0

    def _append(self, item: Item[T]) -> None:
        if self.last is None:
            self.first = item
        else:
            self.last.later = item
        self.last = item
