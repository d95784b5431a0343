"""Keys, ids and refs whose own code raises: only the call that brings one fails, and nobody else's
entries are lost.
"""

from __future__ import annotations

from typing import Any

import pytest
import trio
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

import actorkit as ak
from actorkit.otp.registry_table import RegistryTable
from actorkit.policy.key_table import KeyTable, Slot
from tests.effort import effort

from .actors import Idle, Notes, settled

R = ak.Registry
G = ak.ProcessGroups


class Outrage(BaseException):
    """What ``except Exception`` does not catch."""


class Exit(ak.ActorExit):
    """What a handler raises to end its actor."""

    def __init__(self, text: str) -> None:
        super().__init__(ak.Failure(text))


ERRORS = [RuntimeError, TypeError, MemoryError, RecursionError, Outrage, Exit, GeneratorExit]


class Moody:
    """A key that behaves until its mood changes: from then on, one of its methods raises."""

    def __init__(self, number: int, mood: str = "", error: type[BaseException] = RuntimeError) -> None:
        self.number = number
        self.mood = mood
        self.error = error

    def _do(self, what: str) -> None:
        if what in self.mood:
            raise self.error("a bad day")

    def __hash__(self) -> int:
        self._do("hash")
        return 7

    def __eq__(self, other: object) -> bool:
        self._do("eq")
        return isinstance(other, Moody) and other.number == self.number

    def __repr__(self) -> str:
        self._do("repr")
        return f"<Moody {self.number}>"


# --- the table, against a list -------------------------------------------------------------------


class Table(RuleBasedStateMachine):
    """All keys have the same hash, so each is compared with all the others. A call that raises
    BadKey changes nothing, one that does not raise is right, and a holder's entries can always be
    dropped.
    """

    def __init__(self) -> None:
        super().__init__()
        self.table = RegistryTable()
        self.pool = [Moody(number) for number in (0, 1, 1, 2)]
        self.entries: list[tuple[Any, int, int]] = []
        self.serial = 0

    def same(self, key: Any, which: int, wrapped: bool) -> bool:
        return bool(key[0] == self.pool[which].number and key[1] is wrapped)

    def key(self, which: int, wrapped: bool) -> Any:
        return (self.pool[which], "x") if wrapped else self.pool[which]

    @rule(
        which=st.integers(0, 3),
        mood=st.sampled_from(["", "hash", "eq", "repr", "hash eq"]),
        error=st.sampled_from(ERRORS),
    )
    def change(self, which: int, mood: str, error: type[BaseException]) -> None:
        self.pool[which].mood, self.pool[which].error = mood, error

    @rule(which=st.integers(0, 3), wrapped=st.booleans(), holder=st.integers(0, 2))
    def add(self, which: int, wrapped: bool, holder: int) -> None:
        try:
            self.table.add(self.key(which, wrapped), holder, self.serial)
        except (ak.BadKey, TypeError):
            assert any(key.mood for key in self.pool)
        else:
            self.entries.append(((self.pool[which].number, wrapped), holder, self.serial))
        self.serial += 1

    @rule(which=st.integers(0, 3), wrapped=st.booleans(), holder=st.integers(0, 2))
    def remove(self, which: int, wrapped: bool, holder: int) -> None:
        gone = [e for e in self.entries if self.same(e[0], which, wrapped) and e[1] == holder]
        try:
            removed = self.table.remove(self.key(which, wrapped), holder)
        except (ak.BadKey, TypeError):
            assert any(key.mood for key in self.pool)
        else:
            assert [entry.value for entry in removed] == [e[2] for e in gone]
            self.entries = [e for e in self.entries if e not in gone]

    @rule(which=st.integers(0, 3), wrapped=st.booleans())
    def look(self, which: int, wrapped: bool) -> None:
        try:
            found = self.table.entries(self.key(which, wrapped))
        except (ak.BadKey, TypeError):
            assert any(key.mood for key in self.pool)
        else:
            assert sorted(e.value for e in found) == [e[2] for e in self.entries if self.same(e[0], which, wrapped)]

    @rule(holder=st.integers(0, 2))
    def end(self, holder: int) -> None:
        gone = [e[2] for e in self.entries if e[1] == holder]
        assert sorted(entry.value for entry in self.table.remove_holder(holder)) == gone
        self.entries = [e for e in self.entries if e[1] != holder]

    @invariant()
    def agrees(self) -> None:
        assert sorted(entry.value for entry in self.table) == [e[2] for e in self.entries]
        assert len(self.table) == len(self.entries)
        for holder in range(3):
            own = [e[2] for e in self.entries if e[1] == holder]
            assert sorted(entry.value for entry in self.table.held_by(holder)) == own
            assert self.table.holds(holder) == bool(own)
        assert len(self.table._keys) == len({e[0] for e in self.entries})


