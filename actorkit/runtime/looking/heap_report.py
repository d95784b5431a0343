"""What one actor's heap consists of: types and paths, for people. ``process_info`` has the sums."""

from __future__ import annotations

from typing import Any

from ...heap import clock
from ...heap.explain import Explanation, explain
from ..actor.record import Record
from ..budgets.holdings import roots_of

__all__ = ["heap_explain"]


def heap_explain(record: Record[Any]) -> Explanation | None:
    """None when it is dead."""
    if not record.alive:
        return None
    roots = roots_of(record)
    names = [_name(record, root) for root in roots]
    account = record.account if clock.COUNTS_ALLOCATIONS else None
    return explain(roots, record.message_queues(), names=names, account=account)


def _name(record: Record[Any], root: Any) -> str:
    """How paths from a root begin. Those of the actor's own state begin with the attribute."""
    if root is record.obj:
        return ""
    if root is record.variables:
        return "<context variables>"
    if record.control is not None and root is record.control.continuations:
        return "<continuations>"
    return f"<in {getattr(root, '__qualname__', 'its code')}>"
