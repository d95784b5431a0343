"""ActorKind: what all actors of one kind on one node share, so that their records stay small.

A kind is made for a class and a set of options. It holds the run queue of its actors, which depends
on their scheduling priority, and the callbacks of the class, looked up once. It also knows who owns
its actors: a supervisor hears of every exit through ``owner``, without a link record for each
child.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, Protocol

from ...errors import NotAMessage
from ...heap.clock import nobodys
from ...policy.memory.footprint_samples import Samples
from ...policy.memory.heap_limit import HeapLimit
from ...policy.supervision.actor_options import SCHEDULING, ActorOptions, Kind, Overflow
from ...reasons import ExitReason
from ..base.interrupts import interruptible
from .class_rules import check_class
from .dispatch import HandlerTable, InlineTable, refusal
from .engine import Engine, R
from .fitting import fits, sender_now

__all__ = ["ActorKind", "Owner"]

ORDINARY_NEW: Any = object.__new__
ORDINARY_SETATTR: Any = object.__setattr__


class Owner(Protocol[R]):
    """Whoever must hear of the exit of every actor of a kind, before its links and monitors do.
    ``R`` is the record of an actor."""

    def child_exited(self, record: R, reason: ExitReason) -> None:
        """This actor has ended."""

    def companions(self, record: R) -> list[R]:
        """The actors that the owner ends when this one ends abnormally."""
        ...


class ActorKind(Generic[R]):
    """See the module's docstring. Plain slots: it is read on every message."""

    __slots__ = (
        "bound",
        "child_id",
        "cls",
        "construct",
        "engine",
        "footprint",
        "handlers",
        "info",
        "init",
        "inline",
        "known",
        "label",
        "limit",
        "name",
        "new",
        "options",
        "overflow",
        "owner",
        "plain",
        "process",
        "record_class",
        "role",
        "runner",
        "runq",
        "slot_names",
        "terminate",
        "tombstone",
        "traps_exits",
        "watched",
    )

    def __init__(
        self,
        engine: Engine[R],
        cls: type,
        options: ActorOptions,
        *,
        base: type,
        owner: Owner[R] | None = None,
        limit: HeapLimit | None = None,
        footprint: Samples | None = None,
    ) -> None:
        check_class(cls, base)  # a dataclass, or the user's hand, may have added functions later
        #: All that the spec says about its running actors. What is read often has its own slot.
        self.options = options
        self.bound = options.mailbox
        self.overflow: Overflow = options.overflow
        self.name = options.name
        self.child_id = options.id
        self.role: Kind = options.kind
        self.runq: deque[R] = engine.queues[SCHEDULING.index(options.scheduling)]
        self.engine = engine
        self.runner = engine.runner
        #: Does the runtime see what an inline handler leaves open in its caller's task?
        self.watched = engine.features.cancel_status
        self.owner = owner
        #: ``options.max_heap_size``, with the node's default and all knobs filled in.
        self.limit = limit
        #: Where samples of the actors' sizes go; None: nobody learns from them.
        self.footprint = footprint
        self.cls = cls
        #: The class of their records. Whoever makes the kind sets it: it is of a higher layer.
        self.record_class: type[R]
        #: Are they processes? A process has no declared messages.
        self.process = False
        #: What they are called in messages to people.
        self.label = cls.__qualname__
        #: The class that their objects get when they are dead; made at the first death.
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
        #: May ``spawn_plain`` start them?
        self.plain = (
            self.init is None
            and limit is None
            and self.name is None
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

    @nobodys
    def checked_cast(self, method: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The function for the first cast of a method, or for any cast of a method that was once
        sent wrongly. If the arguments do not fit, the function carries the sender; the receiver
        finds out in its turn. Raises NotAMessage."""
        try:
            hash(method)
        except TypeError:
            raise NotAMessage(refusal(self.cls, method)) from None
        function = self.handlers[method]
        layer: Any = function
        while layer is not None:
            if not fits(layer, len(args) + 1, kwargs):
                signed = partial(function)
                signed.sender = sender_now(self.engine.current)  # type: ignore[attr-defined]
                return signed
            layer = getattr(layer, "__wrapped__", None)
        if function not in self.handlers.misused:
            self.known[method] = function
        return function


def _own(cls: type, name: str) -> Any:
    return inspect.getattr_static(cls, name)


def _overridden(cls: type, base: type, name: str) -> Callable[..., Any] | None:
    """The callback ``name`` of ``cls``; None if it is the empty one of ``base``."""
    function = _own(cls, name)
    return None if function is base.__dict__.get(name) else interruptible(function)


def _as_names(slots: Any, cls: type) -> tuple[str, ...]:
    names = (slots,) if isinstance(slots, str) else tuple(slots)
    return tuple(
        f"_{cls.__name__.lstrip('_')}{name}" if name.startswith("__") and not name.endswith("__") else name
        for name in names
    )
