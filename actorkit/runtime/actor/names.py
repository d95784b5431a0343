"""Names: one living actor per name and node, and refs that resolve a name at each send.

A name is free the moment its holder dies, before anybody hears of the death (OTP: named_down). A ``NamedRef`` has no
node of its own: it means the node that the sender runs on (or in whose ``open_node`` body it runs), found through a
context variable.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

from trio.lowlevel import checkpoint

from ...errors import ActorDead, AlreadyRegistered, CalleeDied, NotInsideActor
from ...reasons import NOPROC, ExitReason, as_reason, shown
from .pid import Pid
from .ref import Ref

if TYPE_CHECKING:
    from ..life.scheduler import Scheduler
    from .record import Record

__all__ = ["CURRENT_SCHEDULER", "NamedRef", "Names", "checked_class", "checked_name", "named"]

A = TypeVar("A")
A_co = TypeVar("A_co", covariant=True)

CURRENT_SCHEDULER: ContextVar[Scheduler] = ContextVar("actorkit_node")


class Names:
    """The name table of one node."""

    def __init__(self) -> None:
        self._holders: dict[str, Record[Any]] = {}

    def register(self, name: str, record: Record[Any]) -> None:
        """Raises AlreadyRegistered when a living actor holds the name, or ``record`` has another name."""
        holder = self._holders.get(name)
        if holder is not None:
            raise AlreadyRegistered(name, holder.describe())
        self._holders[name] = record

    def release(self, name: str, record: Record[Any]) -> None:
        if self._holders.get(name) is record:
            del self._holders[name]

    def whereis(self, name: str) -> Record[Any] | None:
        return self._holders.get(name)

    def registered(self) -> list[str]:
        return sorted(self._holders)


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

    def resolve_on(self, scheduler: Scheduler) -> Record[Any] | None:
        """The actor that holds the name on that node now. What a subclass overrides that finds its actor in another
        way."""
        return scheduler.names.whereis(self.name)

    def resolve(self) -> Record[Any] | None:
        """The actor that holds the name now."""
        try:
            scheduler = CURRENT_SCHEDULER.get()
        except LookupError:
            raise NotInsideActor(
                f"the named ref {self.name!r} was used outside of any node: use it in an actor, or in the body of "
                "`async with open_node(…)`; elsewhere use node.whereis(name), and from a thread node.from_thread"
            ) from None
        return self.resolve_on(scheduler)

    async def _holder(self, method: Any = None) -> Record[Any]:
        record = self.resolve()
        if record is None:
            why = self.why_nobody(CURRENT_SCHEDULER.get())
            await checkpoint()  # whoever tries again and again must let others run: a supervisor, for one
            raise CalleeDied(f"{self.name!r} ({why})", NOPROC, method=getattr(method, "__qualname__", ""))
        return record

    def why_nobody(self, scheduler: Scheduler) -> str:
        """Why ``resolve_on`` has just found nobody, for a message."""
        return "no actor has this name"

    def _nobody(self, what: Any, args: tuple[Any, ...]) -> bool:
        CURRENT_SCHEDULER.get().dead_name(self.name, what, args)
        return False

    def cast(self, method: Any, /, *args: Any, **kwargs: Any) -> bool:
        record = self.resolve()
        return self._nobody(method, args) if record is None else record.cast(method, *args, **kwargs)

    def send(self, message: object, /) -> bool:
        record = self.resolve()
        return self._nobody("send", (message,)) if record is None else record.send(message)

    async def send_wait(self, message: object, /) -> None:
        waiting = (await self._holder()).send_wait(message)
        del message  # it is the receiver's now, see Record.send_wait
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
            raise ActorDead(f"{self.name!r} leads to nobody now: {self.why_nobody(CURRENT_SCHEDULER.get())}")
        return record.pid

    @property
    def alive(self) -> bool:
        return self.resolve() is not None


def named(cls: Callable[..., A], name: str) -> Ref[A]:
    """A ref to whoever is registered as ``name`` when it is used; ``cls`` gives its type.

    Use it for long-lived services: it outlives their restarts. While nobody holds the name, ``cast`` and ``send``
    return False (and count a dead letter), ``call`` raises CalleeDied with NoProc. Raises TypeError at once for what is
    no class, and for what can be nobody's name.

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
