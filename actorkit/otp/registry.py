"""The registry: actors found by any hashable key, one per key ("unique") or many ("duplicate").

How it works. One actor holds the table (``registry_table``) and serves it with synchronous calls,
which run inline in the caller's task, so a look-up costs little more than a function call. An entry
goes in the very step in which its holder ends (``actor_set``): no look-up ever finds a dead actor,
and a unique key is free before anybody hears of the death. A registry that is restarted starts
empty; the actors in it should be restarted with it (``rest_for_one``), or register again when they
get its ``Down``.

Names (``.with_(name=…)``) are for a few fixed services that are known by strings. A registry is for
many actors that come and go, by user, room or session.
Source: Elixir's Registry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, get_args

import attrs
from trio.lowlevel import current_task

from ..behaviours.actor import Actor
from ..errors import (
    ActorkitError,
    AlreadyRegistered,
    BadArguments,
    CallbackFailed,
    InvalidChildSpec,
    NotAlive,
    NotRegistered,
    NotUnique,
)
from ..log import log
from ..policy.key_table import NOT_THEIRS, Place
from ..policy.supervision.child_spec import ChildSpec
from ..reasons import shown, text_of
from ..runtime.actor.actor_base import NodesOwn
from ..runtime.actor.dispatch import call
from ..runtime.actor.later import Later
from ..runtime.actor.names import ServiceRef, checked_class, checked_name
from ..runtime.actor.record import Record
from ..runtime.actor.ref import Ref
from ..runtime.actor.waiting import PendingReply
from ..runtime.base.trio_internals import is_fatal
from .actor_set import ActorSet, failed, living
from .registry_table import Entry, Key, RegistryTable, strict

if TYPE_CHECKING:
    from ..runtime.life.node_engine import NodeEngine

__all__ = ["Keys", "Registered", "Registry", "Unregistered", "registry", "via"]

A = TypeVar("A")
T = TypeVar("T")
_CALLER: Final = object()
"""In the place of a key: ``register`` was called with one argument."""
Keys = Literal["unique", "duplicate"]


@attrs.frozen
class Registered:
    """A message for a registry's listeners: ``ref`` has been entered under ``key``. ``registry`` is
    the registry's name."""

    registry: str
    key: Any = attrs.field(repr=shown)
    ref: Ref[Any]
    value: Any = attrs.field(repr=shown)


@attrs.frozen
class Unregistered:
    """A message for a registry's listeners: the entry of ``ref`` under ``key`` is gone. It was
    taken back, or ``ref`` has ended."""

    registry: str
    key: Any = attrs.field(repr=shown)
    ref: Ref[Any]


def registry(keys: Keys = "unique", *, name: str, listeners: Iterable[Ref[Any]] = ()) -> ChildSpec[Registry]:
    """The spec of a registry. Put it before the actors that register in it.

    Args:
        keys: "unique": a key has at most one holder; "duplicate": it has any number of entries,
            also several of one holder.
        name: registers the registry on its node under this name; ``ak.via`` finds it by that.
        listeners: refs (named ones, too) of actors that get ``Registered`` and ``Unregistered``
            messages.

    Raises InvalidChildSpec at once; the fault of whoever wrote the argument.

    Example::

        tree = ak.supervisor(ak.registry(name="sessions"), sessions, strategy="rest_for_one")
    """
    if keys not in get_args(Keys):
        raise InvalidChildSpec("keys", keys, "unknown", 'give "unique" or "duplicate"')
    wanted = tuple(listeners)
    for listener in wanted:
        if not isinstance(listener, Ref):
            raise InvalidChildSpec("listeners", listener, "not a ref", "give refs, ak.named(…) for a registered actor")
    return ChildSpec(Registry, args=(keys, name, wanted), name=name, mailbox=100_000)