Table.TestCase.settings = effort(60, stateful_step_count=40)
TestTable = Table.TestCase


def test_keyboard_interrupt_is_nobodys_key():
    """KeyboardInterrupt in a key's code is not turned into BadKey, and the table stays as
    it was.
    """
    table: KeyTable[Slot] = KeyTable()
    table.put(table.locate(Moody(1)), Slot())
    with pytest.raises(KeyboardInterrupt):
        table.locate(Moody(2, "hash", KeyboardInterrupt))
    assert len(table) == 1


def test_a_key_that_drops_others_while_it_is_compared():
    """A key's code may do anything, even end the holder of the key that it is being
    compared with.
    """
    table = RegistryTable()

    class Sly(Moody):
        __hash__ = Moody.__hash__

        def __eq__(self, other: object) -> bool:
            table.remove_holder("victim")
            return True

    sly = Sly(1)
    table.add(sly, "victim", 1)
    assert table.entries(Sly(2)) == []
    assert len(table) == 0
    table.add(Sly(3), "victim", 2)
    table.add(Sly(4), "other", 3)
    assert [entry.value for entry in table] == [3]


# --- a registry ----------------------------------------------------------------------------------


def tree(keys="unique"):
    return ak.supervisor(ak.registry(keys, name="r"), ak.process_groups(name="g"), max_restarts=0)


CALLS = {
    "register": lambda one, key: (R.register, one, key),
    "unregister": lambda one, key: (R.unregister, one, key),
    "lookup": lambda one, key: (R.lookup, key),
    "whereis": lambda one, key: (R.whereis, key),
    "values": lambda one, key: (R.values, one, key),
    "update_value": lambda one, key: (R.update_value, one, key, str),
}


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
@pytest.mark.parametrize("mood", ["hash", "eq", "hash eq repr"])
@pytest.mark.parametrize("what", CALLS)
@pytest.mark.parametrize("deep", [False, True], ids=["itself", "in a tuple"])
async def test_only_the_call_that_brings_a_bad_key_fails(what, mood, error, deep):
    """Whatever a key raises, in whichever method of a registry: the registry, its entries and its
    holders live.
    """
    async with ak.open_node(tree()) as node:
        registry, one, good = node.whereis("r"), node.spawn(Idle), node.spawn(Idle)
        await registry.call(R.register, good, "good")
        await registry.call(R.register, good, (Moody(1),) if deep else Moody(1))
        bad = Moody(2, mood, error)
        stored = Moody(1, "eq", error)
        await settled()
        for key in (bad, stored):
            given = (key,) if deep else key
            outcome = None
            try:
                outcome = await registry.call(*CALLS[what](one, given))
            except (ak.BadKey, ak.NotRegistered, ak.AlreadyRegistered, TypeError) as failure:
                outcome = failure
            if "hash" in key.mood and error is not TypeError:
                assert isinstance(outcome, ak.BadKey)
                assert error.__name__ in str(outcome)
            assert await registry.call(R.lookup, "good") == [(good, None)]
            if what == "register" and outcome is None:
                await registry.call(R.unregister, one, given)
        assert node.whereis("r") is registry
        good.kill()
        assert await registry.call(R.count) == 0


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
async def test_entries_go_with_their_holder_whatever_the_key_has_become(error):
    """The end of a holder frees a stored key even if every method of the key raises by then, and
    nobody else is hurt.
    """
    async with ak.open_node(tree("duplicate")) as node:
        registry, one, two = node.whereis("r"), node.spawn(Idle), node.spawn(Idle)
        keys = [Moody(number) for number in range(5)]
        for key in keys:
            await registry.call(R.register, one, key)
            await registry.call(R.register, two, key)
        for key in keys:
            key.mood, key.error = "hash eq repr", error
        one.kill()
        assert await registry.call(R.count) == 5
        assert await registry.call(R.keys, two) == keys
        two.stop()
        await settled()
        assert await registry.call(R.count) == 0
        assert node.whereis("r") is registry
        await registry.call(R.register, node.spawn(Idle), Moody(1))


