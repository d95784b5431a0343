"""ActorKind: what all actors of one kind on one node share, so that each actor's own record stays small.

One is made per class and set of options, at the first spawn. It binds the kind to a scheduler (its run queue, by
scheduling priority), resolves its callbacks once, and carries the door for whoever owns its actors: a supervisor is
told of every exit through ``owner`` without a link record for each child.
"""

from __future__ import annotations

import inspect
import math
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, Protocol

from ...policy.memory.heap_limit import HeapLimit
from ...policy.memory.memory_sample import Priority
from ...reasons import ExitReason
from ..base.interrupts import interruptible
from .class_rules import check_class
from .dispatch import HandlerTable, InlineTable
from .fitting import checked_cast

if TYPE_CHECKING:
    from ...policy.memory.footprint_samples import Samples
    from ..life.scheduler import Scheduler
    from .record import Record

__all__ = ["Overflow", "Owner", "ActorKind"]

Overflow = Literal["reject", "wait", "drop_oldest", "drop_newest"]

ORDINARY_NEW: Any = object.__new__
ORDINARY_SETATTR: Any = object.__setattr__


class Owner(Protocol):
    """Whoever must hear of the exit of every actor of a kind, before its links and monitors do."""

    def child_exited(self, record: Record[Any], reason: ExitReason) -> None: ...

    def companions(self, record: Record[Any]) -> list[Record[Any]]:
        """Whom it ends when this actor ends abnormally."""
        ...


class ActorKind:
    """See the module's docstring. Plain slots: it is read on every message."""

    __slots__ = (
        "bound",
        "call_timeout",
        "child_id",
        "cls",
        "construct",
        "footprint",
        "handlers",
        "info",
        "init",
        "init_timeout",
        "inline",
        "known",
        "label",
        "limit",
        "memory_priority",
        "memory_quota",
        "name",
        "new",
        "options",
        "overflow",
        "owner",
        "plain",
        "priority",
        "process",
        "role",
        "runner",
        "runq",
        "scheduler",
        "slot_names",
        "terminate",
        "tombstone",
        "traps_exits",
        "watched",
    )

    def __init__(
        self,
        scheduler: Scheduler,
        cls: type,
        *,
        base: type,
        bound: float = 1024,
        overflow: Overflow = "reject",
        priority: int = 2,
        name: str | None = None,
        owner: Owner | None = None,
        child_id: object = None,
        init_timeout: float = 5.0,
        kind: Literal["worker", "supervisor"] = "worker",
        options: Any = None,
        limit: HeapLimit | None = None,
        memory_priority: Priority = Priority.NORMAL,
        memory_quota: int | None = None,
        footprint: Samples | None = None,
    ) -> None:
        check_class(cls, base)  # what was made after the class: by a dataclass, by hand
        self.scheduler = scheduler
        self.cls = cls
        self.runq: deque[Record[Any]] = scheduler.queues[priority]
        self.priority = priority
        self.bound = bound
        self.overflow: Overflow = overflow
        self.name = name
        self.owner = owner
        self.child_id = cls.__qualname__ if child_id is None else child_id
        self.init_timeout = init_timeout
        self.call_timeout = 5.0
        self.role: Literal["worker", "supervisor"] = kind
        self.options = options
        self.limit = limit
        self.memory_priority = memory_priority
        self.memory_quota = memory_quota
        self.footprint = footprint
        self.process = False
        self.runner = scheduler.runner
        self.watched = scheduler.features.cancel_status
        """Is it seen what an inline handler leaves open in its caller's task?"""
        self.label = cls.__qualname__
        self.tombstone: type | None = None
        self.handlers = HandlerTable(cls)
        self.known = self.handlers.known
        self.inline = InlineTable(self.handlers)
        self.info: Callable[..., Any] = interruptible(_own(cls, "handle_info"))
        self.init = _overridden(cls, base, "init")
        self.terminate = _overridden(cls, base, "terminate")
        self.traps_exits = bool(getattr(cls, "trap_exit", False))
        self.new: Callable[..., Any] = interruptible(cls.__new__)
        self.construct: Callable[..., Any] = interruptible(_own(cls, "__init__"))
        self.plain = (
            self.init is None
            and limit is None
            and name is None
            and owner is None
            and self.new is ORDINARY_NEW
            and cls.__setattr__ is ORDINARY_SETATTR
        )
        self.slot_names = tuple(
            name
            for klass in cls.__mro__
            if klass is not object
            for name in _as_names(klass.__dict__.get("__slots__", ()), klass)
            if name not in ("ctx", "__weakref__", "__dict__")
        )

    def __repr__(self) -> str:
        return f"<kind {self.cls.__qualname__} bound={self.bound:g} overflow={self.overflow}>"

    def checked_cast(self, method: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """See ``fitting.checked_cast``."""
        return checked_cast(self, method, args, kwargs)

    @property
    def unbounded(self) -> bool:
        return self.bound == math.inf


def _own(cls: type, name: str) -> Any:
    return inspect.getattr_static(cls, name)


def _overridden(cls: type, base: type, name: str) -> Callable[..., Any] | None:
    """The callback ``name`` of ``cls``, or None when it is the base's empty one: then it costs nothing."""
    function = _own(cls, name)
    return None if function is base.__dict__.get(name) else interruptible(function)


def _as_names(slots: Any, cls: type) -> tuple[str, ...]:
    names = (slots,) if isinstance(slots, str) else tuple(slots)
    return tuple(
        f"_{cls.__name__.lstrip('_')}{name}" if name.startswith("__") and not name.endswith("__") else name
        for name in names
    )
