"""supervisor_SUITE, auto_shutdown: every way to end, for every kind of child and mode (SUP-63 to SUP-68)."""

from __future__ import annotations

import pytest

import actorkit as ak
from tests.conformance.marks import conforms
from tests.supervision.kit import DIED, D, Lab, Reasons, S, Worker, dyn, settled, states, top, under

MODES = ["never", "any_significant", "all_significant"]
ENDS = {"normal": ak.NORMAL, "shutdown": ak.SHUTDOWN, "shutdown, info": ak.Shutdown("info"), "abnormal": DIED}
WAYS = [*ENDS, "kill", "terminate_child"]


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
    """Nothing that happens to its children shuts it down, though they all end."""
    lab = Lab()
    async with ak.open_node(under(*lab.specs("ab", restart=restart), auto_shutdown=mode, max_restarts=5)) as node:
        ref = node.whereis("top")
        for name in "ab":
            await end(lab, name, how)
        assert ref.alive


@conforms("SUP-64", "SUP-65")
@pytest.mark.parametrize("mode", MODES[1:])
@pytest.mark.parametrize("restart", ["temporary", "transient"])
@pytest.mark.parametrize("how", WAYS)
async def test_significant_children(mode, restart, how):
    """any: the first that ends by itself, for good, ends the supervisor; all: the last. A transient one that comes back
    does not, nor does terminate_child. Its siblings are shut down, and its reason is an orderly one."""
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


@conforms("SUP-66")
def test_a_significant_child_needs_a_supervisor_that_shuts_down():
    """A permanent one can never be; a static supervisor that never does refuses it."""
    lab = Lab()
    with pytest.raises(ak.InvalidChildSpec):
        lab.spec("a", restart="permanent", significant=True)
    with pytest.raises(ak.InvalidChildSpec) as caught:
        ak.supervisor(lab.spec("a", restart="transient", significant=True))
    assert caught.value.field == "significant"


@conforms("SUP-66")
@pytest.mark.parametrize("restart", ["transient", "temporary"])
async def test_a_significant_dynamic_child(restart):
    """Refused; nothing was started."""
    lab = Lab()
    async with ak.open_node(ak.dynamic_supervisor().with_(name="dyn")):
        with pytest.raises(ak.InvalidChildSpec) as caught:
            await dyn().call(D.start_child, lab.spec("a", restart=restart, significant=True))
        assert caught.value.field == "significant"
        assert lab.log == []


@conforms("SUP-67")
@pytest.mark.parametrize("mode", MODES[1:])
@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
async def test_a_significant_bystander(mode, strategy):
    """Stopped because of a sibling's failure it does not trigger, whether it comes back (transient) or not
    (temporary)."""
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
            await end(lab, "transient", "normal")  # it is the last one now
            assert not ref.alive


@conforms("SUP-68")
@pytest.mark.parametrize("mode", MODES[1:])
@pytest.mark.parametrize("matters", [True, False])
async def test_escalation(mode, matters):
    """The shutdown of a significant sub-supervisor ends its parent, with all its children; another's ends nobody."""
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
