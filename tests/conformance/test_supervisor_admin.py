"""supervisor_SUITE, the administrative calls (SUP-30 to SUP-35)."""

from __future__ import annotations

import pytest
import trio

import actorkit as ak
from tests.conformance.marks import conforms, differs
from tests.supervision.kit import D, Lab, Quiet, Reasons, S, Worker, counts, dyn, settled, top, tree, under


@conforms("SUP-30")
async def test_child_adm():
    """One child's whole life by calls, with each answer and each refusal; a dead supervisor is
    NoProc.
    """
    lab = Lab()
    async with ak.open_node(under(lab.spec("child1"))) as node:
        ref = node.whereis("top")
        first = lab.refs["child1"]
        with pytest.raises(ak.ChildAlreadyStarted) as started:
            await top().call(S.start_child, lab.spec("child1"))
        assert started.value.ref is first
        for method in (S.terminate_child, S.restart_child, S.delete_child):
            with pytest.raises(ak.ChildNotFound):
                await top().call(method, "child2")
        for bad in (first, node.spawn(Quiet, lab, "stranger")):
            with pytest.raises(ak.ChildNotFound):
                await top().call(S.terminate_child, bad)
            assert bad.alive
        with Reasons(node) as reasons:
            assert await top().call(S.terminate_child, "child1") is None
            assert reasons[first] == ak.SHUTDOWN
        (info,) = await top().call(S.which_children)
        assert (info.id, info.ref, info.state, info.kind) == ("child1", None, "undefined", "worker")
        assert await counts() == (1, 0, 0, 1)
        assert await top().call(S.terminate_child, "child1") is None
        with pytest.raises(ak.ChildAlreadyPresent):
            await top().call(S.start_child, lab.spec("child1"))
        second = await top().call(S.restart_child, "child1")
        assert second is lab.refs["child1"] is not first
        for method in (S.restart_child, S.delete_child):
            with pytest.raises(ak.ChildRunning):
                await top().call(method, "child1")
        await top().call(S.terminate_child, "child1")
        await top().call(S.delete_child, "child1")
        for method in (S.terminate_child, S.restart_child, S.delete_child):
            with pytest.raises(ak.ChildNotFound):
                await top().call(method, "child1")
        assert await top().call(S.which_children) == ()
        assert await counts() == (0, 0, 0, 0)
        ref.stop(ak.SHUTDOWN)
        await node.stopped(ref)
        for method, args in (
            (S.start_child, (lab.spec("child1"),)),
            (S.terminate_child, ("child1",)),
            (S.restart_child, ("child1",)),
            (S.delete_child, ("child1",)),
            (S.which_children, ()),
            (S.which_child, ("child1",)),
            (S.count_children, ()),
            (S.get_childspec, ("child1",)),
        ):
            for where in (ref, top()):
                with pytest.raises(ak.CalleeDied) as caught:
                    await where.call(method, *args)
                assert caught.value.reason == ak.NOPROC


@conforms("SUP-31")
@differs("SUP-31")
async def test_child_adm_of_a_dynamic_supervisor():
    """A dynamic child is terminated by its ref; a stranger's ref is not found, and the stranger
    lives. As in Elixir, there are as many specs as children, a second call does not find the child,
    and there is neither restart_child nor delete_child.
    """
    lab = Lab()
    async with ak.open_node(ak.dynamic_supervisor().with_(name="dyn")) as node:
        assert await dyn().call(D.which_children) == ()
        assert await counts(dyn()) == (0, 0, 0, 0)
        one, two = [await dyn().call(D.start_child, lab.spec(name)) for name in "ab"]
        assert await counts(dyn()) == (2, 2, 0, 2)
        stranger = node.spawn(Quiet, lab, "stranger")
        for bad in ("a", stranger):
            with pytest.raises(ak.ChildNotFound):
                await dyn().call(D.terminate_child, bad)
        assert stranger.alive
        await dyn().call(D.terminate_child, one)
        assert not one.alive
        with pytest.raises(ak.ChildNotFound):
            await dyn().call(D.terminate_child, one)
        for method in (S.restart_child, S.delete_child):
            with pytest.raises(ak.NotAMessage):
                await dyn().call(method, one)
        assert [info.ref for info in await dyn().call(D.which_children)] == [two]


