"""Refs that find their actor at each send: by a name, or through a service that has one.

A ``NamedRef`` has no node of its own. It means the node that the sender runs on, or in whose
``open_node`` body it runs: that is in a context variable. The table of names is in ``name_table``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, ClassVar, TypeVar

from trio.lowlevel import checkpoint

from ...errors import ActorDead, CalleeDied, NotInsideActor
from ...heap.clock import nobodys
from ...reasons import NOPROC, ExitReason, as_reason, shown
from ..base.timers import Timer
from .dead_letters import DeadLetterReason
from .pid import Pid
from .record import Record, RecordEngine
from .ref import Ref

__all__ = ["CURRENT_ENGINE", "NamedRef", "ServiceRef", "checked_class", "checked_name", "named"]

A = TypeVar("A")
A_co = TypeVar("A_co", covariant=True)

CURRENT_ENGINE: ContextVar[RecordEngine] = ContextVar("actorkit_node")


class NamedRef(Ref[A_co]):
    """Whoever holds ``name`` at the moment of each send, on the sender's node."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"<named ref {self.name!r}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NamedRef) and other.name == self.name

    def __hash__(self) -> int:
        return hash((NamedRef, self.name))

    def resolve_on(self, engine: RecordEngine) -> Record[Any] | None:
        """The actor that holds the name on that node now."""
        return engine.names.whereis(self.name)

    def resolve(self) -> Record[Any] | None:
        try:
            engine = CURRENT_ENGINE.get()
        except LookupError:
            raise NotInsideActor(
                f"the named ref {self.name!r} was used outside of any node: use it in an actor, or in the body of "
                "`async with open_node(…)`; elsewhere use node.whereis(name), and from a thread node.from_thread"
            ) from None
        return self.resolve_on(engine)

    async def _holder(self, method: Any = None) -> Record[Any]:
        record = self.resolve()
        if record is None:
            why = self.why_nobody(CURRENT_ENGINE.get())
            await checkpoint()  # a loop of attempts must let others run: a supervisor, for one
            raise CalleeDied(f"{self.name!r} ({why})", NOPROC, method=getattr(method, "__qualname__", ""))
        return record

    def why_nobody(self, engine: RecordEngine) -> str:
        return DeadLetterReason.NO_SUCH_NAME.value

    @nobodys
    def post_after(self, engine: RecordEngine, seconds: float, arguments: tuple[object]) -> Timer:
        return engine.timers.after(seconds, self._post, engine, arguments)

    def _post(self, engine: RecordEngine, arguments: tuple[object]) -> None:
        record = self.resolve_on(engine)
        if record is not None:
            record.post_timed(arguments)
        else:
            engine.dead_name(self.name, "send_after", arguments)

    def _nobody(self, what: Any, args: tuple[Any, ...]) -> bool:
        CURRENT_ENGINE.get().dead_name(self.name, what, args)
        return False

    def cast(self, method: Any, /, *args: Any, **kwargs: Any) -> bool:
        record = self.resolve()
        if record is None:
            return self._nobody(method, args)
        if record.account is None:
            return record.cast(method, *args, **kwargs)
        return record.cast_packed(method, args, kwargs)

    def send(self, message: object, /) -> bool:
        record = self.resolve()
        if record is not None and record.account is None:
            return record.send(message)
        arguments = (message,)
        del message  # it is the receiver's now
        return self._nobody("send", arguments) if record is None else record.send_packed(arguments)

    def cast_packed(self, method: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        record = self.resolve()
        return self._nobody(method, args) if record is None else record.cast_packed(method, args, kwargs)

    def send_packed(self, arguments: tuple[object]) -> bool:
        record = self.resolve()
        return self._nobody("send", arguments) if record is None else record.send_packed(arguments)

    async def send_wait(self, message: object, /) -> None:
        waiting = (await self._holder()).send_wait(message)
        del message  # it is the receiver's now, see Mailbox.wait_for_room
        await waiting

    async def cast_wait(self, method: Any, /, *args: Any, **kwargs: Any) -> None:
        waiting = (await self._holder(method)).cast_wait(method, *args, **kwargs)
        del args, kwargs
        await waiting

    async def call(self, method: Any, /, *args: Any, **kwargs: Any) -> Any:
        waiting = (await self._holder(method)).call(method, *args, **kwargs)
        del args, kwargs
        return await waiting

    async def _call_within(self, seconds: float, method: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        waiting = (await self._holder(method))._call_within(seconds, method, args, kwargs)
        del args, kwargs
        return await waiting

    def exit(self, reason: ExitReason) -> None:
        as_reason(reason, "exit an actor")
        record = self.resolve()
        if record is not None:
            record.exit(reason)

    def kill(self) -> None:
        record = self.resolve()
        if record is not None:
            record.kill()

    def stop(self, reason: ExitReason | None = None) -> None:
        if reason is not None:
            as_reason(reason, "stop an actor")
        record = self.resolve()
        if record is not None:
            record.stop(reason)

    @property
    def pid(self) -> Pid:
        record = self.resolve()
        if record is None:
            raise ActorDead(f"{self.name!r} leads to nobody now: {self.why_nobody(CURRENT_ENGINE.get())}")
        return record.pid

    @property
    def alive(self) -> bool:
        return self.resolve() is not None


class ServiceRef(NamedRef[A_co]):
    """Whoever a registered service leads to at the moment of each send, on the sender's node. The
    service is the actor that holds the name ``service``; a subclass says of which class that must
    be, and asks its object."""

    __slots__ = ("service",)

    kind_of_service: ClassVar[str]
    """For messages: ``registry``."""

    def __init__(self, service: str, key: str) -> None:
        super().__init__(f"{service}[{key}]")
        self.service = service

    def service_class(self) -> type[Any]:
        """The class that the service's object must have."""
        raise NotImplementedError

    def look_up(self, service: Any) -> Record[Any] | None:
        """Ask the service's object."""
        raise NotImplementedError

    def why_not(self, service: Any) -> str:
        """Why ``look_up`` has just found nobody, for a message."""
        raise NotImplementedError

    def resolve_on(self, engine: RecordEngine) -> Record[Any] | None:
        holder = engine.names.whereis(self.service)
        obj = None if holder is None else holder.obj
        return self.look_up(obj) if isinstance(obj, self.service_class()) else None

    def why_nobody(self, engine: RecordEngine) -> str:
        holder = engine.names.whereis(self.service)
        if holder is None:
            return f"no {self.kind_of_service} {self.service!r}"
        if not isinstance(holder.obj, self.service_class()):
            return f"{self.service!r} is no {self.kind_of_service}"
        return self.why_not(holder.obj)


def named(cls: Callable[..., A], name: str) -> Ref[A]:
    """A ref to whoever is registered as ``name`` when it is used; ``cls`` gives its type.

    Use it for long-lived services: it outlives their restarts. While nobody holds the name,
    ``cast`` and ``send`` return False (and count a dead letter), ``call`` raises CalleeDied with
    NoProc. Raises TypeError at once for what is no class, and for what can be nobody's name.

    Example::

        lobby = ak.named(Room, "lobby")
        lobby.cast(Room.say, b"hello")
    """
    name = checked_name(name, "ak.named", "the class, then the name")
    checked_class(cls, "ak.named", "the class itself, then the name")
    return NamedRef(name)


def checked_name(name: object, what: str, order: str) -> str:
    """``name``, if it can be one. Raises TypeError for what can be nobody's name."""
    if isinstance(name, str) and name:
        return str.__str__(name)
    raise TypeError(f"{what} was given {shown(name, 100)} as a name, and a name is a non-empty string; give {order}")


def checked_class(cls: object, what: str, order: str) -> None:
    """Raises TypeError for what is no class of actors, such as an actor's object, or a string."""
    if not callable(cls):
        raise TypeError(f"{what} was given {shown(cls, 100)} in the place of the class; give {order}")
