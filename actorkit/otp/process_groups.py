"""Process groups: actors that are addressed together, by any hashable group key.

How it works. One actor (a *scope*) holds which actor is in which group, and how many times. A group
appears with its first member and vanishes with its last; nobody creates it. A member that ends
leaves all its groups in that very step (``actor_set``). Subscribers get a message for each joining
and leaving. Scopes know nothing of each other. A scope that is restarted starts empty.

For one actor per key, or a value with each entry, use a registry.
Source: Erlang's pg.
"""

from __future__ import annotations

from typing import Any, Final

import attrs

from ..behaviours.actor import Actor
from ..errors import ActorkitError, NotJoined
from ..log import log
from ..policy.key_table import NOT_THEIRS, KeyTable, Place, Slot
from ..policy.supervision.child_spec import ChildSpec
from ..reasons import shown
from ..runtime.actor.actor_base import NodesOwn
from ..runtime.actor.dispatch import call
from ..runtime.actor.later import Later
from ..runtime.actor.record import Record
from ..runtime.actor.ref import Ref
from .actor_set import ActorSet, failed, living

__all__ = ["Joined", "Left", "ProcessGroups", "process_groups"]

SUBSCRIBE: Final = "send it joins and leaves"
"""The purpose that NotAlive names."""


@attrs.frozen
class Joined:
    """A message for subscribers: ``ref`` has joined ``group``, perhaps once more. ``scope`` is the
    name of the ProcessGroups actor."""

    scope: str
    group: Any
    ref: Ref[Any]


@attrs.frozen
class Left:
    """A message for subscribers: ``ref`` has left ``group`` once, or has ended; then there is one
    message for each time that it had joined. ``scope`` is the name of the ProcessGroups actor."""

    scope: str
    group: Any
    ref: Ref[Any]


def process_groups(*, name: str = "process_groups") -> ChildSpec[ProcessGroups]:
    """The spec of a scope of process groups. Put it before the actors that join.

    Use it to send to many at once (``ProcessGroups.broadcast``): rooms, topics, all workers of a
    kind. For one actor per key use ``ak.registry``.

    Args:
        name: registers the scope on its node under this name.

    Example::

        tree = ak.supervisor(ak.process_groups(name="rooms"), chat, strategy="rest_for_one")
    """
    return ChildSpec(ProcessGroups, args=(name,), name=name, mailbox=100_000)


class _Group(Slot):
    """One group: how many times each member has joined. It is kept while it has members or
    subscribers."""

    __slots__ = ("listeners", "members")

    def __init__(self) -> None:
        self.members: dict[Record[Any], int] = {}
        self.listeners = 0

    def holder(self) -> str:
        for member in self.members:
            return member.describe()
        return super().holder()

    def everybody(self) -> list[Ref[Any]]:
        """The members, each as often as it has joined."""
        return [record for record, times in self.members.items() for _ in range(times)]


