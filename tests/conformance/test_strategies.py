"""supervisor_SUITE, strategies: each with scenarios that only it passes (SUP-46 to SUP-56).

A scenario is a function of a supervisor's flags. It runs under its own strategy, where it must
hold, and under every other one, where it must not: so no supervisor that does something else can
pass.
"""

from __future__ import annotations

import pytest
import trio

import actorkit as ak
from tests.conformance.marks import conforms, differs
from tests.supervision.kit import DIED, D, Lab, Reasons, S, Worker, counts, settled, states, top, tree, under

GAVE_UP = ak.Shutdown("reached_max_restart_intensity")


class Group:
    """A supervisor with workers, and which life of each is running."""

    def __init__(self, node, lab):
        self.node, self.lab = node, lab
        self.ref = node.whereis("top")

    async def fail(self, name):
        self.lab.refs[name].cast(Worker.end, DIED)
        await settled()

    def lives(self):
        return {name: len(lives) for name, lives in self.lab.lives.items()}


async def open_group(scenario, strategy, names, **flags):
    lab = Lab()
    root = ak.supervisor(tree(*lab.specs(names), strategy=strategy, **flags).with_(restart="temporary"))
    async with ak.open_node(root) as node:
        await scenario(Group(node, lab))


async def escalates(group, expected):
    """From here on the supervisor must have given up, and all its children with it."""
    assert not group.ref.alive, "it did not give up"
    assert not any(ref.alive for ref in group.lab.refs.values())
    assert group.lives() == expected


# --- one_for_one ----------------------------------------------------------------------------------


async def one_for_one(group):
    """Siblings on both sides keep their refs; the third failure of any two children ends the
    supervisor.
    """
    await group.fail("b")
    assert group.lives() == {"a": 1, "b": 2, "c": 1}
    await group.fail("a")
    assert group.lives() == {"a": 2, "b": 2, "c": 1}
    assert await counts() == (3, 3, 0, 3)
    with Reasons(group.node) as reasons:
        await group.fail("b")
        assert reasons[group.ref] == GAVE_UP
    await escalates(group, {"a": 2, "b": 2, "c": 1})


async def one_for_one_escalation(group):
    """A child that can never be restarted ends the supervisor after 4 attempts; its siblings are
    not touched until then.
    """
    group.lab.inits["a"] = ["stop"]
    group.lab.take()
    await group.fail("a")
    assert group.lab.take() == [
        "stop a failure", *["stop a"] * 4, "stop c shutdown", "stop b shutdown"
    ]  # fmt: skip
    await escalates(group, {"a": 5, "b": 1, "c": 1})


# --- one_for_all ----------------------------------------------------------------------------------


async def one_for_all(group):
    """All siblings end, in reverse order, and all are started anew; the third failure ends the
    supervisor.
    """
    group.lab.take()
    await group.fail("b")
    assert group.lab.take() == [
        "stop b failure", "stop c shutdown", "stop a shutdown", "start a", "start b", "start c"
    ]  # fmt: skip
    await group.fail("c")
    assert group.lives() == {"a": 3, "b": 3, "c": 3}
    assert await counts() == (3, 3, 0, 3)
    with Reasons(group.node) as reasons:
        await group.fail("a")
        assert reasons[group.ref] == GAVE_UP
    await escalates(group, {"a": 3, "b": 3, "c": 3})


async def one_for_all_escalation(group):
    """b fails, and its sibling a cannot be started any more: the supervisor gives up after 4
    attempts, and both are gone.
    """
    group.lab.inits["a"] = ["stop"]
    await group.fail("b")
    await escalates(group, {"a": 5, "b": 1, "c": 1})


async def one_for_all_other_fails(group):
    """a starts, but b's restart fails: the new a is stopped with Shutdown, and then all are started
    again.
    """
    group.lab.inits["b"] = ["stop", "ok"]
    group.lab.take()
    await group.fail("a")
    assert group.lab.take() == [
        "stop a failure", "stop c shutdown", "stop b shutdown",
        "start a", "stop b", "stop a shutdown",
        "start a", "start b", "start c",
    ]  # fmt: skip
    assert await states() == dict.fromkeys("abc", "running")


# --- rest_for_one ---------------------------------------------------------------------------------


async def rest_for_one(group):
    """b fails: a keeps its ref, c ends and is started anew; the third failure ends the
    supervisor.
    """
    group.lab.take()
    await group.fail("b")
    assert group.lab.take() == ["stop b failure", "stop c shutdown", "start b", "start c"]
    assert group.lives() == {"a": 1, "b": 2, "c": 2}
    assert await counts() == (3, 3, 0, 3)
    await group.fail("c")
    assert group.lives() == {"a": 1, "b": 2, "c": 3}
    with Reasons(group.node) as reasons:
        await group.fail("b")
        assert reasons[group.ref] == GAVE_UP
    await escalates(group, {"a": 1, "b": 2, "c": 3})


async def rest_for_one_escalation(group):
    """b fails, and c, which comes after it, cannot be started any more: the supervisor gives up
    after 4 attempts. Until then a is not touched, and the attempts do not start b again.
    """
    group.lab.inits["c"] = ["stop"]
    group.lab.take()
    await group.fail("b")
    assert group.lab.take() == [
        "stop b failure", "stop c shutdown", "start b", *["stop c"] * 4, "stop b shutdown", "stop a shutdown"
    ]  # fmt: skip
    await escalates(group, {"a": 1, "b": 2, "c": 5})


