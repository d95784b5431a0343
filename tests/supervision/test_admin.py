"""Live static supervisors: the administrative calls and their errors (SUP-18, 30, 32, ESUP-16)."""

from __future__ import annotations

import gc
import weakref

import pytest
import trio

import actorkit as ak
from tests.conformance.marks import conforms

from .kit import Lab, S, Worker, counts, settled, states, top, tree, under


@conforms("SUP-18", "SUP-30", "ESUP-16")
async def test_the_life_of_a_child():
    """SUP-18, SUP-30, ESUP-16: start, terminate, restart and delete give each of their answers and
    refusals in turn.
    """
    lab = Lab()
    async with ak.open_node(tree()):
        assert await states() == {}
        assert await counts() == (0, 0, 0, 0)
        ref = await top().call(S.start_child, lab.spec("a"))
        assert ref is lab.refs["a"]
        assert await counts() == (1, 1, 0, 1)
        with pytest.raises(ak.ChildAlreadyStarted) as started:
            await top().call(S.start_child, lab.spec("a"))
        assert started.value.ref is ref
        for method in (S.restart_child, S.delete_child):
            with pytest.raises(ak.ChildRunning):
                await top().call(method, "a")
        for _ in range(2):
            assert await top().call(S.terminate_child, "a") is None
            assert await states() == {"a": "undefined"}
        assert lab.log == ["start a", "stop a shutdown"]
        assert await counts() == (1, 0, 0, 1)
        with pytest.raises(ak.ChildAlreadyPresent) as present:
            await top().call(S.start_child, lab.spec("a"))
        assert present.value.state == "undefined"
        again = await top().call(S.restart_child, "a")
        assert again is lab.refs["a"] is not ref
        with pytest.raises(ak.ChildRunning):
            await top().call(S.restart_child, "a")
        await top().call(S.terminate_child, "a")
        assert await top().call(S.delete_child, "a") is None
        assert await counts() == (0, 0, 0, 0)


@conforms("SUP-18", "SUP-30", "SUP-32")
@pytest.mark.parametrize("method", ["terminate_child", "restart_child", "delete_child", "get_childspec", "which_child"])
@pytest.mark.parametrize("unknown", ["x", 1, None, []])
async def test_unknown_children_are_not_found(method, unknown):
    """SUP-18, SUP-30, SUP-32: unknown children are not found, even by what cannot be an id; the
    refusal names the supervisor and the child.
    """
    async with ak.open_node(tree()):
        with pytest.raises(ak.ChildNotFound) as caught:
            await top().call(getattr(S, method), unknown)
        assert caught.value.child_id == unknown
        assert "Supervisor 'top'" in str(caught.value)
        assert repr(unknown) in str(caught.value)


@conforms("SUP-30")
async def test_a_ref_is_not_an_id():
    """SUP-30: terminate by ref on a static supervisor finds no child, and the child lives."""
    lab = Lab()
    async with ak.open_node(tree(lab.spec("a"))):
        with pytest.raises(ak.ChildNotFound):
            await top().call(S.terminate_child, lab.refs["a"])
        assert lab.refs["a"].alive


@conforms("SUP-30")
async def test_a_dead_supervisor_is_noproc():
    """SUP-30: every call to a dead supervisor raises CalleeDied."""
    async with ak.open_node(under()) as node:
        ref = node.whereis("top")
        ref.kill()
        for method, args in ((S.which_children, ()), (S.start_child, (ak.child(Worker),)), (S.terminate_child, ("a",))):
            with pytest.raises(ak.CalleeDied) as caught:
                await ref.call(method, *args)
            assert caught.value.reason == ak.NOPROC