class _Entries:
    """A registry's table and what belongs to it. It outlives the actor's state, which is cleared at
    death."""

    __slots__ = ("actor_set", "engine", "listeners", "name", "table")

    def __init__(self, engine: NodeEngine, name: str, listeners: tuple[Ref[Any], ...]) -> None:
        self.engine = engine
        self.name = name
        self.listeners = listeners
        self.table = RegistryTable()
        self.actor_set = ActorSet(self._ended)

    def add(self, place: Place[Key], record: Record[Any], value: Any) -> None:
        self.table.add_at(place, record, value)
        self.actor_set.add(record)
        if self.listeners:
            self._notify(Registered(self.name, place.key, record, value))

    def remove(self, key: Any, record: Record[Any]) -> None:
        """Drop the entries of ``record`` under ``key``. Raises BadKey, and TypeError for what
        cannot be a key."""
        removed = self.table.remove(key, record)
        if not self.table.holds(record):
            self.actor_set.discard(record)
        self._tell_removed(removed)

    def _ended(self, record: Record[Any]) -> None:
        self._tell_removed(self.table.remove_holder(record))

    def _tell_removed(self, removed: list[Entry]) -> None:
        if self.listeners:
            for entry in removed:
                self._notify(Unregistered(self.name, entry.key, entry.holder))

    def _notify(self, message: object) -> None:
        for listener in self.listeners:
            try:
                record = self.engine.resolve(listener)
            except NOT_THEIRS:
                raise
            except BaseException as error:  # a ref by a key that raises, or that may have many holders
                log.warning(
                    "registry %s cannot send to its listener %s: %s",
                    self.name,
                    shown(listener, 200),
                    text_of(error, 300),
                )
                continue
            if record is not None:
                record.post_info(message)


