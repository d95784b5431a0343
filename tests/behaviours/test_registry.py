"""Registries, against what Elixir's registry suites assert (REG-U, REG-D, REG-L)."""

from __future__ import annotations

import gc
import weakref

import pytest

import actorkit as ak
from actorkit.otp.registry_table import RegistryTable, strict
from tests.conformance.marks import conforms

from .actors import Idle, Notes, settled

R = ak.Registry


def unique(**options):
    return ak.registry(name="r", **options)


def duplicate(**options):
    return ak.registry("duplicate", name="r", **options)


def ref():
    return ak.named(R, "r")


@conforms("REG-U")
async def test_a_registered_actor_is_found_by_its_key():
    """REG-U: lookup, whereis, keys, values and count show an entry, or that there is none."""
    async with ak.open_node(unique()) as node:
        one = node.spawn(Idle)
        assert await ref().call(R.lookup, "a") == []
        assert await ref().call(R.whereis, "a") is None
        await ref().call(R.register, one, "a", 1)
        await ref().call(R.register, one, ("b", 2), 2)
        assert await ref().call(R.lookup, "a") == [(one, 1)]
        assert await ref().call(R.whereis, ("b", 2)) is one
        assert await ref().call(R.keys, one) == ["a", ("b", 2)]
        assert await ref().call(R.values, one, "a") == [1]
        assert await ref().call(R.values, one, "c") == []
        assert await ref().call(R.count) == 2


@conforms("REG-U")
async def test_a_unique_key_has_one_holder():
    """REG-U: a second registration is refused, even one by the holder itself, and leaves no
    trace.
    """
    async with ak.open_node(unique()) as node:
        one, two = node.spawn(Idle), node.spawn(Idle)
        await ref().call(R.register, one, "a", 1)
        for other in (one, two):
            with pytest.raises(ak.AlreadyRegistered) as caught:
                await ref().call(R.register, other, "a", 2)
            assert str(one.pid) in caught.value.holder
        assert await ref().call(R.keys, two) == []
        assert await ref().call(R.lookup, "a") == [(one, 1)]
        assert await ref().call(R.count) == 1


@conforms("REG-L")
@pytest.mark.parametrize("end", ["crash", "kill", "stop"])
async def test_entries_go_in_the_step_in_which_their_holder_ends(end):
    """REG-L: anyone who learns of the holder's end finds the key free, however the holder ended."""

    class Watcher(ak.Actor):
        def __init__(self, whom):
            self.ctx.monitor(whom)
            self.seen = []

        def handle_info(self, message):
            self.seen.append((self.ctx.node.engine.names.whereis("r").obj.lookup("a"), message.ref.alive))

        @ak.call
        def look(self):
            return self.seen

    async with ak.open_node(unique()) as node:
        one, two = node.spawn(Idle), node.spawn(Idle)
        await ref().call(R.register, one, "a")
        watcher = node.spawn(Watcher, one)
        if end == "crash":
            one.cast(Idle.crash)
        else:
            getattr(one, end)()
        await settled()
        assert await watcher.call(Watcher.look) == [([], False)]
        await ref().call(R.register, two, "a")
        assert await ref().call(R.whereis, "a") is two
        assert await ref().call(R.count) == 1


@conforms("REG-U")
async def test_keys_are_compared_strictly():
    """REG-U: 1, 1.0 and True are three keys, also inside tuples; equal keys of one type are one."""
    async with ak.open_node(unique()) as node:
        one = node.spawn(Idle)
        keys = [
            1,
            1.0,
            True,
            "1",
            b"1",
            (1,),
            (1.0,),
            (True,),
            ((1,), 2),
            ((1.0,), 2),
            frozenset([1]),
            frozenset([1.0]),
            None,
        ]
        for value, key in enumerate(keys):
            await ref().call(R.register, one, key, value)
        for value, key in enumerate(keys):
            assert await ref().call(R.lookup, key) == [(one, value)]
        with pytest.raises(ak.AlreadyRegistered):
            await ref().call(R.register, one, (1,))
        assert await ref().call(R.unregister, one, 1.0) is None
        assert await ref().call(R.lookup, 1) == [(one, 0)]


