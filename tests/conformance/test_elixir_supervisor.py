"""Elixir's supervisor_test (ESUP-01 to ESUP-16)."""

from __future__ import annotations

import math

import pytest

import actorkit as ak
from actorkit.policy.supervision.supervisor_flags import SupervisorFlags
from tests.conformance.marks import conforms, differs
from tests.supervision.kit import Lab, Quiet, Reasons, S, Worker, counts, settled, states, top, tree, under


class Stack(ak.Actor):
    """What Elixir's suite supervises."""

    def __init__(self, items=()):
        self.items = list(items)

    @ak.call
    def pop(self):
        return self.items.pop(0)

    @ak.call
    def push(self, item):
        self.items.insert(0, item)


@differs("ESUP-01", "ESUP-10")
async def test_a_tree_of_ones_own():
    """A class has no child_spec of its own: a function that returns a spec replaces a module with
    `use`, and its caller can change the fields.
    """

    def stacks(*items, **changes):
        children = [ak.child(Stack, [item]).with_(id=item, name=item) for item in items]
        return ak.supervisor(*children, max_restarts=9).with_(**{"id": "stacks", **changes})

    assert not hasattr(Stack, "child_spec")
    spec = stacks("a", "b")
    assert (spec.id, spec.kind, spec.restart) == ("stacks", "supervisor", "permanent")
    changed = stacks("a", restart="temporary", shutdown=3)
    assert (changed.restart, changed.shutdown) == ("temporary", 3)
    async with ak.open_node(tree(spec)):
        assert await ak.named(Stack, "b").call(Stack.pop) == "b"


@conforms("ESUP-02")
def test_specs_of_classes_and_what_is_none():
    """Specs can be made of a class, of a class with arguments, of fields, and with changes; a class
    that is not an actor is refused by name, and so is anything else.
    """
    assert (ak.child(Stack).start, ak.child(Stack).args, ak.child(Stack).id) == (Stack, (), "Stack")
    assert ak.child(Stack, ["a"]).args == (["a"],)
    spec = ak.ChildSpec(Stack, args=(["a"],), id="x", restart="transient")
    assert spec.with_(id="y", shutdown=1).restart == "transient"
    assert spec.with_(id="y", shutdown=1).id == "y"

    class Unrelated:
        pass

    with pytest.raises(ak.InvalidChildSpec, match="Unrelated"):
        ak.child(Unrelated)
    for bad in ("Stack", None, 7, {"start": Stack}):
        with pytest.raises(ak.InvalidChildSpec) as caught:
            ak.child(bad)
        assert caught.value.value == bad


@conforms("ESUP-03")
@differs("ESUP-03")
def test_flags():
    """The defaults are 3 restarts in 5 seconds and no automatic shutdown; given values are used.
    The strategy may be left out: it is then OTP's default, one_for_one.
    """
    assert ak.supervisor().args[0] == SupervisorFlags(
        "one_for_one", max_restarts=3, max_seconds=5.0, auto_shutdown="never"
    )
    given = ak.supervisor(strategy="one_for_all", max_restarts=5, max_seconds=10, auto_shutdown="all_significant")
    assert given.args[0] == SupervisorFlags(
        "one_for_all", max_restarts=5, max_seconds=10, auto_shutdown="all_significant"
    )


@conforms("ESUP-05", "ESUP-07")
async def test_supervisors_by_name_and_via_a_registry():
    """A name and a via ref lead to the same supervisor."""
    lab = Lab()
    async with ak.open_node(tree(ak.registry(name="r"), lab.spec("a"))) as node:
        registry = ak.named(ak.Registry, "r")
        await registry.call(ak.Registry.register, node.whereis("top"), "tree")
        via = ak.via(S, "r", "tree")
        assert await via.call(S.which_child, "a") == await top().call(S.which_child, "a")
        assert await via.call(S.count_children) == ak.ChildCounts(2, 2, 0, 2)


@conforms("ESUP-08")
async def test_a_registered_child_comes_back_under_its_name():
    """A child that is stopped comes back with its first state and is found by the same name."""
    stack = ak.named(Stack, "stack")
    async with ak.open_node(tree(ak.child(Stack, ["hello"]).with_(name="stack"))) as node:
        first = node.whereis("stack")
        await stack.call(Stack.push, "world")
        assert await stack.call(Stack.pop) == "world"
        stack.stop()
        await settled()
        assert node.whereis("stack") not in (None, first)
        assert await stack.call(Stack.pop) == "hello"


@conforms("ESUP-08")
@pytest.mark.parametrize("name", ["", ("via", "r", "x"), 7, []])
def test_bad_forms_of_a_supervisors_name(name):
    with pytest.raises(ak.InvalidChildSpec) as caught:
        ak.supervisor().with_(name=name)
    assert caught.value.field == "name"


@conforms("ESUP-12")
@differs("ESUP-13")
async def test_start_child_forms():
    """start_child takes a ChildSpec, or ak.child(Class, argument) in place of {Module,
    argument}.
    """
    async with ak.open_node(tree()):
        one = await top().call(S.start_child, ak.ChildSpec(Stack, args=([1],), id="one"))
        two = await top().call(S.start_child, ak.child(Stack, [2]))
        assert [await ref.call(Stack.pop) for ref in (one, two)] == [1, 2]
        assert await states() == {"one": "running", "Stack": "running"}


@conforms("ESUP-14", "ESUP-15")
async def test_specs_that_cannot_be():
    """A spec without an id or a start, or with a negative shutdown, is refused; a shutdown of 0 or
    1 is fine.
    """
    async with ak.open_node(tree()):
        for make in (
            lambda: ak.ChildSpec(Stack(), id="x"),
            lambda: ak.ChildSpec(id="x"),
            lambda: ak.ChildSpec(Stack, id=[]),
            lambda: ak.child(Stack).with_(shutdown=-1),
        ):
            with pytest.raises((ak.InvalidChildSpec, TypeError)):
                await top().call(S.start_child, make())
        for shutdown in (0, 1):
            await top().call(S.start_child, ak.child(Stack).with_(id=shutdown, shutdown=shutdown))
        assert await counts() == (2, 2, 0, 2)


@conforms("ESUP-16")
async def test_the_life_cycle_of_children():
    """The steps: no child, one child, running; terminate, restart, terminate, delete."""
    lab = Lab()
    async with ak.open_node(under()) as node:
        assert await top().call(S.which_children) == ()
        assert await counts() == (0, 0, 0, 0)
        await top().call(S.start_child, lab.spec("a", Quiet))
        (info,) = await top().call(S.which_children)
        assert (info.id, info.ref, info.kind) == ("a", lab.refs["a"], "worker")
        assert await counts() == (1, 1, 0, 1)
        with pytest.raises(ak.ChildRunning):
            await top().call(S.delete_child, "a")
        with Reasons(node) as reasons:
            await top().call(S.terminate_child, "a")
            assert reasons[lab.refs["a"]] == ak.SHUTDOWN
        assert await top().call(S.restart_child, "a") is lab.refs["a"]
        await top().call(S.terminate_child, "a")
        await top().call(S.delete_child, "a")
        assert await counts() == (0, 0, 0, 0)
        with pytest.raises(ak.ChildNotFound):
            await top().call(S.delete_child, "a")
        assert math.isinf((await ak.named(S, "root").call(S.get_childspec, "top")).shutdown)
        assert not isinstance(info.ref, Worker)
