"""Live static supervisors: which children are restarted, with which others, how often and when
(SUP-37 to 61).
"""

from __future__ import annotations

import pytest
import trio

import actorkit as ak
from tests.conformance.marks import conforms

from .kit import DIED, Lab, Quiet, S, Worker, counts, settled, states, top, tree, under

RESTARTS = ["permanent", "transient", "temporary"]
ENDS = {
    "normal": ak.NORMAL,
    "shutdown": ak.SHUTDOWN,
    "shutdown with detail": ak.Shutdown("why"),
    "failure": DIED,
    "crash": None,
    "kill": None,
    "stop": ak.NORMAL,
}


def end(ref, how):
    match how:
        case "crash":
            ref.cast(Worker.crash)
        case "kill":
            ref.kill()
        case "stop":
            ref.stop()
        case _:
            ref.cast(Worker.end, ENDS[how])


# --- Restart types ------------------------------------------------------------------------------


@conforms("SUP-37", "SUP-38", "SUP-39", "SUP-40")
@pytest.mark.parametrize("restart", RESTARTS)
@pytest.mark.parametrize("how", ENDS)
async def test_restart_types(restart, how):
    """SUP-37, SUP-38, SUP-39, SUP-40: permanent children are restarted always, transient ones after
    abnormal ends, temporary ones never; a transient child keeps its spec.
    """
    lab = Lab()
    async with ak.open_node(tree(lab.spec("a", restart=restart), lab.spec("b"))) as node:
        end(lab.refs["a"], how)
        await settled()
        again = restart == "permanent" or (restart == "transient" and how in ("failure", "crash", "kill"))
        assert len(lab.lives["a"]) == 1 + again
        if restart == "temporary":
            assert await states() == {"b": "running"}
            assert await top().call(S.start_child, lab.spec("a", restart=restart)) is lab.refs["a"]
            assert await states() == {"b": "running", "a": "running"}
        else:
            assert await states() == {"a": "running" if again else "undefined", "b": "running"}
            assert await counts() == (2, 1 + again, 0, 2)
            info = await top().call(S.which_child, "a")
            assert (info.id, info.ref, info.kind) == ("a", lab.lives["a"][1] if again else None, "worker")
            if not again:
                assert await top().call(S.restart_child, "a") is lab.refs["a"]
                assert await counts() == (2, 2, 0, 2)
        assert len(lab.lives["b"]) == 1
        assert node.statistics().restarts == again


@conforms("SUP-41")
@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
async def test_a_temporary_bystander_is_forgotten(strategy):
    """SUP-41: a temporary sibling that a strategy stops is not started again, and its spec
    is gone.
    """
    lab = Lab()
    async with ak.open_node(tree(lab.spec("a"), lab.spec("t", restart="temporary"), strategy=strategy)):
        lab.refs["a"].kill()
        await settled()
        assert await states() == {"a": "running"}
        assert lab.log[-2:] == ["stop t shutdown", "start a"]


@conforms("SUP-42")
@pytest.mark.parametrize("restart", RESTARTS)
@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
async def test_start_child_after_each_end(restart, strategy):
    """SUP-42: a temporary child may be started anew after its end; a child of another type is
    running or already present.
    """
    lab = Lab()
    async with ak.open_node(tree(strategy=strategy, max_restarts=9)):
        for how in ("kill", "normal", "failure", "terminate"):
            try:
                await top().call(S.start_child, lab.spec("a", restart=restart))
            except ak.ChildAlreadyPresent:
                await top().call(S.restart_child, "a")
            except ak.ChildAlreadyStarted:
                pass
            if how == "terminate":
                await top().call(S.terminate_child, "a")
            else:
                end(lab.refs["a"], how)
            await settled()
            expected: object = ak.ChildAlreadyStarted
            if restart == "temporary":
                expected = None
            elif how == "terminate" or (restart == "transient" and how == "normal"):
                expected = ak.ChildAlreadyPresent
            if expected is None:
                assert await states() == {}
            else:
                with pytest.raises(expected):
                    await top().call(S.start_child, lab.spec("a", restart=restart))


# --- Strategies ---------------------------------------------------------------------------------


