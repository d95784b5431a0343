"""Process groups, against what Erlang's pg suite asserts (PG)."""

from __future__ import annotations

import pytest

import actorkit as ak
from tests.conformance.marks import conforms

from .actors import Idle, Notes, settled

G = ak.ProcessGroups


def ref(name="g"):
    return ak.named(G, name)


def scope(name="g"):
    return ak.process_groups(name=name)


@conforms("PG")
async def test_groups_appear_and_vanish():
    """PG: a group exists from its first member to its last."""
    async with ak.open_node(scope()) as node:
        one, two = node.spawn(Idle), node.spawn(Idle)
        assert await ref().call(G.members, "a") == []
        await ref().call(G.join, "a", one)
        await ref().call(G.join, "a", two)
        await ref().call(G.join, ("b", 1), one)
        assert await ref().call(G.members, "a") == [one, two]
        assert await ref().call(G.which_groups) == ["a", ("b", 1)]
        await ref().call(G.leave, "a", one)
        await ref().call(G.leave, "a", two)
        assert await ref().call(G.which_groups) == [("b", 1)]


@conforms("PG")
async def test_n_joins_need_n_leaves():
    """PG: a member is listed once for each join, and stays a member until it has left as often."""
    async with ak.open_node(scope()) as node:
        one = node.spawn(Idle)
        for _ in range(3):
            await ref().call(G.join, "a", one)
        for left in (3, 2, 1):
            assert await ref().call(G.members, "a") == [one] * left
            await ref().call(G.leave, "a", one)
        with pytest.raises(ak.NotJoined):
            await ref().call(G.leave, "a", one)
        assert not one.relations.at_exit


@conforms("PG")
async def test_who_may_join():
    """PG: living actors of this node may join; any other argument is the caller's fault, and the
    scope goes on.
    """
    async with ak.open_node(scope()) as node, ak.open_node(name="other") as other:
        groups = node.whereis("g")
        dead = node.spawn(Idle)
        dead.kill()
        for bad in (dead, other.spawn(Idle), 7):
            with pytest.raises(ak.NotAlive):
                await groups.call(G.join, "a", bad)
        with pytest.raises(ak.NotJoined):
            await groups.call(G.leave, "a", dead)
        with pytest.raises(TypeError):
            await groups.call(G.leave, [], dead)
        with pytest.raises(TypeError):
            await groups.call(G.join, [], groups)
        assert await groups.call(G.members, []) == []
        assert await groups.call(G.which_groups) == []


@conforms("PG")
async def test_the_dead_leave_all_their_groups():
    """PG: an actor's memberships end in the step in which the actor ends."""
    async with ak.open_node(scope()) as node:
        one, two = node.spawn(Idle), node.spawn(Idle)
        for group in ("a", "b"):
            await ref().call(G.join, group, one)
        await ref().call(G.join, "a", one)
        await ref().call(G.join, "a", two)
        one.kill()
        assert await ref().call(G.members, "a") == [two]
        assert await ref().call(G.which_groups) == ["a"]


@conforms("PG")
async def test_subscribers_hear_of_every_change():
    """PG: a subscriber gets a snapshot, then Joined and Left with the group: one Left for each join
    of a member that dies.
    """
    async with ak.open_node(scope()) as node:
        one, notes = node.spawn(Idle), node.spawn(Notes)
        await ref().call(G.join, "a", one)
        assert await ref().call(G.monitor, notes) == {"a": [one]}
        await ref().call(G.join, "a", one)
        await ref().call(G.join, "b", one)
        await ref().call(G.leave, "b", one)
        one.kill()
        assert await notes.call(Notes.taken) == [
            ak.Joined("g", "a", one),
            ak.Joined("g", "b", one),
            ak.Left("g", "b", one),
            ak.Left("g", "a", one),
            ak.Left("g", "a", one),
        ]


@conforms("PG")
async def test_monitor_one_group_and_demonitor():
    """PG: monitor_group reports changes of that group only; after demonitor, which may be repeated,
    nothing comes.
    """
    async with ak.open_node(scope()) as node:
        one, notes = node.spawn(Idle), node.spawn(Notes)
        assert await ref().call(G.monitor_group, notes, "a") == []
        await ref().call(G.monitor_group, notes, "c")
        for group in ("a", "b", "c"):
            await ref().call(G.join, group, one)
        assert [note.group for note in await notes.call(Notes.taken)] == ["a", "c"]
        await ref().call(G.demonitor, notes)
        await ref().call(G.demonitor, notes)
        await ref().call(G.leave, "a", one)
        assert await notes.call(Notes.taken) == []
        assert not notes.relations.at_exit
        with pytest.raises(ak.NotAlive):
            await ref().call(G.monitor, "nobody")


@conforms("PG")
async def test_a_dead_subscriber_is_forgotten():
    """PG: a subscription ends with its subscriber, even if the subscriber is a member too."""
    async with ak.open_node(scope()) as node:
        one, notes = node.spawn(Idle), node.spawn(Notes)
        await ref().call(G.monitor, notes)
        await ref().call(G.join, "a", notes)
        notes.kill()
        await ref().call(G.join, "a", one)
        assert await ref().call(G.members, "a") == [one]
        assert node.statistics().dead_letters == 1  # the Joined that it had not read yet


async def test_broadcast_reaches_each_member_once():
    """A broadcast returns the number of members that accepted it: 0 for a group that does not
    exist.
    """
    async with ak.open_node(scope()) as node:
        members = [node.spawn(Notes) for _ in range(3)]
        for each in members:
            await ref().call(G.join, "a", each)
        await ref().call(G.join, "a", members[0])
        assert await ref().call(G.broadcast, "a", "hello") == 3
        assert ref().cast(G.broadcast, "a", "again")
        await settled()
        for each in members:
            assert await each.call(Notes.taken) == ["hello", "again"]
        assert await ref().call(G.broadcast, "nobody", "hello") == 0


@conforms("PG")
async def test_scopes_are_separate():
    """PG: the same group in two scopes is two groups."""
    async with ak.open_node(ak.supervisor(scope("g"), scope("h"))) as node:
        one = node.spawn(Idle)
        await ref("g").call(G.join, "a", one)
        assert await ref("h").call(G.members, "a") == []
        await ref("h").call(G.join, "a", one)
        await ref("g").call(G.leave, "a", one)
        assert await ref("h").call(G.members, "a") == [one]


@conforms("PG")
async def test_a_restarted_scope_is_empty():
    """PG: a scope's memberships end with it, and its members keep no trace of it."""
    async with ak.open_node(ak.supervisor(scope())) as node:
        one = node.spawn(Idle)
        await ref().call(G.join, "a", one)
        ref().kill()
        await settled()
        assert await ref().call(G.which_groups) == []
        assert not one.relations.at_exit
        one.kill()


async def test_groups_are_compared_strictly():
    """1 and 1.0 name two groups."""
    async with ak.open_node(scope()) as node:
        one = node.spawn(Idle)
        await ref().call(G.join, 1, one)
        assert await ref().call(G.members, 1.0) == []
        with pytest.raises(ak.NotJoined):
            await ref().call(G.leave, True, one)