class Registry(NodesOwn, Actor):
    """A running registry; ``ak.registry`` is its spec. Its methods are messages: call them through
    its ref, as in ``await ref.call(ak.Registry.lookup, key)``.

    A key may be any hashable value. Keys are compared strictly: 1, 1.0 and True are three. A key or
    a predicate that raises is the fault of its caller, who gets the error (BadKey, CallbackFailed);
    the registry goes on, with everybody's entries.

    Example::

        class Session(ak.Actor):
            def __init__(self, user: str) -> None:
                self.user = user

            async def init(self) -> None:
                sessions = ak.named(ak.Registry, "sessions")
                await sessions.call(ak.Registry.register, self.ctx.ref, self.user)

        ak.via(Session, "sessions", "ada").cast(Session.say, "hello")
    """

    def __init__(self, kind: Keys, name: str, listeners: tuple[Ref[Any], ...] = ()) -> None:
        self.kind: Keys = kind
        self.entries = _Entries(self.ctx.node.engine, name, listeners)
        actor_set = self.entries.actor_set
        self.ctx.need_relations().call_at_exit(lambda record, reason: actor_set.close())

    def format_status(self) -> object:
        """For reports: how much it holds, not what."""
        return {"keys": self.kind, "entries": len(self.entries.table), "holders": len(self.entries.actor_set)}

    @call
    def register(self, ref: Any, key: Any = _CALLER, value: Any = None) -> Later[None]:
        """Enter the living actor ``ref`` under ``key``, with a ``value`` for whoever looks it up.
        The entry goes when ``ref`` ends. With a key alone, ``register(key)``, the calling actor
        enters itself.

        Raises:
            AlreadyRegistered: the key is unique and has a holder, perhaps ``ref`` itself. Look up
                who it is, or choose another key.
            NotAlive: ``ref`` is dead, or no actor of this node. Or there is no ``ref``, and whoever
                calls is no actor.
            TypeError: ``key`` is not hashable.
            BadKey: the key's own code raises.

        Source: Registry.register/3 (there only for the caller itself).
        """
        answer = Later[None]()
        if key is _CALLER and isinstance(ref, Ref):
            answer.fail(BadArguments("cannot register a ref without a key: register(ref, key), or register(key)"))
        elif key is _CALLER:
            caller = self.ctx.node.engine.holder_of(current_task())
            if caller is self.ctx:  # it was queued: who calls is known when the answer has been given to the call
                self.ctx.continue_with(Registry._register_waiting, answer, ref, value)
            else:
                self._register_caller(answer, caller, ref, value)
        else:
            self._register(answer, ref, key, value)
        return answer

    def _register_waiting(self, answer: Later[None], key: Any, value: Any) -> None:
        for asker in list(answer._askers or ()):
            task = asker.task if isinstance(asker, PendingReply) else None
            if task is not None:
                self._register_caller(answer, self.ctx.node.engine.holder_of(task), key, value)

    def _register_caller(self, answer: Later[None], record: Record[Any] | None, key: Any, value: Any) -> None:
        if record is None:
            answer.fail(
                NotAlive(
                    f"register the caller under {shown(key, 100)}",
                    "whoever calls",
                    "it is no actor; call register(ref, key)",
                )
            )
        else:
            self._register(answer, record, key, value)

    def _register(self, answer: Later[None], ref: Any, key: Any, value: Any) -> None:
        try:
            purpose = f"register it under {shown(key, 100)}"
            record = living(self.ctx.node.engine, ref, purpose)
            place = self.entries.table.locate(key)
            living(self.ctx.node.engine, record, purpose)  # the key's own code has run, and may have ended it
        except (ActorkitError, TypeError) as error:
            answer.fail(error)
            return
        if place.slot is not None and self.kind == "unique":
            answer.fail(AlreadyRegistered(key, place.slot.holder()))
        else:
            self.entries.add(place, record, value)
            answer.set(None)

    @call
    def unregister(self, ref: Ref[Any], key: Any) -> None:
        """Drop the entries of ``ref`` under ``key``. No error if there are none, nor if ``ref`` is
        dead.
        Source: Registry.unregister/2."""
        try:
            record = self._record(ref)
            if record is not None:
                self.entries.remove(key, record)
        except TypeError:
            pass
        except ActorkitError as error:
            return failed(error, type(None))
        return None

    @call
    def lookup(self, key: Any) -> list[tuple[Ref[Any], Any]]:
        """The (ref, value) of every entry under ``key``; with unique keys at most one. All of these
        actors are alive at that moment. Source: Registry.lookup/2."""
        try:
            return [(entry.holder, entry.value) for entry in self.entries.table.entries(key)]
        except TypeError:
            return []
        except ActorkitError as error:
            return failed(error, list)

    @call
    def whereis(self, key: Any) -> Ref[Any] | None:
        """The first actor that holds ``key``, or None. For a ref that follows the key, use
        ``ak.via``."""
        try:
            holder: Ref[Any] | None = self.entries.table.holder(key)
        except TypeError:
            return None
        except ActorkitError as error:
            return failed(error, Ref)
        return holder

    @call
    def keys(self, ref: Ref[Any]) -> list[Any]:
        """The keys of ``ref``, in the order of their first entries; with duplicate keys once for
        each entry. Source: Registry.keys/2."""
        try:
            record = self._record(ref)
        except ActorkitError as error:
            return failed(error, list)
        return [] if record is None else [entry.key for entry in self.entries.table.held_by(record)]

    @call
    def values(self, ref: Ref[Any], key: Any) -> list[Any]:
        """The values of the entries of ``ref`` under ``key``. Source: Registry.values/3."""
        try:
            record = self._record(ref)
            return [] if record is None else [entry.value for entry in self.entries.table.of(key, record)]
        except TypeError:
            return []
        except ActorkitError as error:
            return failed(error, list)

    @call
    def update_value(self, ref: Ref[Any], key: Any, function: Callable[[Any], Any]) -> Later[tuple[Any, Any]]:
        """Replace the value of ``ref`` under a unique ``key`` by ``function(value)``. Returns the
        new value and the old one. The function runs in the registry, so it must be quick, and not
        async.

        Raises:
            NotRegistered: ``ref`` does not hold ``key``.
            NotUnique: the registry's keys are duplicate.
            CallbackFailed: ``function`` raised; the value stays.

        Source: Registry.update_value/3.
        """
        answer = Later[tuple[Any, Any]]()
        if self.kind != "unique":
            answer.fail(NotUnique(self.entries.name, "update_value"))
            return answer
        found: list[Entry] = []
        try:
            record = self._record(ref)
            if record is not None:
                found = self.entries.table.of(key, record)
        except TypeError:
            pass
        except ActorkitError as error:
            answer.fail(error)
            return answer
        if not found:
            answer.fail(NotRegistered(key, shown(ref, 200)))
            return answer
        old = found[0].value
        try:
            new = function(old)
        except BaseException as error:
            if is_fatal(error):
                raise
            answer.fail(_callback_failed("update_value", error))
        else:
            found[0].value = new
            answer.set((new, old))
        return answer

    @call
    def count(self) -> int:
        """How many entries there are. Source: Registry.count/1."""
        return len(self.entries.table)

    @call
    def match(self, predicate: Callable[[Any, Ref[Any], Any], object]) -> Later[list[tuple[Any, Ref[Any], Any]]]:
        """All (key, ref, value) for which ``predicate(key, ref, value)`` is true. It looks at every
        entry, in the registry: use it for administration, not for traffic. Raises CallbackFailed if
        the predicate raises. Source: Registry.match/4, select/2."""
        answer = Later[list[tuple[Any, Ref[Any], Any]]]()
        try:
            answer.set(
                [
                    (entry.key, entry.holder, entry.value)
                    for entry in list(self.entries.table)
                    if predicate(entry.key, entry.holder, entry.value)
                ]
            )
        except BaseException as error:
            if is_fatal(error):
                raise
            answer.fail(_callback_failed("match", error))
        return answer

    @staticmethod
    async def dispatch(
        registry: Ref[Registry], key: Any, function: Callable[[list[tuple[Ref[Any], Any]]], T]
    ) -> T | None:
        """Call ``function(entries)`` with each (ref, value) under ``key``, and return what it
        returns. If there are no entries it is not called, and None is returned.

        The function runs in the caller, not in the registry: it may take its time, and what it
        raises is raised here. This is a plain function to await, not a message.
        Source: Registry.dispatch/4.

        Example::

            def tell(entries: list[tuple[ak.Ref[Any], Any]]) -> None:
                for ref, _ in entries:
                    ref.send(News("rain"))

            await ak.Registry.dispatch(ak.named(ak.Registry, "topics"), "weather", tell)
        """
        entries = await registry.call(Registry.lookup, key)
        return function(entries) if entries else None

    def _record(self, ref: Ref[Any]) -> Record[Any] | None:
        try:
            return self.ctx.node.engine.resolve(ref)
        except TypeError:
            return None


