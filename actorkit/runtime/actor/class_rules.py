"""What an actor's class may not do. It is refused when the class is defined: in the author's stack,
before anything runs.

Each of these would fail later, elsewhere and in other words. An async ``__init__`` never runs. A
generator handler answers with a generator that nobody steps. The runtime would run a message called
``init`` as a callback. An actor that assigns ``self.ctx`` loses its own view of itself.

The rules look at the functions of the class, and at their code. That costs its actors nothing. A
class that gets functions later, such as a dataclass, is checked again at its first spawn.
"""

from __future__ import annotations

import inspect
from types import FunctionType
from typing import Any, Final
from weakref import WeakSet

from ...heap.interpreter.instructions import line_that_assigns

__all__ = ["CALLBACKS", "check_class", "check_definition", "check_message"]

CALLBACKS: Final = ("init", "handle_info", "terminate", "format_status")
"""What the runtime calls by itself. None of these can be a message."""

_MARK: Final = "__actorkit_message__"
_checked: WeakSet[type] = WeakSet()


def check_message(function: FunctionType, decorator: str) -> None:
    """Raise TypeError for a function that cannot be a message."""
    where = function.__qualname__
    if function.__name__ in CALLBACKS:
        raise TypeError(
            f"{decorator} cannot declare {where}: the runtime calls {function.__name__} itself; "
            "give the message another name, or leave the decorator out"
        )
    if function.__name__ == "__init__":
        raise TypeError(f"{decorator} cannot declare {where}: a constructor is no message; give its arguments to spawn")
    _no_generator(function, f"{decorator} cannot declare {where}")


def check_definition(cls: type) -> None:
    """Raise TypeError for a class that cannot be an actor's, by what it defines itself."""
    for name, value in list(vars(cls).items()):
        _check_attribute(cls, name, value)


def check_class(cls: type, base: type) -> None:
    """The same when the first actor of a class is made: look at all that it has by then, or
    inherits. The rules begin below ``base``."""
    if cls in _checked:
        return
    for klass in cls.__mro__:
        if klass is not base and klass is not object and klass not in _checked:
            check_definition(klass)
    _checked.add(cls)


def _check_attribute(cls: type, name: str, value: Any) -> None:
    where = f"{cls.__qualname__}.{name}"
    if name == "ctx" and not getattr(cls, "_is_protocol", False):
        raise TypeError(
            f"{cls.__qualname__} cannot have a ctx of its own: self.ctx is the actor's Context, set by the runtime; "
            "choose another name"
        )
    if isinstance(value, FunctionType):
        if name == "__init__" and inspect.iscoroutinefunction(value):
            raise TypeError(
                f"{where} cannot be async: Python would never run it; do the awaiting in `async def init(self)`, which "
                "is the actor's first message"
            )
        if name == "format_status" and inspect.iscoroutinefunction(value):
            raise TypeError(f"{where} cannot be async: reports call it in the middle of an end; make it a plain method")
        called = (*CALLBACKS, *getattr(cls, "callbacks_of_its_kind", ()))
        if name == "__init__" or name in called:
            _no_generator(value, f"{where} cannot be an actor's")
        if name in called and hasattr(value, _MARK):
            raise TypeError(f"{where} cannot be a message: the runtime calls it itself; give the message another name")
        _no_context_of_its_own(value, where)
        return
    inner = value.fget if isinstance(value, property) else getattr(value, "__func__", None)
    if isinstance(value, (staticmethod, classmethod, property)) and hasattr(inner, _MARK):
        raise TypeError(
            f"{where} cannot be a message: it is a {type(value).__name__}, and messages are plain methods; leave out "
            "either decorator"
        )


def _no_generator(function: FunctionType, cannot: str) -> None:
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(
            f"{cannot}: it has a `yield`, so it is a generator, which nobody would step; leave out the `yield`: "
            "return a list, or send the items one by one (in steps: self.ctx.continue_with)"
        )


def _no_context_of_its_own(function: FunctionType, where: str) -> None:
    """Raise TypeError if the function assigns ``self.ctx``."""
    code = function.__code__
    line = line_that_assigns(code, "ctx")
    if line is not None:
        raise TypeError(
            f"{where} cannot assign self.ctx ({code.co_filename}:{line}): it is the actor's Context, set by "
            "the runtime; keep what you have in another attribute"
        )