def test_strict_keys_do_not_collide_with_their_own_form():
    """A user's tuple is never mistaken for the strict form of another key."""
    assert strict((int, 1)) != strict(1)
    assert strict((bool, True)) != strict(True)
    assert strict((tuple, (1,))) != strict((1,))


@conforms("REG-U")
async def test_only_living_local_actors_can_be_registered():
    """REG-U: registering a dead actor, an actor of another node, or something that is not a ref is
    the caller's fault; the registry goes on.
    """
    async with ak.open_node(unique()) as node, ak.open_node(name="other") as other:
        dead = node.spawn(Idle)
        dead.kill()
        registry = node.whereis("r")
        for bad in (dead, other.spawn(Idle), "no ref", ak.named(Idle, "nobody")):
            with pytest.raises(ak.NotAlive):
                await registry.call(R.register, bad, "a")
        with pytest.raises(TypeError):
            await registry.call(R.register, node.spawn(Idle), [])
        assert await registry.call(R.lookup, []) == []
        assert await registry.call(R.count) == 0
        assert registry.alive


@conforms("REG-U")
async def test_unregister_is_always_well():
    """REG-U: unregister removes an entry if there is one and accepts that there is none; the
    registry then stops watching the actor.
    """
    async with ak.open_node(unique()) as node:
        one, two = node.spawn(Idle), node.spawn(Idle)
        await ref().call(R.register, one, "a")
        await ref().call(R.unregister, two, "a")
        assert await ref().call(R.whereis, "a") is one
        for _ in range(3):
            await ref().call(R.unregister, one, "a")
        await ref().call(R.unregister, "no ref", [])
        assert await ref().call(R.count) == 0
        assert not one.relations.at_exit


@conforms("REG-U")
async def test_registering_and_unregistering_leaves_nothing_behind():
    """REG-U: registering and unregistering lets no table and no list of callbacks grow."""
    async with ak.open_node(unique()) as node:
        one = node.spawn(Idle)
        for _ in range(100):
            await ref().call(R.register, one, "a")
            await ref().call(R.unregister, one, "a")
        await ref().call(R.register, one, "a")
        await ref().call(R.register, one, "b")
        assert len(one.relations.at_exit) == 1