async def test_an_innocent_caller_is_told_with_whose_key_it_was_compared():
    """When a stored key is to blame, the error names its holder, and the entry goes when that
    holder ends.
    """
    async with ak.open_node(tree()) as node:
        registry, villain, innocent = node.whereis("r"), node.spawn(Idle), node.spawn(Idle)
        stored = Moody(1)
        await registry.call(R.register, villain, stored)
        stored.mood = "eq"
        with pytest.raises(ak.BadKey) as caught:
            await registry.call(R.register, innocent, Moody(2))
        assert str(villain.pid) in str(caught.value.holder)
        assert str(villain.pid) in str(caught.value)
        assert caught.value.__context__ is None
        villain.kill()
        await registry.call(R.register, innocent, Moody(2))


async def test_a_taken_key_that_cannot_be_shown_is_refused_all_the_same():
    """AlreadyRegistered says as much as it can about a key whose repr raises."""
    async with ak.open_node(tree()) as node:
        registry = node.whereis("r")
        key = Moody(1, "repr", Outrage)
        await registry.call(R.register, node.spawn(Idle), key)
        with pytest.raises(ak.AlreadyRegistered, match="its repr raised Outrage"):
            await registry.call(R.register, node.spawn(Idle), key)
        dead = node.spawn(Idle)
        dead.kill()
        with pytest.raises(ak.NotAlive, match="its repr raised Outrage"):
            await registry.call(R.register, dead, key)


async def test_a_key_that_ends_the_one_who_registers_while_it_is_hashed():
    """A key's code may end the actor that is being registered, but a dead actor is never
    entered.
    """
    async with ak.open_node(tree()) as node:
        registry, one = node.whereis("r"), node.spawn(Idle)

        class Killer:
            def __hash__(self) -> int:
                one.kill()
                return 1

        with pytest.raises(ak.NotAlive):
            await registry.call(R.register, one, Killer())
        assert await registry.call(R.count) == 0


async def test_functions_that_raise_anything_are_their_caller_s():
    """Whatever the caller's function raises, match and update_value raise CallbackFailed."""

    def outrageous(*_: object) -> Any:
        raise Outrage("no")

    async with ak.open_node(tree()) as node:
        registry, one = node.whereis("r"), node.spawn(Idle)
        await registry.call(R.register, one, "a", 1)
        with pytest.raises(ak.CallbackFailed, match="Outrage"):
            await registry.call(R.match, outrageous)
        with pytest.raises(ak.CallbackFailed, match="Outrage"):
            await registry.call(R.update_value, one, "a", outrageous)
        assert await registry.call(R.values, one, "a") == [1]


async def test_refs_by_a_bad_key_fail_whoever_uses_them():
    """ak.via raises at once if the key's hash raises, and at use if another method does. Actors
    that are given such a ref refuse it and live.
    """
    async with ak.open_node(
        ak.supervisor(
            ak.registry(name="r"),
            ak.process_groups(name="g"),
            ak.dynamic_supervisor().with_(name="d"),
            max_restarts=0,
        )
    ) as node:
        registry, groups, dynamic = node.whereis("r"), node.whereis("g"), node.whereis("d")
        await registry.call(R.register, node.spawn(Idle), Moody(1))
        with pytest.raises(RuntimeError, match="a bad day"):
            ak.via(Idle, "r", Moody(1, "hash"))
        assert "Moody instance" in repr(ak.via(Idle, "r", Moody(1, "repr")))
        key = Moody(2)
        bad = ak.via(Idle, "r", key)
        key.mood = "hash"
        with pytest.raises(ak.BadKey):
            bad.cast(Idle.crash)
        with pytest.raises(ak.BadKey):
            await bad.call(Idle.number)
        for ask in (
            (registry, R.register, bad, "x"),
            (registry, R.unregister, bad, "x"),
            (registry, R.keys, bad),
            (registry, R.values, bad, "x"),
            (registry, R.update_value, bad, "x", str),
            (groups, G.join, "x", bad),
            (groups, G.leave, "x", bad),
            (groups, G.monitor, bad),
            (groups, G.monitor_group, bad, "x"),
            (groups, G.demonitor, bad),
            (dynamic, ak.DynamicSupervisor.terminate_child, bad),
        ):
            with pytest.raises(ak.BadKey):
                await ask[0].call(*ask[1:])
            assert ask[0].alive
        with pytest.raises(ak.ChildNotFound):
            await dynamic.call(ak.DynamicSupervisor.terminate_child, Moody(1, "hash repr", Outrage))
        assert dynamic.alive


