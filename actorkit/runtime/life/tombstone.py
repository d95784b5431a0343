"""What is left of an actor's object after its death.

Its state is cleared, so it is free at once even if somebody still holds the object or a bound
method of it. The object's class is changed to a subclass on which every attribute raises ActorDead,
with the actor's name. Where a metaclass forbids such a subclass, the state is only cleared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...errors import ActorDead
from ...heap.clock import nobodys

if TYPE_CHECKING:
    from ..actor.record import RecordKind

__all__ = ["clear_state"]

_context_of = object.__getattribute__


def _dead(self: Any, name: str, *_: object) -> Any:
    if name == "__class__" and not _:
        return type(self)  # isinstance asks
    try:
        who = _context_of(self, "ctx").describe()
    except AttributeError:
        who = type(self).__qualname__
    raise ActorDead(
        f"{name!r} was used of an actor that has ended: {who}; a bound method or an instance outlived it: keep its ref "
        "(self.ctx.ref) and send to that"
    )


def _repr(self: Any) -> str:
    try:
        return f"<{type(self).__qualname__} that was {_context_of(self, 'ctx').describe()}>"
    except AttributeError:
        return f"<{type(self).__qualname__} that never was>"


@nobodys
def _tombstone(kind: RecordKind) -> type:
    cls = kind.cls
    try:
        made: type = type(cls)(
            cls.__name__,
            (cls,),
            {
                "__slots__": (),
                "__getattribute__": _dead,
                "__setattr__": _dead,
                "__delattr__": _dead,
                "__repr__": _repr,
                "__del__": _no_finalizer,
                "__module__": cls.__module__,
                "__qualname__": cls.__qualname__,
            },
        )
    except BaseException:  # a metaclass may raise anything
        made = cls
    kind.tombstone = made
    return made


def _no_finalizer(self: Any) -> None:
    """In the place of the class's own ``__del__``, which would find its state gone."""


def clear_state(obj: Any, kind: RecordKind) -> None:
    """Clear all that ``obj`` holds but its ``ctx``, and change its class."""
    for name in kind.slot_names:
        try:
            object.__delattr__(obj, name)
        except AttributeError:
            pass
    try:
        state = object.__getattribute__(obj, "__dict__")
    except AttributeError:
        pass
    else:
        state.clear()
    tombstone = kind.tombstone or _tombstone(kind)
    if tombstone is not kind.cls:
        try:
            object.__setattr__(obj, "__class__", tombstone)
        except TypeError:
            kind.tombstone = kind.cls