class _Scope:
    """The memberships and subscriptions. It outlives the actor's state, which is cleared at
    death."""

    __slots__ = ("actor_set", "groups", "joined", "name", "subscribers")

    def __init__(self, name: str) -> None:
        self.name = name
        self.groups: KeyTable[_Group] = KeyTable()
        self.joined: dict[Record[Any], dict[_Group, None]] = {}
        self.subscribers: dict[Record[Any], dict[_Group, None] | None] = {}
        """Each with the groups that it subscribed to; None: all."""
        self.actor_set = ActorSet(self._ended)

    def group_at(self, place: Place[_Group]) -> _Group:
        """The group of a key that was located just now; a new one if there is none."""
        return place.slot if place.slot is not None else self.groups.put(place, _Group())

    def join(self, group: _Group, record: Record[Any]) -> None:
        group.members[record] = group.members.get(record, 0) + 1
        self.joined.setdefault(record, {})[group] = None
        self.actor_set.add(record)
        self._notify(group, Joined(self.name, group.key, record))

    def leave(self, group: _Group, record: Record[Any]) -> None:
        group.members[record] -= 1
        if not group.members[record]:
            del group.members[record]
            del self.joined[record][group]
            if not self.joined[record]:
                del self.joined[record]
            self.unfollow(record)
        self._notify(group, Left(self.name, group.key, record))
        self.tidy(group)

    def tidy(self, group: _Group) -> None:
        """Forget a group that has neither members nor listeners."""
        if not group.members and not group.listeners:
            self.groups.drop(group)

    def unfollow(self, record: Record[Any]) -> None:
        if record not in self.joined and record not in self.subscribers:
            self.actor_set.discard(record)

    def subscribe(self, record: Record[Any], group: _Group | None) -> None:
        """Subscribe ``record`` to one group more; None: to all."""
        wanted = self.subscribers.get(record, {})
        if group is None or wanted is None:
            self.unsubscribe(record)
            self.subscribers[record] = None
        else:
            if group not in wanted:
                wanted[group] = None
                group.listeners += 1
            self.subscribers[record] = wanted
        self.actor_set.add(record)

    def unsubscribe(self, record: Record[Any]) -> bool:
        """End all subscriptions of ``record``. False: it had none."""
        if record not in self.subscribers:
            return False
        for group in self.subscribers.pop(record) or ():
            group.listeners -= 1
            self.tidy(group)
        return True

    def _ended(self, record: Record[Any]) -> None:
        self.unsubscribe(record)
        for group in self.joined.pop(record, ()):
            for _ in range(group.members.pop(record)):
                self._notify(group, Left(self.name, group.key, record))
            self.tidy(group)

    def _notify(self, group: _Group, message: object) -> None:
        for subscriber, wanted in list(self.subscribers.items()):
            if wanted is None or group in wanted:
                subscriber.post_info(message)