async def test_a_listener_that_cannot_be_found_is_told_nothing():
    """A registry whose listener is reached by a bad key logs a warning, and all other listeners are
    notified.
    """
    key = Moody(2)
    bad = ak.via(Notes, "r", key)
    async with ak.open_node(
        ak.supervisor(
            ak.registry(name="r", listeners=[bad, ak.named(Notes, "notes")]), ak.child(Notes).with_(name="notes")
        )
    ) as node:
        registry = node.whereis("r")
        key.mood = "hash eq repr"
        await registry.call(R.register, node.spawn(Idle), "a")
        assert [type(note) for note in await node.whereis("notes").call(Notes.taken)] == [ak.Registered]


# --- the caller registers itself -----------------------------------------------------------------


class Member(ak.Actor):
    @ak.call
    async def join(self, key: Any, *, from_task: bool = False) -> None:
        registry = ak.named(R, "r")
        if from_task:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(registry.call, R.register, key)
        else:
            await registry.call(R.register, key)

    @ak.call
    async def join_busy(self, key: Any, gate: trio.Event) -> None:
        gate.set()
        await ak.named(R, "r").within(3).call(R.register, key)


@pytest.mark.parametrize("how", ["inline", "queued", "from a task of its own"])
async def test_register_with_a_key_alone_enters_the_caller(how):
    """As in Elixir's Registry.register/3, a key alone registers the calling actor, however the call
    is made.
    """
    async with ak.open_node(tree()) as node:
        one = node.spawn(Member)
        if how == "queued":
            await one.call(Member.join_busy, "key", trio.Event())
        else:
            await one.call(Member.join, "key", from_task=how != "inline")
        assert await node.whereis("r").call(R.whereis, "key") is one


async def test_register_with_a_key_alone_needs_an_actor_that_calls():
    """A plain task is told to give a ref, and a ref without a key is refused."""
    async with ak.open_node(tree()) as node:
        with pytest.raises(ak.NotAlive, match="register\\(ref, key\\)"):
            await node.whereis("r").call(R.register, "key")
        with pytest.raises(ak.NotAlive, match="register\\(ref, key\\)"):
            await node.whereis("r").within(2).call(R.register, "key")
        with pytest.raises(TypeError, match="without a key"):
            await node.whereis("r").call(R.register, node.spawn(Idle))
        assert await node.whereis("r").call(R.count) == 0


async def test_a_name_with_code_of_its_own_is_taken_as_plain_text():
    """A name is compared when its holder ends, where nothing may raise, so it is stored as a plain
    str.
    """

    class Text(str):
        __slots__ = ()

        def __hash__(self) -> int:
            raise RuntimeError("a bad day")

    class Named(ak.Actor):
        @ak.call
        def take(self, name: str) -> None:
            self.ctx.register(name)

    async with ak.open_node() as node:
        one, two = node.spawn(ak.child(Named).with_(name=Text("one"))), node.spawn(Named)
        await two.call(Named.take, Text("two"))
        assert node.whereis("one") is one
        assert node.whereis("two") is two
        one.kill()
        two.kill()
        assert node.engine.names.registered() == []


# --- process groups ------------------------------------------------------------------------------