@conforms("REG-U")
async def test_update_value_is_the_holders():
    """REG-U: the holder's update_value replaces the value and returns both, new and old; a call by
    another actor, or a function that raises, changes nothing.
    """
    async with ak.open_node(unique()) as node:
        one, two = node.spawn(Idle), node.spawn(Idle)
        await ref().call(R.register, one, "a", 1)
        assert await ref().call(R.update_value, one, "a", lambda v: v + 1) == (2, 1)
        with pytest.raises(ak.NotRegistered):
            await ref().call(R.update_value, two, "a", lambda v: v + 1)
        with pytest.raises(ak.CallbackFailed, match="ZeroDivisionError"):
            await ref().call(R.update_value, one, "a", lambda v: v // 0)
        assert await ref().call(R.lookup, "a") == [(one, 2)]


@conforms("REG-D")
async def test_duplicate_keys_have_many_entries():
    """REG-D: a key may have several actors, and one actor several times; unregister removes all
    entries of one actor.
    """
    async with ak.open_node(duplicate()) as node:
        one, two = node.spawn(Idle), node.spawn(Idle)
        for who, value in ((one, 1), (two, 2), (one, 3)):
            await ref().call(R.register, who, "a", value)
        assert sorted(value for _, value in await ref().call(R.lookup, "a")) == [1, 2, 3]
        assert await ref().call(R.keys, one) == ["a", "a"]
        assert await ref().call(R.values, one, "a") == [1, 3]
        assert await ref().call(R.count) == 3
        await ref().call(R.unregister, one, "a")
        assert await ref().call(R.lookup, "a") == [(two, 2)]
        two.kill()
        assert await ref().call(R.count) == 0


@conforms("REG-D")
async def test_what_needs_unique_keys_is_refused_by_others():
    """REG-D: update_value and via work with unique keys only."""
    async with ak.open_node(duplicate()) as node:
        one = node.spawn(Idle)
        await ref().call(R.register, one, "a")
        with pytest.raises(ak.NotUnique):
            await ref().call(R.update_value, one, "a", str)
        with pytest.raises(ak.NotUnique):
            await ak.via(Idle, "r", "a").call(Idle.number)


@conforms("REG-U")
async def test_match_looks_at_every_entry():
    """REG-U: match selects by a predicate; a predicate that raises is its author's fault."""
    async with ak.open_node(unique()) as node:
        one, two = node.spawn(Idle), node.spawn(Idle)
        await ref().call(R.register, one, "a", 1)
        await ref().call(R.register, two, "b", 2)
        assert await ref().call(R.match, lambda key, who, value: value > 1) == [("b", two, 2)]
        with pytest.raises(ak.CallbackFailed, match="TypeError"):
            await ref().call(R.match, lambda key, who, value: value > "x")
        assert await ref().call(R.count) == 2


@conforms("REG-D")
async def test_dispatch_runs_in_the_caller():
    """REG-D: dispatch calls the function once with the entries, or not at all if there are none;
    what it raises comes out, and the registry lives.
    """
    async with ak.open_node(duplicate()) as node:
        assert await R.dispatch(ref(), "a", lambda entries: 1 / 0) is None
        notes = [node.spawn(Notes), node.spawn(Notes)]
        for each in notes:
            await ref().call(R.register, each, "a", "x")
        assert await R.dispatch(ref(), "a", lambda entries: [who.send(value) for who, value in entries]) == [True, True]
        for each in notes:
            assert await each.call(Notes.taken) == ["x"]
        with pytest.raises(ZeroDivisionError):
            await R.dispatch(ref(), "a", lambda entries: 1 / 0)
        assert ref().alive


@conforms("REG-U")
async def test_listeners_hear_of_entries():
    """REG-U: listeners get Registered and Unregistered in order, at a holder's death too; a
    listener may be given by name.
    """
    listener = ak.child(Notes).with_(name="listener")
    tree = ak.supervisor(listener, unique(listeners=[ak.named(Notes, "listener")]))
    async with ak.open_node(tree) as node:
        one = node.spawn(Idle)
        await ref().call(R.register, one, "a", 1)
        await ref().call(R.unregister, one, "a")
        await ref().call(R.register, one, "b", 2)
        one.kill()
        assert await ak.named(Notes, "listener").call(Notes.taken) == [
            ak.Registered("r", "a", one, 1),
            ak.Unregistered("r", "a", one),
            ak.Registered("r", "b", one, 2),
            ak.Unregistered("r", "b", one),
        ]


@conforms("REG-U")
async def test_via_follows_the_key():
    """REG-U: each send goes to the actor that holds the key at that moment; if nobody does, the
    result is NoProc, False or a dead letter.
    """
    async with ak.open_node(unique()) as node:
        via = ak.via(Idle, "r", ("user", 7))
        assert not via.alive
        assert not via.cast(Idle.crash)
        with pytest.raises(ak.CalleeDied) as caught:
            await via.call(Idle.number)
        assert caught.value.reason == ak.NOPROC
        assert node.statistics().dead_letters == 1
        one = node.spawn(Idle)
        await ref().call(R.register, one, ("user", 7))
        assert await via.call(Idle.number) == one.pid.number
        assert await via.within(60).call(Idle.number) == one.pid.number
        one.kill()
        two = node.spawn(Idle)
        await ref().call(R.register, two, ("user", 7))
        assert via.pid == two.pid
        assert node.engine.resolve(via) is two


@conforms("REG-U")
async def test_a_via_ref_can_be_monitored_linked_and_sent_to_later():
    """REG-U: whatever takes a named ref also takes a ref via a registry."""

    class Watcher(Notes):
        @ak.call
        def watch(self):
            self.ctx.monitor(ak.via(Idle, "r", "a"))
            self.ctx.send_after(0, ak.via(Notes, "r", "me"), "later")

    async with ak.open_node(unique()) as node:
        one, watcher = node.spawn(Idle), node.spawn(Watcher)
        await ref().call(R.register, one, "a")
        await ref().call(R.register, watcher, "me")
        await watcher.call(Watcher.watch)
        await settled()
        one.kill()
        await settled()
        later, down = await watcher.call(Notes.taken)
        assert later == "later"
        assert down.ref == ak.via(Idle, "r", "a")
        assert down.reason == ak.KILLED


def test_via_refs_are_equal_when_they_mean_the_same():
    """Two via refs are equal if registry and key are, the key compared strictly; an unhashable key
    is refused at once.
    """
    assert ak.via(Idle, "r", 1) == ak.via(Notes, "r", 1)
    assert hash(ak.via(Idle, "r", 1)) == hash(ak.via(Idle, "r", 1))
    assert ak.via(Idle, "r", 1) != ak.via(Idle, "r", 1.0)
    assert ak.via(Idle, "r", 1) != ak.via(Idle, "q", 1)
    assert ak.via(Idle, "r", 1) != ak.named(Idle, "r[1]")
    assert ak.named(Idle, "r[1]") != ak.via(Idle, "r", 1)
    with pytest.raises(TypeError):
        ak.via(Idle, "r", [])


@conforms("REG-U")
async def test_no_such_registry():
    """REG-U: a via ref finds nobody if the registry does not exist, or if another kind of actor has
    its name.
    """
    async with ak.open_node(ak.child(Idle).with_(name="r")):
        assert not ak.via(Idle, "r", 1).alive
        assert not ak.via(Idle, "nowhere", 1).alive


@conforms("REG-L")
async def test_a_restarted_registry_is_empty_and_leaves_no_callbacks():
    """REG-L: a registry's entries end with it, and its holders do not call a dead registry."""
    async with ak.open_node(ak.supervisor(unique())) as node:
        one = node.spawn(Idle)
        await ref().call(R.register, one, "a")
        ref().kill()
        assert not one.relations.at_exit
        await settled()
        assert await ref().call(R.count) == 0
        await ref().call(R.register, one, "a")
        one.kill()
        assert await ref().call(R.count) == 0


async def test_a_registry_may_hold_itself():
    """A registry that holds a key in itself may end like any other."""
    async with ak.open_node(ak.supervisor(unique())) as node:
        await ref().call(R.register, ref(), "me")
        ref().kill()
        await settled()
        assert node.statistics().restarts == 1
        assert await ref().call(R.count) == 0


@conforms("REG-D")
@pytest.mark.parametrize("fields", [{"keys": "many"}, {"listeners": ["r"]}, {"name": ""}])
def test_bad_options_are_refused_at_once(fields):
    """REG-D: kind, listeners and name are checked when the spec is made."""
    with pytest.raises(ak.InvalidChildSpec):
        ak.registry(**{"name": "r", **fields})


async def test_a_registry_keeps_no_values_of_the_dead():
    """An entry's value is freed once its holder has ended."""

    class Value:
        pass

    async with ak.open_node(unique()) as node:
        one = node.spawn(Idle)
        value = Value()
        alive = weakref.ref(value)
        await ref().call(R.register, one, "a", value)
        del value
        one.kill()
        gc.collect()
        assert alive() is None


def test_the_table_keeps_its_own_counts():
    """Counts, holders and keys agree after any sequence of additions and removals."""
    table = RegistryTable()
    for key, holder in [("a", 1), ("a", 2), ("b", 1), ("a", 1)]:
        table.add(key, holder, None)
    assert len(table) == len(list(table)) == 4
    assert [entry.key for entry in table.held_by(1)] == ["a", "a", "b"]
    assert len(table.remove("a", 1)) == 2
    assert table.remove("a", 1) == []
    assert len(table.remove_holder(1)) == 1
    assert not table.holds(1)
    assert len(table.remove_holder(2)) == 1
    assert len(table) == 0
    assert list(table) == []