class ProcessGroups(NodesOwn, Actor):
    """A running scope of process groups; ``ak.process_groups`` is its spec. Its methods are
    messages: call them through its ref.

    A group's key may be any hashable value. Keys are compared strictly: 1, 1.0 and True are three.

    Example::

        rooms = ak.named(ak.ProcessGroups, "rooms")
        await rooms.call(ak.ProcessGroups.join, "lobby", self.ctx.ref)
        …
        rooms.cast(ak.ProcessGroups.broadcast, "lobby", Line("hello"))
    """

    def __init__(self, name: str) -> None:
        self.scope = scope = _Scope(name)
        self.ctx.need_relations().call_at_exit(lambda record, reason: scope.actor_set.close())

    def format_status(self) -> object:
        """For reports: how much the scope holds, not what."""
        return {"groups": len(self.which_there_are()), "members": len(self.scope.joined)}

    @call
    def join(self, group: Any, ref: Ref[Any]) -> Later[None]:
        """Make a living actor of this node a member; once more if it is one: n joins need n leaves.

        Raises NotAlive if ``ref`` is dead or of another node, TypeError if ``group`` is not
        hashable, and BadKey if the key's own code raises. Source: pg:join/3.
        """
        answer = Later[None]()
        try:
            purpose = f"let it join {shown(group, 100)}"
            record = living(self.ctx.node.engine, ref, purpose)
            place = self.scope.groups.locate(group)
            living(self.ctx.node.engine, record, purpose)  # the key's own code has run, and may have ended it
        except (ActorkitError, TypeError) as error:
            answer.fail(error)
        else:
            self.scope.join(self.scope.group_at(place), record)
            answer.set(None)
        return answer

    @call
    def leave(self, group: Any, ref: Ref[Any]) -> Later[None]:
        """Undo one ``join``. Raises NotJoined if ``ref`` is not a member (any more), and BadKey.
        Source: pg:leave/3."""
        answer = Later[None]()
        try:
            record = self.ctx.node.engine.resolve(ref)
            found = self.scope.groups.find(group)
        except (ActorkitError, TypeError) as error:
            answer.fail(error)
            return answer
        if found is None or record is None or record not in found.members:
            answer.fail(NotJoined(group, shown(ref, 200)))
        else:
            self.scope.leave(found, record)
            answer.set(None)
        return answer

    @call
    def members(self, group: Any) -> list[Ref[Any]]:
        """The members, each as often as it has joined; empty for a group that is not there.
        Source: pg:get_members/2."""
        try:
            found = self.scope.groups.find(group)
        except TypeError:
            return []
        except ActorkitError as error:
            return failed(error, list)
        return [] if found is None else found.everybody()

    @call
    def which_groups(self) -> list[Any]:
        """The keys of all groups that have members. Source: pg:which_groups/1."""
        return [group.key for group in self.which_there_are()]

    def which_there_are(self) -> list[_Group]:
        """The groups that have members."""
        return [group for group in self.scope.groups if group.members]

    @call
    def monitor(self, subscriber: Ref[Any]) -> Later[dict[Any, list[Ref[Any]]]]:
        """From now on send ``subscriber`` a ``Joined`` or ``Left`` for every change, until it ends
        or ``demonitor`` is called.

        Returns the groups and their members as they are now; no change is missed, and none is
        reported twice. (Keys that are equal in Python, such as 1 and 1.0, share an entry of this
        dict; ``members`` tells them apart. A key whose own code raises by now is left out, with a
        warning.)

        Raises NotAlive if ``subscriber`` is dead or of another node. Source: pg:monitor_scope/1.
        """
        answer = Later[dict[Any, list[Ref[Any]]]]()
        try:
            record = living(self.ctx.node.engine, subscriber, SUBSCRIBE)
        except (ActorkitError, TypeError) as error:
            answer.fail(error)
            return answer
        snapshot: dict[Any, list[Ref[Any]]] = {}
        shown_as: list[tuple[_Group, list[Ref[Any]]]] = []
        for group in self.which_there_are():
            try:
                shown_as.append((group, snapshot.setdefault(group.key, [])))
            except NOT_THEIRS:
                raise
            except BaseException as error:
                log.warning(
                    "%s leaves the group %s out of its answer to a subscriber: its key raised %s",
                    self.ctx.describe(),
                    shown(group.key, 100),
                    type(error).__qualname__,
                )
        # No key's code runs from here on, which might end somebody in the middle of it.
        if record.alive:
            self.scope.subscribe(record, None)
        for group, members in shown_as:
            members.extend(group.everybody())
        answer.set(snapshot)
        return answer

    @call
    def monitor_group(self, subscriber: Ref[Any], group: Any) -> Later[list[Ref[Any]]]:
        """As ``monitor``, for one group; call it again for others. Returns the group's members as
        they are now. Raises NotAlive, BadKey, and TypeError for what is not hashable.
        Source: pg:monitor/2."""
        answer = Later[list[Ref[Any]]]()
        try:
            record = living(self.ctx.node.engine, subscriber, SUBSCRIBE)
            place = self.scope.groups.locate(group)
            living(self.ctx.node.engine, record, SUBSCRIBE)
        except (ActorkitError, TypeError) as error:
            answer.fail(error)
        else:
            found = self.scope.group_at(place)
            self.scope.subscribe(record, found)
            answer.set(found.everybody())
        return answer

    @call
    def demonitor(self, subscriber: Ref[Any]) -> None:
        """Send ``subscriber`` no more of these messages. No error if it got none.
        Source: pg:demonitor/2."""
        try:
            record = self.ctx.node.engine.resolve(subscriber)
        except TypeError:
            return None
        except ActorkitError as error:
            return failed(error, type(None))
        if record is not None and self.scope.unsubscribe(record):
            self.scope.unfollow(record)
        return None

    @call
    def broadcast(self, group: Any, message: object) -> int:
        """``send`` the message to every member, once to each. Returns how many took it. Usually it
        is cast, so that nobody waits."""
        try:
            found = self.scope.groups.find(group)
        except TypeError:
            return 0
        except ActorkitError as error:
            return failed(error, int)
        return 0 if found is None else sum(record.send(message) for record in list(found.members))
