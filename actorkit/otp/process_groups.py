"""Process groups: actors that are addressed together, by any hashable group key.

How it works. One actor (a *scope*) holds which actor is in which group how many times. Groups appear with
their first member and vanish with their last; nobody creates them. A member that ends leaves all its groups
in that very step (``actor_set``). Subscribers get a message for each joining and leaving. Scopes know nothing
of each other. A scope that is restarted starts empty.

For one actor per key, or a value with each entry, take a registry. Source: Erlang's pg.
"""

from __future__ import annotations

from typing import Any

import attrs

from ..behaviours.actor import Actor
from ..errors import ActorkitError, NotJoined
from ..log import log
from ..policy.key_table import NOT_THEIRS, KeyTable, Place, Slot
from ..policy.supervision.child_spec import ChildSpec
from ..reasons import shown
from ..runtime.actor.dispatch import call
from ..runtime.actor.later import Later
from ..runtime.actor.record import Record
from ..runtime.actor.ref import Ref
from .actor_set import ActorSet, failed, living

TELLING = "tell it of joining and leaving"

__all__ = ["Joined", "Left", "ProcessGroups", "process_groups"]


@attrs.frozen
class Joined:
    """To a subscriber: ``ref`` has joined ``group``, once more perhaps. ``scope`` is the name of the
    ProcessGroups actor."""

    scope: str
    group: Any
    ref: Ref[Any]


@attrs.frozen
class Left:
    """To a subscriber: ``ref`` has left ``group`` once, or has ended (one message for each time that it had
    joined)."""

    scope: str
    group: Any
    ref: Ref[Any]


def process_groups(*, name: str = "process_groups") -> ChildSpec[ProcessGroups]:
    """The spec of a scope of process groups. Put it before those who join.

    Example::

        tree = ak.supervisor(ak.process_groups(name="rooms"), chat, strategy="rest_for_one")
    """
    return ChildSpec(ProcessGroups, args=(name,), name=name, mailbox=100_000)


class _Group(Slot):
    """One group: how many times each member has joined. It is kept while it has members, or somebody wants to hear of
    it."""

    __slots__ = ("listeners", "members")

    def __init__(self) -> None:
        self.members: dict[Record[Any], int] = {}
        self.listeners = 0

    def holder(self) -> str:
        for member in self.members:
            return member.describe()
        return super().holder()

    def everybody(self) -> list[Ref[Any]]:
        """The members, each as many times as it has joined."""
        return [record for record, times in self.members.items() for _ in range(times)]


class _Scope:
    """The memberships and subscriptions; it outlives the actor's state at the actor's death."""

    __slots__ = ("actor_set", "groups", "joined", "name", "subscribers")

    def __init__(self, name: str) -> None:
        self.name = name
        self.groups: KeyTable[_Group] = KeyTable()
        self.joined: dict[Record[Any], dict[_Group, None]] = {}
        self.subscribers: dict[Record[Any], dict[_Group, None] | None] = {}
        """Each with the groups that it wants to hear of; None: all."""
        self.actor_set = ActorSet(self._ended)

    def group_at(self, place: Place[_Group]) -> _Group:
        """The group of a key that was located just now; a new one, if there is none."""
        return place.slot if place.slot is not None else self.groups.put(place, _Group())

    def join(self, group: _Group, record: Record[Any]) -> None:
        group.members[record] = group.members.get(record, 0) + 1
        self.joined.setdefault(record, {})[group] = None
        self.actor_set.add(record)
        self._tell(group, Joined(self.name, group.key, record))

    def leave(self, group: _Group, record: Record[Any]) -> None:
        group.members[record] -= 1
        if not group.members[record]:
            del group.members[record]
            del self.joined[record][group]
            if not self.joined[record]:
                del self.joined[record]
            self.unfollow(record)
        self._tell(group, Left(self.name, group.key, record))
        self.tidy(group)

    def tidy(self, group: _Group) -> None:
        """Forget a group that has neither members nor listeners."""
        if not group.members and not group.listeners:
            self.groups.drop(group)

    def unfollow(self, record: Record[Any]) -> None:
        if record not in self.joined and record not in self.subscribers:
            self.actor_set.discard(record)

    def subscribe(self, record: Record[Any], group: _Group | None) -> None:
        """Tell ``record`` of that group too; None: of all."""
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
        """Tell it of nothing more. False: it was told of nothing."""
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
                self._tell(group, Left(self.name, group.key, record))
            self.tidy(group)

    def _tell(self, group: _Group, message: object) -> None:
        for subscriber, wanted in list(self.subscribers.items()):
            if wanted is None or group in wanted:
                subscriber.post_info(message)


class ProcessGroups(Actor):
    """A running scope. Its methods are called through its ref.

    Group keys are compared strictly, as a registry's.

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
        """For reports: how much it holds, not what."""
        return {"groups": len(self.which_there_are()), "members": len(self.scope.joined)}

    @call
    def join(self, group: Any, ref: Ref[Any]) -> Later[None]:
        """Make a living actor of this node a member, once more if it is one: n joins need n leaves.

        Raises NotAlive when ``ref`` is dead or of another node, TypeError when ``group`` is not hashable, BadKey when
        its own code raises.
        Source: pg:join/3.
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
        """Undo one ``join``. Raises NotJoined when ``ref`` is not a member (any more). Source: pg:leave/3."""
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
        """The members, each as many times as it has joined; [] for a group that is not there. Source:
        pg:get_members/2."""
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
        """From now on send ``subscriber`` a ``Joined`` or ``Left`` for every change, until it ends or
        ``demonitor``.

        Answers the groups and members of now; not one change is missed or told twice. (Keys that are equal to
        Python, as 1 and 1.0, share an entry of this dict; ``members`` tells them apart. One whose own code raises by
        now is left out, with a warning.) Raises NotAlive.
        Source: pg:monitor_scope/1.
        """
        answer = Later[dict[Any, list[Ref[Any]]]]()
        try:
            record = living(self.ctx.node.engine, subscriber, TELLING)
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
                    "%s leaves the group %s out of what it tells a subscriber: its key raised %s",
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
        """As ``monitor``, for one group (call it again for others); answers its members of now. Source:
        pg:monitor/2."""
        answer = Later[list[Ref[Any]]]()
        try:
            record = living(self.ctx.node.engine, subscriber, TELLING)
            place = self.scope.groups.locate(group)
            living(self.ctx.node.engine, record, TELLING)
        except (ActorkitError, TypeError) as error:
            answer.fail(error)
        else:
            found = self.scope.group_at(place)
            self.scope.subscribe(record, found)
            answer.set(found.everybody())
        return answer

    @call
    def demonitor(self, subscriber: Ref[Any]) -> None:
        """Send ``subscriber`` no more of them. No error if it got none. Source: pg:demonitor/2."""
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
        """``send`` the message to every member, once each; how many took it. Usually cast: nobody waits
        then."""
        try:
            found = self.scope.groups.find(group)
        except TypeError:
            return 0
        except ActorkitError as error:
            return failed(error, int)
        return 0 if found is None else sum(record.send(message) for record in list(found.members))
