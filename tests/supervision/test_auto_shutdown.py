"""Live static supervisors: significant children and auto_shutdown (SUP-63 to 68), and trees that end by themselves."""

from __future__ import annotations

import pytest
import trio

import actorkit as ak
from tests.conformance.marks import conforms

from .kit import DIED, Lab, S, Worker, settled, states, top, tree, under

MODES = ["any_significant", "all_significant"]


def significant(lab, name, restart="transient"):
    return lab.spec(name, restart=restart, significant=True)


def end(ref, how):
    if how == "kill":
        ref.kill()
    else:
        ref.cast(Worker.end, {"normal": ak.NORMAL, "shutdown": ak.SHUTDOWN, "failure": DIED}[how])


@conforms("SUP-63")
@pytest.mark.parametrize("mode", [*MODES, "never"])
@pytest.mark.parametrize("restart", ["temporary", "transient"])
@pytest.mark.parametrize("how", ["normal", "shutdown", "failure", "kill"])
async def test_others_do_not_end_their_supervisor(mode, restart, how):
    """SUP-63: whatever the exit of a child that is not significant, the supervisor goes on."""
    lab = Lab()
    async with ak.open_node(under(lab.spec("a", restart=restart), auto_shutdown=mode)) as node:
        ref = node.whereis("top")
        end(lab.refs["a"], how)
        await settled()
        assert ref.alive


@conforms("SUP-64")
@pytest.mark.parametrize("how", ["normal", "shutdown", "failure", "kill"])
async def test_a_significant_temporary_child(how):
    """SUP-64: its end of any kind ends the supervisor with Shutdown, and its siblings with it; terminate_child does
    not."""
    lab = Lab()
    specs = [significant(lab, "a", "temporary"), significant(lab, "b", "temporary"), lab.spec("c")]
    async with ak.open_node(under(*specs, auto_shutdown="any_significant")) as node:
        ref = node.whereis("top")
        await top().call(S.terminate_child, "a")
        await settled()
        assert ref.alive
        end(lab.refs["b"], how)
        await settled()
        assert not ref.alive
        assert not lab.refs["c"].alive
        assert node.statistics().restarts == 0


@conforms("SUP-64")
@pytest.mark.parametrize("how", ["normal", "failure"])
async def test_all_significant_waits_for_the_last(how):
    """SUP-64: only the end of the last active significant child ends it; a terminated one is not active."""
    lab = Lab()
    specs = [significant(lab, name, "temporary") for name in "abc"]
    async with ak.open_node(under(*specs, lab.spec("d"), auto_shutdown="all_significant")) as node:
        ref = node.whereis("top")
        end(lab.refs["a"], how)
        await settled()
        await top().call(S.terminate_child, "b")
        await settled()
        assert ref.alive
        end(lab.refs["c"], how)
        await settled()
        assert not ref.alive


@conforms("SUP-65")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("how", ["normal", "shutdown", "failure", "kill"])
async def test_a_significant_transient_child(mode, how):
    """SUP-65: abnormal ends restart it; orderly ones end the supervisor."""
    lab = Lab()
    async with ak.open_node(under(significant(lab, "a"), lab.spec("b"), auto_shutdown=mode)) as node:
        ref = node.whereis("top")
        end(lab.refs["a"], how)
        await settled()
        assert ref.alive == (how in ("failure", "kill"))
        assert len(lab.lives["a"]) == 1 + ref.alive


@conforms("SUP-67")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
async def test_a_significant_bystander(mode, strategy):
    """SUP-67: a significant child that a sibling's failure stops is none that ended by itself."""
    lab = Lab()
    specs = [lab.spec("a"), significant(lab, "b", "temporary"), significant(lab, "c")]
    async with ak.open_node(under(*specs, strategy=strategy, auto_shutdown=mode)) as node:
        ref = node.whereis("top")
        lab.refs["a"].kill()
        await settled()
        assert ref.alive
        assert await states() == {
            "a": "running", **({"b": "running"} if strategy == "one_for_one" else {}), "c": "running",
        }  # fmt: skip


@conforms("SUP-68")
@pytest.mark.parametrize("matters", [True, False])
async def test_auto_shutdown_escalates_through_significant_supervisors(matters):
    """SUP-68: a significant sub-supervisor's own shutdown ends its parent; another's does not."""
    lab = Lab()
    inner = ak.supervisor(significant(lab, "a"), auto_shutdown="any_significant").with_(
        id="inner", restart="transient", significant=matters
    )
    async with ak.open_node(under(inner, lab.spec("b"), auto_shutdown="any_significant")) as node:
        ref = node.whereis("top")
        end(lab.refs["a"], "normal")
        await settled()
        assert ref.alive != matters
        if not matters:
            assert await states() == {"inner": "undefined", "b": "running"}


@conforms("SUP-66", "DYN-15")
async def test_significant_children_of_dynamic_supervisors_are_refused():
    """SUP-66, DYN-15: a dynamic supervisor does not shut itself down."""
    lab = Lab()
    async with ak.open_node(ak.dynamic_supervisor().with_(name="dyn")):
        with pytest.raises(ak.InvalidChildSpec):
            await ak.named(ak.DynamicSupervisor, "dyn").call(ak.DynamicSupervisor.start_child, significant(lab, "a"))


async def test_a_tree_that_ends_normally_cancels_quietly():
    """The root's auto_shutdown cancels the body; open_node returns, node.finished() too."""
    lab = Lab()
    steps = []
    async with ak.open_node(tree(significant(lab, "a"), lab.spec("b"), auto_shutdown="any_significant")) as node:
        end(lab.refs["a"], "normal")
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
    """The body that waits in node.finished() ends with the tree."""
    lab = Lab()
    async with ak.open_node(tree(significant(lab, "a"), auto_shutdown="all_significant")) as node:
        lab.refs["a"].stop()
        await node.finished()
    assert not node.engine.actors
