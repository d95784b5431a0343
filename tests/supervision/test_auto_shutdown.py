"""Live static supervisors: significant children and auto_shutdown (SUP-63 to SUP-68), and trees
that end by themselves.
"""

from __future__ import annotations

import pytest
import trio

import actorkit as ak
from tests.conformance.marks import conforms

from .kit import DIED, D, Lab, Reasons, S, Worker, dyn, settled, states, top, tree, under

MODES = ["never", "any_significant", "all_significant"]
ENDS = {"normal": ak.NORMAL, "shutdown": ak.SHUTDOWN, "shutdown, info": ak.Shutdown("info"), "abnormal": DIED}
WAYS = [*ENDS, "kill", "terminate_child"]


def significant(lab, name, restart="transient"):
    return lab.spec(name, restart=restart, significant=True)


async def end(lab, name, how):
    match how:
        case "kill":
            lab.refs[name].kill()
        case "terminate_child":
            await top().call(S.terminate_child, name)
        case _:
            lab.refs[name].cast(Worker.end, ENDS[how])
    await settled()


@conforms("SUP-63")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("restart", ["temporary", "transient"])
@pytest.mark.parametrize("how", WAYS)
async def test_without_significant_children(mode, restart, how):
    """A supervisor without significant children is not shut down by its children, even if they all
    end.
    """
    lab = Lab()
    async with ak.open_node(under(*lab.specs("ab", restart=restart), auto_shutdown=mode, max_restarts=5)) as node:
        ref = node.whereis("top")
        for name in "ab":
            await end(lab, name, how)
        assert ref.alive


@conforms("SUP-64")
@pytest.mark.parametrize("how", [*ENDS, "kill"])
async def test_a_significant_temporary_child(how):
    """An end of any kind of a significant temporary child ends the supervisor with Shutdown, and
    its siblings with it; terminate_child does not.
    """
    lab = Lab()
    specs = [significant(lab, "a", "temporary"), significant(lab, "b", "temporary"), lab.spec("c")]
    async with ak.open_node(under(*specs, auto_shutdown="any_significant")) as node:
        ref = node.whereis("top")
        await end(lab, "a", "terminate_child")
        assert ref.alive
        await end(lab, "b", how)
        assert not ref.alive
        assert not lab.refs["c"].alive
        assert node.statistics().restarts == 0


@conforms("SUP-64")
@pytest.mark.parametrize("how", ["normal", "abnormal"])
async def test_all_significant_waits_for_the_last(how):
    """Only the end of the last active significant child ends the supervisor; a terminated child is
    not active.
    """
    lab = Lab()
    specs = [significant(lab, name, "temporary") for name in "abc"]
    async with ak.open_node(under(*specs, lab.spec("d"), auto_shutdown="all_significant")) as node:
        ref = node.whereis("top")
        await end(lab, "a", how)
        await end(lab, "b", "terminate_child")
        assert ref.alive
        await end(lab, "c", how)
        assert not ref.alive


@conforms("SUP-64", "SUP-65")
@pytest.mark.parametrize("mode", MODES[1:])
@pytest.mark.parametrize("restart", ["temporary", "transient"])
@pytest.mark.parametrize("how", WAYS)
async def test_significant_children(mode, restart, how):
    """any: the first significant child that ends by itself for good ends the supervisor; all: the
    last. A transient child that comes back does not, nor does terminate_child. The siblings are
    shut down, and the supervisor's reason is an orderly one.
    """
    lab = Lab()
    specs = [*lab.specs("ab", restart=restart, significant=True), lab.spec("plain")]
    async with ak.open_node(under(*specs, auto_shutdown=mode, max_restarts=5)) as node:
        ref = node.whereis("top")
        for_good = how != "terminate_child" and (restart == "temporary" or how not in ("abnormal", "kill"))
        with Reasons(node) as reasons:
            await end(lab, "a", how)
            assert ref.alive != (for_good and mode == "any_significant")
            if ref.alive:
                await end(lab, "b", how)
                assert ref.alive != for_good
            if for_good:
                assert reasons[ref] == ak.Shutdown("auto_shutdown")
                assert reasons[lab.refs["plain"]] == ak.SHUTDOWN
            else:
                assert (await states())["plain"] == "running"
        assert len(lab.lives["a"]) == 1 + (restart == "transient" and how in ("abnormal", "kill"))