@conforms("SUP-28", "SUP-46", "SUP-48", "SUP-51")
@pytest.mark.parametrize(
    ("strategy", "log"),
    [
        ("one_for_one", ["start b"]),
        (
            "one_for_all",
            ["stop d shutdown", "stop c shutdown", "stop a shutdown", "start a", "start b", "start c", "start d"],
        ),
        ("rest_for_one", ["stop d shutdown", "stop c shutdown", "start b", "start c", "start d"]),
    ],
)
async def test_strategies(strategy, log):
    """SUP-28, SUP-46, SUP-48, SUP-51: the strategy says which siblings go along; they are stopped
    in reverse and started in order.
    """
    lab = Lab()
    async with ak.open_node(tree(*lab.specs("abcd"), strategy=strategy)):
        lab.take()
        lab.refs["b"].kill()
        await settled()
        assert lab.take() == log
        assert await counts() == (4, 4, 0, 4)
        assert await states() == dict.fromkeys("abcd", "running")


@conforms("SUP-50", "SUP-53")
@pytest.mark.parametrize(
    ("strategy", "log"),
    [
        # The new a is stopped and both are tried again.
        (
            "one_for_all",
            [
                "stop c shutdown",
                "stop b shutdown",
                "start a",
                "stop b",
                "stop a shutdown",
                "start a",
                "start b",
                "start c",
            ],
        ),
        # a stays, b alone is tried again.
        ("rest_for_one", ["stop c shutdown", "stop b shutdown", "start a", "stop b", "start b", "start c"]),
    ],
)
async def test_another_childs_restart_fails(strategy, log):
    """SUP-50, SUP-53: one_for_all begins anew, rest_for_one goes on with the child that failed."""
    lab = Lab()
    async with ak.open_node(tree(*lab.specs("abc"), strategy=strategy)):
        lab.take()
        lab.inits["b"] = ["stop", "ok"]
        lab.refs["a"].kill()
        await settled()
        assert lab.take() == log
        assert await states() == dict.fromkeys("abc", "running")


# --- Intensity ------------------------------------------------------------------------------------


@conforms("SUP-46", "SUP-48", "SUP-51")
@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
async def test_the_intensity_ends_a_supervisor(strategy):
    """SUP-46, SUP-48, SUP-51: with max_restarts 2 the third failure ends the supervisor with
    Shutdown, and all its children with it.
    """
    lab = Lab()
    async with ak.open_node(under(*lab.specs("ab"), strategy=strategy, max_restarts=2)) as node:
        ref = node.whereis("top")
        for _ in range(2):
            lab.refs["a"].kill()
            await settled()
        assert await states() == {"a": "running", "b": "running"}
        lab.refs["a"].kill()
        reason = await node.stopped(ref)
        assert reason in (None, ak.Shutdown("reached_max_restart_intensity"))
        assert not ref.alive
        assert not lab.refs["b"].alive
        assert len(lab.lives["a"]) == 3


@conforms("ESUP-03")
async def test_intensity_zero_allows_nothing():
    """ESUP-03: with intensity zero the first failure ends the supervisor; a transient child's
    normal end does not.
    """
    lab = Lab()
    async with ak.open_node(under(lab.spec("a", restart="transient"), lab.spec("b"), max_restarts=0)) as node:
        ref = node.whereis("top")
        end(lab.refs["a"], "normal")
        await settled()
        assert ref.alive
        lab.refs["b"].kill()
        await settled()
        assert not ref.alive


@conforms("SUP-47", "SUP-49", "SUP-52")
@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
async def test_a_restart_that_keeps_failing_escalates(strategy):
    """SUP-47, SUP-49, SUP-52: every attempt counts; in the end the supervisor and the siblings are
    gone.
    """
    lab = Lab()
    async with ak.open_node(under(*lab.specs("ab"), strategy=strategy, max_restarts=4)) as node:
        ref = node.whereis("top")
        lab.inits["b"] = ["stop"]
        lab.take()
        lab.refs["a" if strategy != "one_for_one" else "b"].kill()
        await settled()
        assert not ref.alive
        assert not lab.refs["a"].alive
        assert lab.take().count("stop b") == 4


@conforms("SUP-58")
async def test_escalation_through_a_tree():
    """SUP-58: a sub-supervisor that gives up is restarted by its parent with its siblings;
    grandchildren that were added are gone.
    """
    lab = Lab()
    left = ak.supervisor(lab.spec("l"), max_restarts=1).with_(name="left")
    right = ak.supervisor(lab.spec("r")).with_(name="right")
    off = ak.supervisor(lab.spec("o")).with_(name="off", restart="transient")
    async with ak.open_node(tree(left, right, off, strategy="one_for_all")):
        await ak.named(S, "right").call(S.start_child, lab.spec("added"))
        await top().call(S.terminate_child, "off")
        lab.refs["l"].kill()
        await settled()
        assert len(lab.lives["l"]) == 2
        assert len(lab.lives["r"]) == 1
        lab.refs["l"].kill()
        await settled()
        assert await states() == {"left": "running", "right": "running", "off": "running"}
        assert await states(ak.named(S, "left")) == {"l": "running"}
        assert await states(ak.named(S, "right")) == {"r": "running"}
        assert not lab.refs["added"].alive
        assert [len(lab.lives[name]) for name in ("l", "r", "o", "added")] == [3, 2, 2, 1]


