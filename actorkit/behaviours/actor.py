"""Actor: the class that people subclass, and ``child``, its spec."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from types import FunctionType
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, Self, TypeVar, overload

from ..errors import InvalidChildSpec
from ..policy.supervision.child_spec import ChildSpec, ChildSpecChanges
from ..reasons import ExitReason
from ..runtime.actor.actor_base import ActorBase
from ..runtime.life.process import Process
from ..runtime.node import ProcessContext

if TYPE_CHECKING:
    from ..runtime.node import Context

__all__ = ["Actor", "child"]

A = TypeVar("A")
P = ParamSpec("P")


class Actor(ActorBase):
    """State, a mailbox, no locks. While it is idle it costs no task.

    Subclass it, keep state in attributes, and declare messages with ``@ak.call`` and ``@ak.cast``.
    One message is handled at a time, so handlers need no locks. An async handler may await whatever
    trio offers; no other message is handled meanwhile. A handler that raises ends the actor, and
    its supervisor decides what happens then.

    Use it for state that others talk to. Code that lives in awaits (a script of steps, a stream) is
    simpler as a *process*: an async function given to ``node.spawn`` or ``ak.child``. Something
    with neither state nor messages needs no actor.

    The constructor needs no ``super().__init__()``; attrs, dataclasses, generics, ``__slots__`` and
    inheritance work. One attribute is reserved: ``ctx``, this actor's ``Context``. It is there in
    the constructor, too.

    All callbacks may be plain or async. They are those of OTP's gen_server:

    ``init()``
        The first message. It may await, within the spec's ``init_timeout`` (seconds). Returns None;
        or ``ak.IGNORE``: this actor is not needed; or ``ak.Stop(reason)``. A supervisor starts its
        next child when it has returned.
    ``handle_info(message)``
        Gets whatever comes by ``send``, and timers, ``Down`` and trapped ``Exit``. By default such
        a message is logged and dropped.
    ``terminate(reason)``
        Called when the actor stops or crashes, and, if it traps exits, when its parent shuts it
        down. Not when it is killed, nor when an exit signal ends it that it does not trap.
    ``format_status()``
        What reports and ``ak.sys`` show as its state. Shorten or hide things here; whatever it
        returns is cut to a bounded size.
    ``trap_exit``
        A class attribute. True: exit signals come as ``ak.Exit`` messages.

    Example::

        class Counter(ak.Actor):
            def __init__(self) -> None:
                self.count = 0

            @ak.call
            def add(self, n: int) -> int:
                self.count += n
                return self.count

        async with ak.open_node() as node:
            counter = node.spawn(Counter)
            assert await counter.call(Counter.add, 2) == 2
    """

    __slots__ = ()

    if TYPE_CHECKING:
        ctx: Context[Self]

        def init(self) -> Any: ...
        def handle_info(self, message: Any) -> Any: ...
        def terminate(self, reason: ExitReason) -> Any: ...
        def format_status(self) -> object: ...


@overload
def child(
    start: Callable[Concatenate[ProcessContext, P], Coroutine[Any, Any, object]], /, *args: P.args, **kwargs: P.kwargs
) -> ChildSpec[Process]: ...
@overload
def child(start: Callable[P, A], /, *args: P.args, **kwargs: P.kwargs) -> ChildSpec[A]: ...
def child(start: Any, /, *args: Any, **kwargs: Any) -> ChildSpec[Any]:
    """A child spec: what to start, and with which arguments.

    Args:
        start: an actor's class; or an async function, whose first argument is its
            ``ProcessContext`` (a process); or a function that returns an actor.
        args, kwargs: what it is called with. Options (``name``, ``restart``, ``mailbox``, …) are
            not among them: they are given by ``.with_(…)``, see ``ChildSpec``.

    Raises InvalidChildSpec at once, for what could never start; the fault of whoever wrote it.

    Example::

        ak.child(Room, "lobby").with_(name="lobby", restart="transient")
    """
    spec: ChildSpec[Any] = ChildSpec(start, args=args, kwargs=kwargs)
    origin = getattr(start, "__origin__", start)
    if isinstance(origin, type) and not issubclass(origin, ActorBase):
        raise InvalidChildSpec(
            "start",
            start,
            "not an actor class",
            "subclass ak.Actor, or give an async function or one that returns an actor",
        )
    options = [name for name in kwargs if name in OPTIONS and not _takes(origin, name)]
    if options:
        name = options[0]
        label = getattr(origin, "__qualname__", "it")
        raise InvalidChildSpec(
            "kwargs",
            dict(kwargs),
            f"{name} is an option of the spec, and {label} takes no such argument",
            f"give ak.child({label}, …).with_({name}=…)",
        )
    return spec


OPTIONS: Final = frozenset(ChildSpecChanges.__annotations__) - {"start", "args", "kwargs"}


def _takes(start: Any, name: str) -> bool:
    """May ``start`` be given an argument of that name? True if that cannot be known."""
    function = start
    if isinstance(start, type):
        new: Any = start.__new__
        if new is not object.__new__:
            return True
        function = inspect.getattr_static(start, "__init__")
    if function is object.__init__:
        return False
    if not isinstance(function, FunctionType):
        return True
    code = function.__code__
    last = code.co_argcount + code.co_kwonlyargcount
    return name in code.co_varnames[code.co_posonlyargcount : last] or bool(code.co_flags & inspect.CO_VARKEYWORDS)