@conforms("SUP-32")
@differs("SUP-32")
async def test_which_child():
    """which_child gives one entry of the listing, in every state, or raises ChildNotFound. A
    dynamic supervisor has no ids to ask by.
    """
    lab = Lab()
    specs = [lab.spec("a"), lab.spec("b", backoff=ak.Backoff(first=60, limit=60)), ak.supervisor().with_(id="s")]
    async with ak.open_node(tree(*specs, ak.dynamic_supervisor().with_(name="dyn"))):
        await top().call(S.terminate_child, "a")
        lab.refs["b"].kill()
        await settled()
        infos = await top().call(S.which_children)
        assert [info.state for info in infos] == ["undefined", "restarting", "running", "running"]
        for info in infos:
            assert await top().call(S.which_child, info.id) == info
        with pytest.raises(ak.ChildNotFound):
            await top().call(S.which_child, "x")
        with pytest.raises(ak.NotAMessage):
            await dyn().call(S.which_child, "x")


class Tiny(ak.Actor):
    pass


@conforms("SUP-33", "SUP-34")
@differs("SUP-33", "SUP-34")
@pytest.mark.parametrize("kind", ["worker", "supervisor"])
async def test_counts_of_thousands(kind):
    """Of 1,000, then 2,000 temporary children, listing does not change the counts; when all are
    killed there are none. There are as many specs as children, as in Elixir.
    """
    spec = ak.child(Tiny) if kind == "worker" else ak.dynamic_supervisor()
    spec = spec.with_(restart="temporary", id="tiny")
    async with ak.open_node(ak.dynamic_supervisor().with_(name="dyn")):
        refs = []
        for number in (1000, 2000):
            refs += [await dyn().call(D.start_child, spec) for _ in range(1000)]
            expected = (number, number, *((0, number) if kind == "worker" else (number, 0)))
            assert await counts(dyn()) == expected
            assert [info.ref for info in await dyn().call(D.which_children)] == refs
            assert await counts(dyn()) == expected
        for ref in refs:
            ref.kill()
        await settled()
        assert await counts(dyn()) == (0, 0, 0, 0)


@conforms("SUP-35")
@pytest.mark.parametrize("kind", ["static", "dynamic"])
async def test_counts_of_restarting_children(autojump_clock, kind):
    """When two of three children are stuck in a failing restart, one is active and three are
    workers. All are active when starts work again, and terminating each lowers both counts.
    """
    lab = Lab()
    specs = [lab.spec(name, backoff=ak.Backoff(first=1, factor=1, jitter=0)) for name in "abc"]
    flags = {"max_restarts": 1000, "max_seconds": 1}
    root = tree(*specs, **flags) if kind == "static" else ak.dynamic_supervisor(**flags).with_(name="top")
    async with ak.open_node(root):
        if kind == "dynamic":
            for spec in specs:
                await top().call(D.start_child, spec)
        for name in "ab":
            lab.inits[name] = ["stop"]
            lab.refs[name].kill()
        await trio.sleep(3.5)
        specs_now = await counts()
        assert specs_now == (3, 1, 0, 3)
        for name in "ab":
            lab.inits[name] = ["ok"]
        await trio.sleep(2)
        assert await counts() == (3, 3, 0, 3)
        for left, name in ((2, "c"), (1, "b"), (0, "a")):
            if kind == "static":
                await top().call(S.terminate_child, name)
                await top().call(S.delete_child, name)
            else:
                await top().call(D.terminate_child, lab.refs[name])
            assert await counts() == (left, left, 0, left)


@conforms("SUP-35")
async def test_terminating_restarting_children_lowers_the_counts():
    """terminate_child removes a child that waits for its restart as it removes an active one."""
    lab = Lab()
    async with ak.open_node(ak.dynamic_supervisor().with_(name="dyn")):
        ref = await dyn().call(D.start_child, lab.spec("a", Worker, backoff=ak.Backoff(first=60, limit=60)))
        ref.kill()
        await settled()
        assert await counts(dyn()) == (1, 0, 0, 1)
        await dyn().call(D.terminate_child, ref)
        assert await counts(dyn()) == (0, 0, 0, 0)