@conforms("SUP-32")
async def test_which_children_and_which_child():
    """SUP-32: which_children gives id, ref, state, kind and restart, in start order."""
    lab = Lab()
    async with ak.open_node(tree(lab.spec("b"), ak.supervisor().with_(id="s"), lab.spec("a", restart="transient"))):
        infos = await top().call(S.which_children)
        assert [(info.id, info.state, info.kind, info.restart) for info in infos] == [
            ("b", "running", "worker", "permanent"),
            ("s", "running", "supervisor", "permanent"),
            ("a", "running", "worker", "transient"),
        ]
        assert infos[0].ref is lab.refs["b"]
        assert await top().call(S.which_child, "b") == infos[0]
        assert await counts() == (3, 3, 1, 2)


@conforms("SUP-42")
async def test_temporary_children_are_deleted_when_terminated():
    """SUP-42: the specs of temporary children go with them, so a second call finds nothing."""
    lab = Lab()
    async with ak.open_node(tree(lab.spec("a", restart="temporary"))):
        await top().call(S.terminate_child, "a")
        assert await states() == {}
        with pytest.raises(ak.ChildNotFound):
            await top().call(S.terminate_child, "a")


@conforms("SUP-30")
async def test_terminate_child_is_no_restart():
    """SUP-30: terminate_child does not count as a restart, and starts nothing."""
    lab = Lab()
    async with ak.open_node(tree(*lab.specs("ab"), strategy="one_for_all", max_restarts=0)) as node:
        await top().call(S.terminate_child, "a")
        await settled()
        assert await states() == {"a": "undefined", "b": "running"}
        assert node.statistics().restarts == 0


async def test_calls_are_served_in_order(autojump_clock):
    """Calls made while another call is under way wait for their turn, and are answered."""
    lab = Lab()
    async with ak.open_node(tree(*lab.specs("ab"))):
        lab.refs["a"].cast(Worker.block)
        await settled()
        async with trio.open_nursery() as nursery:
            for method in (S.terminate_child, S.restart_child, S.terminate_child, S.delete_child):
                nursery.start_soon(top().within(60).call, method, "a")
                await settled()
        assert lab.log == ["start a", "start b", "start a", "stop a shutdown"]
        assert await states() == {"b": "running"}


async def test_a_caller_that_gives_up_does_no_harm(autojump_clock):
    """What a cancelled caller has asked for is done all the same."""
    lab = Lab()
    async with ak.open_node(tree(lab.spec("a", shutdown=3.0))):
        lab.refs["a"].cast(Worker.block)
        await settled()
        with trio.move_on_after(1):
            await top().call(S.terminate_child, "a")
        assert await states() == {"a": "stopping"}
        await trio.sleep(5)
        assert await states() == {"a": "undefined"}


@conforms("SUP-43")
@pytest.mark.parametrize("kind", ["class", "closure", "name"])
async def test_arguments_of_temporary_children_are_not_kept(kind):
    """SUP-43: neither the spec nor what was made for one start outlives the child."""

    class Big:
        pass

    big = Big()
    alive = weakref.ref(big)

    def make(big):
        async def process(ctx):
            await ctx.receive()
            assert big

        return process

    async with ak.open_node(tree()):
        spec = ak.child(make(big)) if kind == "closure" else ak.child(Holder, big)
        if kind == "name":
            spec = spec.with_(name="held")
        spec = spec.with_(restart="temporary", id="held")
        ref = await top().call(S.start_child, spec)
        del big, spec
        ref.kill()
        await settled()
        del ref
        gc.collect()
        assert await states() == {}
        assert alive() is None


class Holder(ak.Actor):
    def __init__(self, big):
        self.big = big


async def test_templates_are_not_shared_by_specs_that_differ():
    """Two children of one class with different options each get their own."""
    lab = Lab()
    specs = [lab.spec(name, mailbox=bound, scheduling="low") for name, bound in (("a", 5), ("b", 50))]
    async with ak.open_node(tree(*specs)) as node:
        assert [node.process_info(lab.refs[name]).mailbox_bound for name in "ab"] == [5, 50]
        await top().call(S.terminate_child, "a")
        await top().call(S.delete_child, "a")
        await top().call(S.start_child, lab.spec("a", mailbox=5, scheduling="low", options={"x": 1}))
        assert lab.refs["a"].kind.options.options == {"x": 1}