GROUP_CALLS = {
    "join": lambda one, key: (G.join, key, one),
    "leave": lambda one, key: (G.leave, key, one),
    "members": lambda one, key: (G.members, key),
    "monitor_group": lambda one, key: (G.monitor_group, one, key),
    "broadcast": lambda one, key: (G.broadcast, key, 1),
}


@pytest.mark.parametrize("error", [RuntimeError, Outrage], ids=lambda error: error.__name__)
@pytest.mark.parametrize("mood", ["hash", "hash eq repr"])
@pytest.mark.parametrize("what", GROUP_CALLS)
async def test_only_the_call_that_brings_a_bad_group_fails(what, mood, error):
    """Whatever a group's key raises, in whichever method of a scope: the scope, its members and its
    subscribers live.
    """
    async with ak.open_node(tree()) as node:
        groups, one, good = node.whereis("g"), node.spawn(Idle), node.spawn(Idle)
        await groups.call(G.join, "good", good)
        await groups.call(G.join, Moody(1), good)
        with pytest.raises(ak.BadKey, match=error.__name__):
            await groups.call(*GROUP_CALLS[what](one, Moody(2, mood, error)))
        with pytest.raises(ak.BadKey, match=str(good.number)):
            stored = Moody(1)
            await groups.call(G.join, stored, good)
            (await groups.call(G.which_groups))[1].mood = "eq"
            await groups.call(*GROUP_CALLS[what](one, Moody(3)))
        assert await groups.call(G.members, "good") == [good]
        assert node.whereis("g") is groups
        good.kill()
        assert await groups.call(G.which_groups) == []


async def test_members_and_subscribers_of_a_group_that_has_gone_bad():
    """Leaving such a group, or ending in it, runs no code of its key, and a new subscriber is told
    of the other groups only.
    """
    async with ak.open_node(tree()) as node:
        groups, one, two = node.whereis("g"), node.spawn(Idle), node.spawn(Idle)
        notes, everything = node.spawn(Notes), node.spawn(Notes)
        key = Moody(1)
        await groups.call(G.monitor_group, notes, key)
        for member in (one, two):
            await groups.call(G.join, key, member)
        await groups.call(G.join, "good", two)
        key.mood, key.error = "hash eq repr", Outrage
        assert await groups.call(G.monitor, everything) == {"good": [two]}
        one.kill()
        two.kill()
        assert [type(note) for note in await notes.call(Notes.taken)] == [ak.Joined] * 2 + [ak.Left] * 2
        assert len(await everything.call(Notes.taken)) == 3
        notes.kill()
        assert await groups.call(G.which_groups) == []
        assert len(groups.obj.scope.groups) == 0


# --- supervisors ---------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [RuntimeError, Outrage], ids=lambda error: error.__name__)
async def test_child_ids_that_raise_are_their_author_s(error):
    """A child id whose code raises fails when the spec is made. If it goes bad later, in a running
    supervisor, nobody else is hurt.
    """
    for mood in ("hash", "eq", "repr"):
        with pytest.raises(ak.InvalidChildSpec, match="id="):
            ak.child(Idle).with_(id=Moody(1, mood, error))
    async with ak.open_node(ak.supervisor(ak.child(Idle).with_(id="good"), max_restarts=3)) as node:
        root, S = node.root, ak.Supervisor
        assert root is not None
        good = (await root.call(S.which_child, "good")).ref
        for method in (S.which_child, S.terminate_child, S.delete_child, S.restart_child, S.get_childspec):
            with pytest.raises(ak.ChildNotFound):
                await root.call(method, Moody(5, "hash repr", error))
        key = Moody(1)
        child = await root.call(S.start_child, ak.child(Idle).with_(id=key))
        other = ak.child(Idle).with_(id=Moody(1))
        key.mood, key.error = "eq", error
        with pytest.raises(ak.InvalidChildSpec):
            await root.call(S.start_child, ak.child(Idle).with_(id=Moody(2)))
        with pytest.raises(ak.InvalidChildSpec):
            await root.call(S.start_child, other)
        key.mood = "hash eq repr"
        child.cast(Idle.crash)
        await settled()
        assert len(await root.call(S.which_children)) == 2
        assert good.alive
        (again,) = [info.ref for info in await root.call(S.which_children) if info.ref is not good]
        assert again.alive
        assert again is not child
    assert not again.alive