@conforms("SUP-46")
async def test_the_root_giving_up_comes_out_of_open_node(autojump_clock):
    """SUP-46: SupervisorGaveUp comes out, not in a group; the body is cancelled, and everything has
    stopped.
    """
    lab = Lab()
    cancelled = False
    with pytest.raises(ak.SupervisorGaveUp) as caught:
        async with ak.open_node(tree(*lab.specs("ab"), max_restarts=0)):
            lab.refs["b"].kill()
            try:
                await trio.sleep_forever()
            except trio.Cancelled:
                cancelled = True
                raise
    assert cancelled
    assert caught.value.reason == ak.Shutdown("reached_max_restart_intensity")
    assert lab.log[-1] == "stop a shutdown"


# --- Restarts that take their time ----------------------------------------------------------------


@conforms("SUP-35", "SUP-59")
async def test_a_failing_restart_is_shown_and_calls_are_served(autojump_clock):
    """SUP-35, SUP-59: the child is restarting and present, but not active; calls are refused;
    terminate_child cancels the restart, and restart_child works afterwards.
    """
    lab = Lab()
    async with ak.open_node(tree(*lab.specs("abc"), max_restarts=100)) as node:
        spec = lab.spec("slow", backoff=ak.Backoff(first=10))
        await top().call(S.start_child, spec)
        lab.refs["slow"].kill()
        await settled()
        assert await states() == {"a": "running", "b": "running", "c": "running", "slow": "restarting"}
        assert await counts() == (4, 3, 0, 4)
        with pytest.raises(ak.ChildAlreadyPresent):
            await top().call(S.start_child, spec)
        for method in (S.restart_child, S.delete_child):
            with pytest.raises(ak.ChildRestarting):
                await top().call(method, "slow")
        tree_now = node.tree()
        assert tree_now is not None
        assert [child.state for child in tree_now.children] == ["running", "running", "running", "restarting"]
        await top().call(S.terminate_child, "slow")
        assert (await states())["slow"] == "undefined"
        await trio.sleep(100)
        assert len(lab.lives["slow"]) == 1
        await top().call(S.restart_child, "slow")
        assert (await states())["slow"] == "running"


@conforms("SUP-59", "SUP-60")
@pytest.mark.parametrize("strategy", ["one_for_one", "rest_for_one"])
async def test_a_hanging_restart_loop(autojump_clock, strategy):
    """SUP-59, SUP-60: inits hang and fail again and again: calls are served between them, and
    terminate_child ends the loop, as does a stop.
    """
    lab = Lab()
    specs = [lab.spec("a"), lab.spec("b", init_timeout=2.0), lab.spec("c")]
    flags = {"strategy": strategy, "max_restarts": 8, "max_seconds": 10}
    async with ak.open_node(under(*specs, **flags)) as node:
        ref = node.whereis("top")
        for last in (False, True):
            lab.inits["b"] = ["hang"]
            lab.refs["b"].kill()
            await trio.sleep(5)
            assert (await states())["b"] in ("starting", "restarting")
            assert (await states())["c"] == ("running" if strategy == "one_for_one" else "undefined")
            assert len(lab.lives["a"]) == 1
            if last:
                ref.stop(ak.SHUTDOWN)
                assert await node.stopped(ref) == ak.SHUTDOWN
            else:
                await top().call(S.terminate_child, "b")
                assert (await states())["b"] == "undefined"
                lab.inits["b"] = ["ok"]
                await trio.sleep(20)
                assert (await states())["b"] == "undefined"
                for name in ("b", "c"):
                    if (await states())[name] == "undefined":
                        await top().call(S.restart_child, name)


async def test_a_restart_waits_its_backoff(autojump_clock):
    """With a backoff every restart in a row waits longer, including the first; siblings do not
    wait.
    """
    lab = Lab()
    spec = lab.spec("a", Quiet, backoff=ak.Backoff(first=1, factor=2, jitter=0))
    async with ak.open_node(tree(spec, lab.spec("b"))):
        for wait in (1, 2, 4):
            lab.refs["a"].kill()
            lives = len(lab.lives["a"])
            await trio.sleep(wait - 0.01)
            assert len(lab.lives["a"]) == lives
            await trio.sleep(0.02)
            assert len(lab.lives["a"]) == lives + 1
        assert len(lab.lives["b"]) == 1


