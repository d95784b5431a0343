"""Process groups: actors that are addressed together, by any hashable group key.

How it works. One actor (a *scope*) holds which actor is in which group how many times. Groups appear with their first member and vanish with
their last; nobody creates them. A member that ends leaves all its groups in that very step (``followed``). Subscribers get a message for
each joining and leaving. Scopes know nothing of each other. A scope that is restarted starts empty.

For one actor per key, or a value with each entry, take a registry. Source: Erlang's pg.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import attrs

from ..errors import ActorkitError, NotAlive, NotJoined
from ..policy.child_spec import ChildSpec
from ..reasons import bounded
from ..runtime.calls import Later
from ..runtime.dispatch import call
from ..runtime.record import Record
from ..runtime.ref import Ref
from .actor import Actor
from .followed import Followed, living
from .registry_table import strict

__all__ = ["Joined", "Left", "ProcessGroups", "process_groups"]


@attrs.frozen
class Joined:
    """To a subscriber: ``ref`` has joined ``group``, once more perhaps. ``scope`` is the name of the ProcessGroups actor."""

    scope: str
    group: Any
    ref: Ref[Any]


@attrs.frozen
class Left:
    """To a subscriber: ``ref`` has left ``group`` once, or has ended (one message for each time that it had joined)."""

    scope: str
    group: Any
    ref: Ref[Any]


def process_groups(*, name: str = "process_groups") -> ChildSpec[ProcessGroups]:
    """The spec of a scope of process groups. Put it before those who join.

    Example::

        tree = ak.supervisor(ak.process_groups(name="rooms"), chat, strategy="rest_for_one")
    """
    return ChildSpec(ProcessGroups, args=(name,), name=name, mailbox=100_000)


class _Group:
    """One group: its key as given, and how many times each member has joined."""

    __slots__ = ("key", "members")

    def __init__(self, key: Any) -> None:
        self.key = key
        self.members: dict[Record[Any], int] = {}


class _Scope:
    """The memberships and subscriptions; it outlives the actor's state at the actor's death."""

    __slots__ = ("followed", "groups", "joined", "name", "subscribers")

    def __init__(self, name: str) -> None:
        self.name = name
        self.groups: dict[Hashable, _Group] = {}
        self.joined: dict[Record[Any], dict[Hashable, None]] = {}
        self.subscribers: dict[Record[Any], set[Hashable] | None] = {}
        """Each with the groups that it wants to hear of; None: all."""
        self.followed = Followed(self._ended)

    def join(self, key: Any, record: Record[Any]) -> None:
        exact = strict(key)
        group = self.groups.get(exact)
        if group is None:
            group = self.groups[exact] = _Group(key)
        group.members[record] = group.members.get(record, 0) + 1
        self.joined.setdefault(record, {})[exact] = None
        self.followed.add(record)
        self._tell(exact, Joined(self.name, group.key, record))

    def leave(self, exact: Hashable, group: _Group, record: Record[Any]) -> None:
        group.members[record] -= 1
        if not group.members[record]:
            self._drop(exact, group, record)
            del self.joined[record][exact]
            if not self.joined[record]:
                del self.joined[record]
            self.unfollow(record)
        self._tell(exact, Left(self.name, group.key, record))

    def _drop(self, exact: Hashable, group: _Group, record: Record[Any]) -> None:
        del group.members[record]
        if not group.members:
            del self.groups[exact]

    def unfollow(self, record: Record[Any]) -> None:
        if record not in self.joined and record not in self.subscribers:
            self.followed.discard(record)

    def _ended(self, record: Record[Any]) -> None:
        self.subscribers.pop(record, None)
        for exact in self.joined.pop(record, ()):
            group = self.groups[exact]
            times = group.members[record]
            self._drop(exact, group, record)
            for _ in range(times):
                self._tell(exact, Left(self.name, group.key, record))

    def _tell(self, exact: Hashable, message: object) -> None:
        for subscriber, wanted in list(self.subscribers.items()):
            if wanted is None or exact in wanted:
                subscriber.post_info(message)


_NOTHING: frozenset[Any] = frozenset()


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
        self.ctx.need_extra().call_at_exit(lambda record, reason: scope.followed.close())

    def format_status(self) -> object:
        """For reports: how much it holds, not what."""
        return {"groups": len(self.scope.groups), "members": len(self.scope.joined)}

    @call
    def join(self, group: Any, ref: Ref[Any]) -> Later[None]:
        """Make a living actor of this node a member, once more if it is one: n joins need n leaves.

        Raises NotAlive when ``ref`` is dead or of another node, TypeError when ``group`` is not hashable. Source: pg:join/3.
        """
        answer = Later[None]()
        try:
            strict(group)
            self.scope.join(group, living(self.ctx.node, ref, f"let it join {bounded(repr(group), 100)}"))
        except (NotAlive, TypeError) as error:
            answer.fail(error)
        else:
            answer.set(None)
        return answer

    @call
    def leave(self, group: Any, ref: Ref[Any]) -> Later[None]:
        """Undo one ``join``. Raises NotJoined when ``ref`` is not a member (any more). Source: pg:leave/3."""
        answer = Later[None]()
        error: ActorkitError | TypeError | None = None
        try:
            exact = strict(group)
            record = self.ctx.node.resolve(ref)
        except TypeError as raised:
            answer.fail(raised)
            return answer
        found = self.scope.groups.get(exact)
        if found is None or record is None or record not in found.members:
            error = NotJoined(group, repr(ref))
            answer.fail(error)
        else:
            self.scope.leave(exact, found, record)
            answer.set(None)
        return answer

    @call
    def members(self, group: Any) -> list[Ref[Any]]:
        """The members, each as many times as it has joined; [] for a group that is not there. Source: pg:get_members/2."""
        found = self._group(group)
        if found is None:
            return []
        return [record for record, times in found.members.items() for _ in range(times)]

    @call
    def which_groups(self) -> list[Any]:
        """The keys of all groups that have members. Source: pg:which_groups/1."""
        return [group.key for group in self.scope.groups.values()]

    @call
    def monitor(self, subscriber: Ref[Any]) -> Later[dict[Any, list[Ref[Any]]]]:
        """From now on send ``subscriber`` a ``Joined`` or ``Left`` for every change, until it ends or ``demonitor``.

        Answers the groups and members of now; not one change is missed or told twice. (Keys that are equal to Python, as 1 and 1.0, share
        an entry of this dict; ``members`` tells them apart.) Raises NotAlive. Source: pg:monitor_scope/1.
        """
        answer = Later[dict[Any, list[Ref[Any]]]]()
        try:
            self._subscribe(subscriber, None)
        except NotAlive as error:
            answer.fail(error)
            return answer
        snapshot: dict[Any, list[Ref[Any]]] = {}
        for group in self.scope.groups.values():
            snapshot.setdefault(group.key, []).extend(
                [record for record, times in group.members.items() for _ in range(times)]
            )
        answer.set(snapshot)
        return answer

    @call
    def monitor_group(self, subscriber: Ref[Any], group: Any) -> Later[list[Ref[Any]]]:
        """As ``monitor``, for one group (call it again for others); answers its members of now. Source: pg:monitor/2."""
        answer = Later[list[Ref[Any]]]()
        try:
            self._subscribe(subscriber, strict(group))
        except (NotAlive, TypeError) as error:
            answer.fail(error)
        else:
            answer.set(self.members(group))
        return answer

    @call
    def demonitor(self, subscriber: Ref[Any]) -> None:
        """Send ``subscriber`` no more of them. No error if it got none. Source: pg:demonitor/2."""
        try:
            record = self.ctx.node.resolve(subscriber)
        except TypeError:
            return
        if record is not None and self.scope.subscribers.pop(record, _NOTHING) is not _NOTHING:
            self.scope.unfollow(record)

    @call
    def broadcast(self, group: Any, message: object) -> int:
        """``send`` the message to every member, once each; how many took it. Usually cast: nobody waits then."""
        found = self._group(group)
        return 0 if found is None else sum(record.send(message) for record in list(found.members))

    def _subscribe(self, subscriber: Ref[Any], wanted: Hashable | None) -> None:
        record = living(self.ctx.node, subscriber, "tell it of joining and leaving")
        before = self.scope.subscribers.get(record, _NOTHING)
        if wanted is None or before is None:
            self.scope.subscribers[record] = None
        else:
            self.scope.subscribers[record] = {*before, wanted}
        self.scope.followed.add(record)

    def _group(self, group: Any) -> _Group | None:
        try:
            return self.scope.groups.get(strict(group))
        except TypeError:
            return None
