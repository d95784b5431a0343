"""Ref: the address of an actor. What everybody but the actor itself holds.

A ref is all that one actor knows of another. Sending to it never raises for the receiver's state,
and a ref that outlives its actor is harmless.

**What stands behind it.** ``Ref`` says what an address offers: to users, the methods up to
``alive``; to the runtime, those under "for the runtime". A new kind of address (an actor on another
node, a record in C) implements these, and nothing else in the package has to know it. There are
three kinds today. ``record.Record`` is the actor itself: one life of one actor on a node of this
process. ``names.NamedRef`` is whoever holds a name at the moment of each send. ``names.ServiceRef``
is whoever a registered service leads to: a registry's key, a partition. Nobody asks of which kind a
ref is. Whoever needs the record behind one asks ``resolve_on(engine)``.

**How calls are typed**, without plugin or proxy: the method is given as the class's function,
``ref.call(Room.join, who)``. ``ParamSpec`` checks the arguments, and the result has the method's
type.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from keyword import iskeyword
from typing import TYPE_CHECKING, Any, Concatenate, Final, Generic, ParamSpec, Self, TypeVar, overload

from ...policy.seconds import as_seconds
from ...reasons import ExitReason, shown
from ..base.timers import Timer
from .later import Later
from .pid import Pid

__all__ = ["BoundedCall", "Ref", "explain_on_refs"]

A_co = TypeVar("A_co", covariant=True)
R = TypeVar("R")
P = ParamSpec("P")


class Callee(Generic[A_co]):
    """What can be called: a ref, or a ref with a deadline of its own (``ref.within(2)``)."""

    __slots__ = ()

    if TYPE_CHECKING:

        @overload
        def call(
            self,
            method: Callable[Concatenate[A_co, P], Coroutine[Any, Any, Later[R]]],
            /,
            *args: P.args,
            **kwargs: P.kwargs,
        ) -> Coroutine[Any, Any, R]: ...
        @overload
        def call(
            self,
            method: Callable[Concatenate[A_co, P], Coroutine[Any, Any, R]],
            /,
            *args: P.args,
            **kwargs: P.kwargs,
        ) -> Coroutine[Any, Any, R]: ...
        @overload
        def call(
            self, method: Callable[Concatenate[A_co, P], Later[R]], /, *args: P.args, **kwargs: P.kwargs
        ) -> Coroutine[Any, Any, R]: ...
        @overload
        def call(
            self, method: Callable[Concatenate[A_co, P], R], /, *args: P.args, **kwargs: P.kwargs
        ) -> Coroutine[Any, Any, R]: ...
        def call(self, method: Any, /, *args: Any, **kwargs: Any) -> Any:
            """Send a request and wait for its answer; the result has the method's type.

            Use it when the answer is needed, or to slow down to the receiver's pace. Use ``cast``
            when not. A call to an idle actor whose method is synchronous runs at once, in the
            caller's task, with the callee's crash contained in the callee.

            Raises:
                CalleeDied: the callee was dead, or died before it answered (at once, never a hang).
                CallTimeout: no answer within the deadline: 5 s unless ``within`` says otherwise.
                CallCycle: the callee waits for the caller.
                MailboxFull: the mailbox is full and its policy is not ``wait``.
                NotAMessage: the method is not declared with ``@ak.call`` (the caller's fault).

            Source: gen_server:call/3.

            Example::

                members = await room.call(Room.join, self.ctx.ref)      # -> int
            """


class BoundedCall(Callee[A_co]):
    """``ref.within(seconds)``: calls with a deadline of their own."""

    __slots__ = ("_ref", "_seconds")

    def __init__(self, ref: Ref[A_co], seconds: float) -> None:
        self._ref = ref
        self._seconds = as_seconds(seconds, "within")

    if not TYPE_CHECKING:

        def call(self, method, /, *args, **kwargs):
            return self._ref._call_within(self._seconds, method, args, kwargs)


class Ref(Callee[A_co]):
    """The address of an actor; see the module's docstring. Compared by identity, plain to keep. A
    copy of a ref, shallow or deep, is the ref itself."""

    __slots__ = ()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    # --- messages -----------------------------------------------------------------------------

    def cast(self, method: Callable[Concatenate[A_co, P], object], /, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Send a request without waiting for anything. Never blocks, never raises for the
        receiver's state.

        Returns whether the message was accepted. What was not (receiver dead, mailbox full) is
        counted and goes to the dead letters. A receiver that drops by choice (``overflow``)
        accepts, and the loss is counted. An accepted message is not a handled one: the receiver may
        die first.

        Source: gen_server:cast/2.
        """
        raise NotImplementedError

    def send(self, message: object, /) -> bool:
        """Send any object: to an actor's ``handle_info``, to a process's ``receive``. As ``cast``
        otherwise."""
        raise NotImplementedError

    async def send_wait(self, message: object, /) -> None:
        """As ``send``, but wait for room in a full mailbox, whatever its overflow policy.

        Raises CalleeDied when the receiver is dead or dies meanwhile, CallCycle when it waits for
        the sender.
        """
        raise NotImplementedError

    async def cast_wait(
        self, method: Callable[Concatenate[A_co, P], object], /, *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """As ``cast``, but wait for room, as ``send_wait`` does."""
        raise NotImplementedError

    def within(self, seconds: float) -> BoundedCall[A_co]:
        """The same ref for calls that may take ``seconds`` (``math.inf``: for ever)::

        await ref.within(30).call(Store.compact)

        Raises ValueError for what is no number of seconds.
        """
        return BoundedCall(self, seconds)

    def _call_within(self, seconds: float, method: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        raise NotImplementedError

    # --- control ------------------------------------------------------------------------------

    def exit(self, reason: ExitReason) -> None:
        """Send an exit signal: the receiver dies with ``reason``, or gets it as a message if it
        traps exits. Normal has no effect on others; KILL cannot be trapped. Source:
        erlang:exit/2."""
        raise NotImplementedError

    def kill(self) -> None:
        """``exit(KILL)``: the receiver ends with Killed, in the middle of an await if need be."""
        raise NotImplementedError

    def stop(self, reason: ExitReason | None = None) -> None:
        """Ask for an orderly end: after the message at hand, and what that has put into
        ``continue_with``, the actor runs ``terminate`` and ends with ``reason`` (Normal by
        default), overtaking what is in its mailbox. Returns at once; see ``node.stopped(ref)`` to
        wait. Source: gen_server:stop/3."""
        raise NotImplementedError

    # --- looking ------------------------------------------------------------------------------

    @property
    def pid(self) -> Pid:
        """Node, incarnation and number, as plain data. A named ref raises ActorDead while nobody
        has the name."""
        raise NotImplementedError

    @property
    def alive(self) -> bool:
        """Is there an actor behind this ref right now? The answer may be old at the next await."""
        raise NotImplementedError

    # --- for the runtime ----------------------------------------------------------------------
    #
    # ``engine`` is an ``engine.Engine``, and what is returned a ``record.Record``: both are built
    # out of refs, so they cannot be named here.

    def resolve_on(self, engine: Any) -> Any:
        """The record of the actor that this ref leads to on the node of ``engine``, at this moment;
        None if it leads to nobody. Raises TypeError for a ref that cannot lead anywhere on that
        node."""
        raise TypeError(f"{shown(self, 200)} is not a ref of this node")

    def resolve(self) -> Any:
        """``resolve_on`` the node that the caller runs on."""
        raise TypeError(f"{shown(self, 200)} is not a ref of this node")

    def bound_record(self) -> Any:
        """The record that this ref is bound to for good; None if it finds its actor at each
        send."""
        return None

    def check_thread(self, what: str) -> None:
        """Raise RuntimeError in a thread that may not do ``what`` to the actor, if the ref
        knows."""

    def check_declared(self, method: Any) -> None:
        """Raise NotAMessage if the actor does not declare ``method``, and the ref knows."""

    def why_nobody(self, engine: Any) -> str:
        """Why ``resolve_on`` has just found nobody, for a message."""
        return "it leads to nobody"

    def cast_packed(self, method: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """``cast(method, *args, **kwargs)`` for doors that hand on what somebody else sends. A
        receiver with a budget asks who holds a large message, and a door that unpacked the
        arguments would hold them, in its frame. So nothing but these two may hold them."""
        return self.cast(method, *args, **kwargs)

    def send_packed(self, arguments: tuple[object]) -> bool:
        """As ``cast_packed``, for ``send``: its message, alone in a tuple."""
        return self.send(*arguments)

    def post_after(self, engine: Any, seconds: float, arguments: tuple[object]) -> Timer:
        """Have a message, packed as for ``send_packed``, delivered in ``seconds``. No bound of a
        mailbox applies, but the receiver's budget does."""
        raise TypeError(f"cannot send after {seconds:g} s to {shown(self, 200)}: give a ref")


EXPLAINED: Final = 500
"""At most so many names are explained: Python 3.13 stops optimising a class that was changed a
thousand times."""
_explained: set[str] = set()


class _NotThere:
    """Stands for an attribute that no ref has and that is the name of a message: its error says how
    to send that."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, ref: Any, cls: type) -> Any:
        if ref is None:
            raise AttributeError(f"type object {cls.__name__!r} has no attribute {self._name!r}")
        kind = None if self._name == "kind" else getattr(ref, "kind", None)
        owner = getattr(kind, "cls", None)
        who = owner.__qualname__ if owner is not None and hasattr(owner, self._name) else "TheClass"
        raise AttributeError(
            f"{ref!r} has no attribute {self._name!r}: a ref only sends messages; use "
            f"`await ref.call({who}.{self._name}, …)`, or `ref.cast({who}.{self._name}, …)` without an answer"
        )


def explain_on_refs(name: str) -> None:
    """``ref.name`` is an AttributeError, since a ref only sends. From now on its text says how the
    message ``name`` is sent. (A ``__getattr__`` would make every attribute of a ref slower in
    Python 3.11.)"""
    if name.startswith("_") or not name.isidentifier() or iskeyword(name) or len(_explained) >= EXPLAINED:
        return
    if not any(name in vars(cls) for cls in Ref.__mro__):
        _explained.add(name)
        setattr(Ref, name, _NotThere(name))