@pytest.mark.parametrize("kind", ["static", "dynamic"])
async def test_a_gate_of_ones_own_holds_restarts(kind):
    """node.restart_gate is asked about every restart, with the child's spec, and decides when it
    happens; a cancelled restart is taken back.
    """

    class Held:
        def __init__(self, spec, delay, go):
            self.spec, self.delay, self.go = spec, delay, go
            self.cancelled = False

        def cancel(self):
            self.cancelled = True

    class Gate:
        def __init__(self):
            self.held = []

        def hold(self, spec, delay, go, counts=True, key=None):
            self.held.append(Held(spec, delay, go))
            return self.held[-1]

    lab = Lab()
    gate = Gate()
    root = ak.dynamic_supervisor().with_(name="top") if kind == "dynamic" else tree(lab.spec("b"))
    async with ak.open_node(root) as node:
        node.engine.restart_gate = gate
        spec = lab.spec("a")
        await node.root.call(type(node.root.obj).start_child, spec)
        lab.refs["a"].kill()
        await settled()
        assert len(lab.lives["a"]) == 1
        assert [(held.spec, held.delay) for held in gate.held] == [(spec, 0.0)]
        tree_now = node.tree()
        assert tree_now is not None
        assert tree_now.children[-1].state == "restarting"
        gate.held[0].go()
        await settled()
        assert len(lab.lives["a"]) == 2
        lab.refs["a"].kill()
        await settled()
        await node.root.call(type(node.root.obj).terminate_child, "a" if kind == "static" else lab.refs["a"])
        assert gate.held[1].cancelled
        gate.held[1].go()
        await settled()
        assert len(lab.lives["a"]) == 2
        lab.inits["a"] = ["ok"]
        if kind == "static":
            await top().call(S.restart_child, "a")
            lab.refs["a"].kill()
            await settled()
    gate.held[-1].go()  # too late: the child is gone
    assert gate.held[-1].cancelled or kind == "dynamic"


async def test_restarts_are_told_as_events():
    """ChildRestarted names the new actor, the id and the supervisor; reports say what happened."""
    lab = Lab()
    async with ak.open_node(tree(lab.spec("a"))) as node:
        async with node.subscribe(ak.ChildRestarted, ak.SupervisorReport) as events:
            lab.refs["a"].cast(Worker.end, DIED)
            await settled()
            report, restarted = events.drain()
        assert isinstance(restarted, ak.ChildRestarted)
        assert (restarted.ref, restarted.child_id) == (lab.refs["a"], "a")
        assert str(top().pid) in restarted.supervisor
        assert isinstance(report, ak.SupervisorReport)
        assert (report.kind, report.child_id, report.reason) == ("child_terminated", "a", DIED)
        assert "permanent child exited" in report.because


@conforms("ESUP-08")
async def test_a_restarted_child_gets_the_same_arguments_and_a_clean_state():
    """ESUP-08: a restart is a start from the spec, under the same name."""

    class Box(ak.Actor):
        def __init__(self, items):
            self.items = [*items]

        @ak.call
        def add(self, item):
            self.items.append(item)
            return self.items

    async with ak.open_node(tree(ak.child(Box, (1, 2)).with_(name="box"))):
        assert await ak.named(Box, "box").call(Box.add, 3) == [1, 2, 3]
        ak.named(Box, "box").kill()
        await settled()
        assert await ak.named(Box, "box").call(Box.add, 4) == [1, 2, 4]


async def test_a_restart_that_fails_once_is_tried_again():
    """DYN-26 for static supervisors: the second attempt works, within the intensity."""
    lab = Lab()
    async with ak.open_node(tree(lab.spec("a"), max_restarts=2)) as node:
        lab.inits["a"] = ["stop", "ok"]
        lab.refs["a"].kill()
        await settled()
        assert len(lab.lives["a"]) == 3
        assert node.statistics().restarts == 2
        assert await states() == {"a": "running"}


async def test_a_restart_that_ignores_leaves_the_spec():
    """A child whose restart returns IGNORE is undefined and can be started by hand."""
    lab = Lab()
    async with ak.open_node(tree(lab.spec("a"))):
        lab.inits["a"] = ["ignore"]
        lab.refs["a"].kill()
        await settled()
        assert await states() == {"a": "undefined"}
        lab.inits["a"] = ["ok"]
        assert await top().call(S.restart_child, "a") is lab.refs["a"]
