"""From the method that a sender names to the function that the receiver runs.

1. A message is a method that is decorated with ``@call`` or ``@cast``. The decorators mark the
   function and return it, so it can be called directly, in the class and in unit tests.
2. Dispatch is by *name*: the sender names ``Room.say``, and a ``LoudRoom`` runs its own ``say``. An
   override need not be decorated again.
3. What is not declared is refused at the sender, with NotAMessage: a slip of the pen must not crash
   a receiver.

``HandlerTable`` looks a method up once per class. After that, a message costs one dict lookup.

To add an option to the decorators, add a field to ``Declaration`` and an argument to ``call`` and
``cast``, and read it from ``declaration_of`` where it has effect.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any, Final, Literal, TypeVar, overload

import attrs

from ...errors import NotAMessage
from ...heap.clock import nobodys
from ..base.interrupts import interruptible
from .class_rules import check_message
from .ref import explain_on_refs

__all__ = ["Declaration", "HandlerTable", "call", "cast", "declaration_of", "is_synchronous", "refusal"]

F = TypeVar("F", bound=Callable[..., Any])

MARK: Final = "__actorkit_message__"


@attrs.frozen
class Declaration:
    """What a decorator says about a method."""

    kind: Literal["call", "cast"]
    #: May a message that waits be dropped under memory pressure?
    sheddable: bool = False


@overload
def call(method: F, /) -> F: ...
@overload
def call(*, sheddable: bool = False) -> Callable[[F], F]: ...
def call(method: F | None = None, /, *, sheddable: bool = False) -> F | Callable[[F], F]:
    """Declare a method that others may ``call`` (and ``cast``, when they do not want its answer).

    The method is synchronous or async. Its return value is the answer. Return an ``ak.Later`` to
    answer later, from elsewhere.

    Args:
        sheddable: under memory pressure, a call of this kind that waits in a mailbox may be given
            up, and its caller gets CallShed at once. Declare it for what a caller can do without,
            or can ask for again.

    Example::

        @ak.call
        def join(self, who: ak.Ref[Connection]) -> int: ...
    """
    declaration = Declaration("call", sheddable)
    if method is not None:
        return _mark(method, declaration, "@ak.call")
    return lambda function: _mark(function, declaration, "@ak.call(…)")


@overload
def cast(method: F, /) -> F: ...
@overload
def cast(*, sheddable: bool = False) -> Callable[[F], F]: ...
def cast(method: F | None = None, /, *, sheddable: bool = False) -> F | Callable[[F], F]:
    """Declare a method that others may ``cast``: a request without an answer.

    Args:
        sheddable: under memory pressure, a message of this kind may be dropped from a mailbox. It
            is counted, and goes to the dead letters. Declare it for what is repeated anyway, such
            as positions and ticks.

    Example::

        @ak.cast(sheddable=True)
        def moved_to(self, x: float, y: float) -> None: ...
    """
    declaration = Declaration("cast", sheddable)
    if method is not None:
        return _mark(method, declaration, "@ak.cast")
    return lambda function: _mark(function, declaration, "@ak.cast(…)")


def _mark(method: F, declaration: Declaration, decorator: str) -> F:
    plain: object = method
    if not isinstance(plain, FunctionType):
        raise TypeError(
            f"{decorator} decorates a plain method, and {method!r} is a {type(method).__name__}: messages go to the "
            "actor's object; leave out the other decorator"
        )
    before = plain.__dict__.get(MARK)
    wraps = "__wrapped__" in plain.__dict__  # functools.wraps has copied the mark of what it wraps
    if isinstance(before, Declaration) and before.kind != declaration.kind and not wraps:
        raise TypeError(
            f"{decorator} cannot declare {plain.__qualname__}: it is declared with @ak.{before.kind} already; leave "
            "one out (what is declared with @ak.call may be cast too)"
        )
    check_message(plain, decorator)
    explain_on_refs(plain.__name__)
    setattr(plain, MARK, declaration)
    return method


def declaration_of(cls: type, name: str) -> Declaration | None:
    """The declaration of the message ``name`` of ``cls``; an override has that of its base."""
    for base in cls.__mro__:
        declaration = getattr(base.__dict__.get(name), MARK, None)
        if isinstance(declaration, Declaration):
            return declaration
    return None


def is_synchronous(function: Callable[..., Any]) -> bool:
    return not inspect.iscoroutinefunction(inspect.unwrap(function))


class HandlerTable(dict[Any, Callable[..., Any]]):
    """From a declared method to the function that this class runs for it; filled at first use."""

    __slots__ = ("cls", "known", "misused", "sheddable")

    def __init__(self, cls: type) -> None:
        super().__init__()
        self.cls = cls
        #: The methods whose casts need no check (see ``runtime.life.sender_pays``). The hot path
        #: asks here first: looking up in an exact dict takes 16 ns less.
        self.known: dict[Any, Callable[..., Any]] = {}
        #: The functions whose messages may be dropped under memory pressure.
        self.sheddable: set[Callable[..., Any]] = set()
        #: The functions that were cast with arguments that do not fit.
        self.misused: set[Callable[..., Any]] = set()

    @nobodys
    def __missing__(self, method: Any) -> Callable[..., Any]:
        name = _name_in(self.cls, method)
        declaration = None if name is None else declaration_of(self.cls, name)
        if name is None or declaration is None:
            raise NotAMessage(refusal(self.cls, method)) from None
        function: Any = inspect.getattr_static(self.cls, name)
        if not inspect.isfunction(function):
            raise NotAMessage(f"{self.cls.__qualname__}.{name} overrides a message with a {type(function).__name__}")
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise NotAMessage(
                f"{self.cls.__qualname__}.{name} overrides a message with a generator (it has a `yield`), which nobody "
                "would step; return a list instead"
            )
        self[method] = interruptible(function)
        if declaration.sheddable:
            self.sheddable.add(function)
        return function

    def watch(self, function: Callable[..., Any]) -> None:
        """``function`` was cast with arguments that do not fit. From now on check its casts as they
        are sent, to know who sends them."""
        self.misused.add(function)
        for method in [method for method, known in self.known.items() if known is function]:
            del self.known[method]


class InlineTable(dict[Any, "Callable[..., Any] | None"]):
    """As HandlerTable, for calls: the function if it is synchronous, None if it must be queued."""

    __slots__ = ("handlers",)

    def __init__(self, handlers: HandlerTable) -> None:
        super().__init__()
        self.handlers = handlers

    @nobodys
    def __missing__(self, method: Any) -> Callable[..., Any] | None:
        function = self.handlers[method]
        name = _name_in(self.handlers.cls, method) or ""
        declaration = declaration_of(self.handlers.cls, name)
        if declaration is None or declaration.kind != "call":
            raise NotAMessage(
                f"{self.handlers.cls.__qualname__}.{name} is declared with @ak.cast, so it has no answer: "
                "cast it, or declare it with @ak.call"
            )
        self[method] = answer = function if is_synchronous(function) else None
        return answer


def _name_in(cls: type, method: Any) -> str | None:
    """The name under which ``cls`` or a base of it defines the function ``method``, if any does."""
    if not inspect.isfunction(method):
        return None
    name = method.__name__
    if any(base.__dict__.get(name) is method for base in cls.__mro__):
        return name
    for base in cls.__mro__:  # a decorator's wrapper may not have the name of what it wraps
        for name, value in base.__dict__.items():
            if value is method:
                return name
    return None


def refusal(cls: type, method: Any) -> str:
    """Why ``method`` cannot be sent to an actor of class ``cls``, and what to do instead."""
    where = f"an actor of class {cls.__qualname__}"
    if inspect.ismethod(method):
        owner = type(method.__self__).__qualname__
        return (
            f"cannot send the bound method {owner}.{method.__name__} to {where}: it belongs to one instance; "
            f"name the class's function instead ({owner}.{method.__name__} without an instance)"
        )
    if isinstance(method, str):
        named = f"{cls.__qualname__}.{method}" if method.isidentifier() else f"{cls.__qualname__}.method"
        return f"cannot send {method!r:.100} to {where}: give the method itself, {named}, and not its name"
    if inspect.iscoroutine(method):
        method.close()
        return (
            f"cannot send {method.__qualname__}(…) to {where}: it was called here already; give the method and its "
            f"arguments apart: call({method.__qualname__}, …)"
        )
    name = getattr(method, "__qualname__", None) or repr(method)
    if getattr(method, MARK, None) is not None:
        return (
            f"cannot send {name} to {where}: it is a message of another class; "
            f"name the method of {cls.__qualname__} or of its bases"
        )
    return (
        f"cannot send {name} to {where}: it is not one of its declared messages; "
        "decorate the method with @ak.call or @ak.cast, or use send()"
    )