def _callback_failed(what: str, error: BaseException) -> CallbackFailed:
    return CallbackFailed(f"the function given to {what} raised {type(error).__qualname__}: {text_of(error, 400)}")


class ViaRef(ServiceRef[A]):
    """A ref to whoever holds ``key`` in a unique registry at the moment of each send."""

    __slots__ = ("key",)

    kind_of_service = "registry"

    def __init__(self, registry: str, key: Any) -> None:
        super().__init__(registry, shown(key, 100))
        self.key = key

    def __repr__(self) -> str:
        return f"<ref via {self.name}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ViaRef) and other.service == self.service and strict(other.key) == strict(self.key)

    def __hash__(self) -> int:
        return hash((ViaRef, self.service, strict(self.key)))

    def service_class(self) -> type[Registry]:
        return Registry

    def look_up(self, service: Registry) -> Record[Any] | None:
        if service.kind != "unique":
            raise NotUnique(self.service, "via")
        found: Record[Any] | None = service.entries.table.holder(self.key)
        return found

    def why_not(self, service: Registry) -> str:
        return f"registry {self.service!r} has nobody under {shown(self.key, 100)}"


def via(cls: Callable[..., A], registry_name: str, key: Any) -> Ref[A]:
    """A ref to whoever holds ``key`` in a registry, each time that the ref is used.

    While nobody holds the key, or there is no such registry, ``cast`` and ``send`` return False and
    ``call`` raises CalleeDied with NoProc, as with ``ak.named``.

    Args:
        cls: the actor's class. It gives the ref its type; the holder's class is not compared with
            it.
        registry_name: the name of a registry with unique keys.
        key: any hashable value.

    Raises TypeError at once for a key that is not hashable. When the ref is used: BadKey for a key
    whose own code raises, and NotUnique for a registry with duplicate keys, where it would have to
    choose. All of these are the caller's fault.

    Example::

        await ak.via(Session, "sessions", user_id).call(Session.balance)

    Source: ``{:via, Registry, {name, key}}``.
    """
    strict(key)
    name = checked_name(registry_name, "ak.via", "the class, the registry's name, then the key")
    checked_class(cls, "ak.via", "the class itself, the registry's name, then the key")
    return ViaRef(name, key)