async def rest_for_one_other_fails(group):
    """b is restarted, but c's restart fails: only c is tried again, and the new b stays."""
    group.lab.inits["c"] = ["stop", "ok"]
    group.lab.take()
    await group.fail("b")
    assert group.lab.take() == ["stop b failure", "stop c shutdown", "start b", "stop c", "start c"]
    assert group.lives() == {"a": 1, "b": 2, "c": 3}


STRATEGIES = ["one_for_one", "one_for_all", "rest_for_one"]
SCENARIOS = [
    ("one_for_one", one_for_one, 2),
    ("one_for_one", one_for_one_escalation, 4),
    ("one_for_all", one_for_all, 2),
    ("one_for_all", one_for_all_escalation, 4),
    ("one_for_all", one_for_all_other_fails, 4),
    ("rest_for_one", rest_for_one, 2),
    ("rest_for_one", rest_for_one_escalation, 4),
    ("rest_for_one", rest_for_one_other_fails, 4),
]


@conforms("SUP-46", "SUP-47", "SUP-48", "SUP-49", "SUP-50", "SUP-51", "SUP-52", "SUP-53")
@pytest.mark.parametrize(("strategy", "scenario", "max_restarts"), SCENARIOS)
async def test_a_strategy_does_what_it_says(strategy, scenario, max_restarts):
    """Each scenario holds under its own strategy; its docstring says what it asserts."""
    await open_group(scenario, strategy, "abc", max_restarts=max_restarts)


@pytest.mark.parametrize(
    ("scenario", "max_restarts", "other"),
    [(scenario, limit, other) for own, scenario, limit in SCENARIOS for other in STRATEGIES if other != own],
)
async def test_no_other_strategy_passes_for_it(scenario, max_restarts, other):
    """The same scenario fails under any other strategy, so it tells the strategies apart."""
    with pytest.raises(AssertionError):
        await open_group(scenario, other, "abc", max_restarts=max_restarts)


# --- simple_one_for_one ---------------------------------------------------------------------------


def dynamic(**flags):
    return ak.supervisor(ak.dynamic_supervisor(**flags).with_(name="top", restart="temporary"))


@conforms("SUP-54", "SUP-56")
@differs("SUP-54")
@pytest.mark.parametrize("failing", [False, True])
async def test_dynamic_children(failing):
    """A sibling is not touched; one failure or failed attempt too many ends the supervisor, and all
    its children with it, with a Shutdown whose detail says why.
    """
    lab = Lab()
    async with ak.open_node(dynamic(max_restarts=4 if failing else 2)) as node:
        group = Group(node, lab)
        for name in "ab":
            await top().call(D.start_child, lab.spec(name))
        if failing:
            lab.inits["a"] = ["stop"]
        else:
            for _ in range(2):
                await group.fail("a")
            assert group.lives() == {"a": 3, "b": 1}
            assert await counts() == (2, 2, 0, 2)
        with Reasons(node) as reasons:
            await group.fail("a")
            assert reasons[group.ref] == GAVE_UP
            assert not reasons[group.ref].abnormal
            assert reasons[lab.refs["b"]] == ak.SHUTDOWN
        await escalates(group, {"a": 5 if failing else 3, "b": 1})


@conforms("SUP-57")
@pytest.mark.parametrize("restart", ["permanent", "transient"])
async def test_a_dynamic_restart_that_ignores(restart):
    """A restart that ignores removes the child."""
    lab = Lab()
    async with ak.open_node(dynamic()) as node:
        for name in "ab":
            await top().call(D.start_child, lab.spec(name, restart=restart))
        lab.inits["a"] = ["ignore"]
        await Group(node, lab).fail("a")
        assert [info.ref for info in await top().call(D.which_children)] == [lab.refs["b"]]
        assert await counts() == (1, 1, 0, 1)


@conforms("SUP-45")
@pytest.mark.parametrize("kind", ["static", "dynamic"])
async def test_failures_far_apart(autojump_clock, kind):
    """With one restart allowed per second, four failures that are 2.1 s apart are survived, and two
    within a second are not. A failure exactly as old as the window still counts.
    """
    lab = Lab()
    flags = {"max_restarts": 1, "max_seconds": 1.0}
    async with ak.open_node(under(lab.spec("a"), **flags) if kind == "static" else dynamic(**flags)) as node:
        group = Group(node, lab)
        if kind == "dynamic":
            await top().call(D.start_child, lab.spec("a"))
        for _ in range(4):
            await group.fail("a")
            await trio.sleep(2.1)
        assert group.lives() == {"a": 5}
        await group.fail("a")
        await trio.sleep(1.0)
        await group.fail("a")
        assert not group.ref.alive


@conforms("SUP-41")
@pytest.mark.parametrize(("strategy", "gone"), [("one_for_one", False), ("one_for_all", True), ("rest_for_one", True)])
async def test_a_temporary_bystander(strategy, gone):
    """A strategy that stops a temporary sibling does not start it again, and forgets its spec; the
    supervisor lives.
    """
    lab = Lab()
    async with ak.open_node(under(lab.spec("a"), lab.spec("t", restart="temporary"), strategy=strategy)) as node:
        group = Group(node, lab)
        await group.fail("a")
        assert group.ref.alive
        assert await states() == ({"a": "running"} if gone else {"a": "running", "t": "running"})
        assert group.lives() == {"a": 2, "t": 1}
        with pytest.raises(ak.ChildNotFound if gone else ak.ChildRunning):
            await top().call(S.restart_child, "t")