@conforms("SUP-67")
@pytest.mark.parametrize("mode", MODES[1:])
@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
async def test_a_significant_bystander(mode, strategy):
    """A significant child that is stopped because a sibling failed triggers nothing, whether it
    comes back (transient) or not (temporary).
    """
    lab = Lab()
    specs = [
        lab.spec("fails"),
        lab.spec("transient", restart="transient", significant=True),
        lab.spec("temporary", restart="temporary", significant=True),
    ]
    async with ak.open_node(under(*specs, strategy=strategy, auto_shutdown=mode)) as node:
        ref = node.whereis("top")
        await end(lab, "fails", "abnormal")
        assert ref.alive
        expected = {"fails": "running", "transient": "running", "temporary": "running"}
        if strategy != "one_for_one":
            del expected["temporary"]
        assert await states() == expected
        if mode == "all_significant" and strategy != "one_for_one":
            await end(lab, "transient", "normal")  # it is the last significant child now
            assert not ref.alive


@conforms("SUP-68")
@pytest.mark.parametrize("mode", MODES[1:])
@pytest.mark.parametrize("matters", [True, False])
async def test_escalation(mode, matters):
    """The shutdown of a significant sub-supervisor ends its parent and all the parent's children;
    that of another sub-supervisor ends no other actor.
    """
    lab = Lab()
    inner = ak.supervisor(lab.spec("a", restart="temporary", significant=True), lab.spec("b"), auto_shutdown=mode)
    inner = inner.with_(name="inner", restart="transient", significant=matters)
    async with ak.open_node(under(inner, lab.spec("c"), auto_shutdown=mode)) as node:
        ref = node.whereis("top")
        lab.refs["a"].cast(Worker.end, ak.NORMAL)
        await settled()
        assert node.whereis("inner") is None
        assert not lab.refs["b"].alive
        assert ref.alive == lab.refs["c"].alive == (not matters)
        if not matters:
            assert await states() == {"inner": "undefined", "c": "running"}


@conforms("SUP-66")
def test_a_significant_child_needs_a_supervisor_that_shuts_down():
    """A permanent child can never be significant; a static supervisor that never shuts itself down
    refuses one.
    """
    lab = Lab()
    with pytest.raises(ak.InvalidChildSpec):
        lab.spec("a", restart="permanent", significant=True)
    with pytest.raises(ak.InvalidChildSpec) as caught:
        ak.supervisor(lab.spec("a", restart="transient", significant=True))
    assert caught.value.field == "significant"


@conforms("SUP-66", "DYN-15")
@pytest.mark.parametrize("restart", ["transient", "temporary"])
async def test_a_significant_dynamic_child(restart):
    """A dynamic supervisor does not shut itself down, so it refuses a significant child; nothing
    was started.
    """
    lab = Lab()
    async with ak.open_node(ak.dynamic_supervisor().with_(name="dyn")):
        with pytest.raises(ak.InvalidChildSpec) as caught:
            await dyn().call(D.start_child, lab.spec("a", restart=restart, significant=True))
        assert caught.value.field == "significant"
        assert lab.log == []


async def test_a_tree_that_ends_normally_cancels_quietly():
    """The root's auto_shutdown cancels the body; open_node returns, and so does node.finished()."""
    lab = Lab()
    steps = []
    async with ak.open_node(tree(significant(lab, "a"), lab.spec("b"), auto_shutdown="any_significant")) as node:
        lab.refs["a"].cast(Worker.end, ak.NORMAL)
        try:
            await trio.sleep_forever()
        finally:
            steps.append("cancelled")
            with trio.CancelScope(shield=True):
                await node.finished()
            steps.append("finished")
    assert steps == ["cancelled", "finished"]
    assert lab.log[-1] == "stop b shutdown"


async def test_resting_in_finished():
    """A body that waits in node.finished() ends with the tree."""
    lab = Lab()
    async with ak.open_node(tree(significant(lab, "a"), auto_shutdown="all_significant")) as node:
        lab.refs["a"].stop()
        await node.finished()
    assert not node.engine.actors
