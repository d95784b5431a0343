"""supervisor_SUITE: restart types, arguments that are not kept, trees, restarts that hang, names
(SUP-37 to SUP-44, SUP-58 to SUP-62), and scale and formats (SUP-72 to SUP-74).
"""

from __future__ import annotations

import gc
import logging
import weakref

import pytest
import trio

import actorkit as ak
from tests.conformance.marks import conforms, differs
from tests.counting import lines_run
from tests.supervision.kit import DIED, D, Lab, Quiet, S, Worker, counts, dyn, settled, states, top, tree, under

ENDS = {"normal": ak.NORMAL, "shutdown": ak.SHUTDOWN, "shutdown, info": ak.Shutdown("info"), "abnormal": DIED}


async def end(lab, how, name="a"):
    lab.refs[name].kill() if how == "kill" else lab.refs[name].cast(Worker.end, ENDS[how])
    await settled()


# --- Restart types --------------------------------------------------------------------------------


@conforms("SUP-42")
@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
@pytest.mark.parametrize("how", ["kill", "normal", "abnormal", "terminate"])
@pytest.mark.parametrize(
    ("restart", "restarted", "present"),
    [
        ("temporary", [], []),
        ("permanent", ["kill", "normal", "abnormal"], ["terminate"]),
        ("transient", ["kill", "abnormal"], ["normal", "terminate"]),
    ],
)
async def test_starting_a_child_of_the_same_id_again(strategy, how, restart, restarted, present):
    """A temporary child that has ended may be started anew; for the others start_child raises that
    they are already started or already present.
    """
    lab = Lab()
    async with ak.open_node(tree(strategy=strategy)):
        await top().call(S.start_child, lab.spec("a", restart=restart))
        if how == "terminate":
            await top().call(S.terminate_child, "a")
        else:
            await end(lab, how)
        if how in restarted:
            with pytest.raises(ak.ChildAlreadyStarted) as caught:
                await top().call(S.start_child, lab.spec("a", restart=restart))
            assert caught.value.ref is lab.lives["a"][1]
        elif how in present:
            with pytest.raises(ak.ChildAlreadyPresent):
                await top().call(S.start_child, lab.spec("a", restart=restart))
        else:
            assert await top().call(S.start_child, lab.spec("a", restart=restart)) is lab.lives["a"][1]


class Big:
    """A large argument that can be watched by a weak reference."""


class Takes(ak.Actor):
    def __init__(self, big):
        self.kind = type(big)


@conforms("SUP-43")
@differs("SUP-43")
@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one", "simple_one_for_one"])
@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
async def test_arguments_of_a_hundred_children(strategy, restart):
    """A dynamic supervisor does not keep the arguments of its temporary children; a static one
    keeps them until the child ends, and no longer. Arguments of other children are kept, since
    restarts need them.
    """
    simple = strategy == "simple_one_for_one"
    root = ak.dynamic_supervisor().with_(name="top") if simple else tree(strategy=strategy)
    async with ak.open_node(root):
        watched, refs = [], []
        for n in range(100):
            big = Big()
            watched.append(weakref.ref(big))
            refs.append(
                await top().call(
                    S.start_child if not simple else D.start_child, ak.child(Takes, big).with_(id=n, restart=restart)
                )
            )
            del big
        gc.collect()
        kept = restart != "temporary" or not simple
        assert [ref() is not None for ref in watched] == [kept] * 100
        if restart == "temporary":
            for ref in refs:
                ref.kill()
            await settled()
            gc.collect()
            assert [ref() for ref in watched] == [None] * 100


@conforms("SUP-44")
async def test_a_dynamic_supervisor_keeps_no_arguments_after_a_death():
    """Even after a temporary child has ended, nobody holds the large argument of the next one."""
    async with ak.open_node(ak.dynamic_supervisor().with_(name="dyn")):
        first = await dyn().call(D.start_child, ak.child(Takes, Big()).with_(restart="temporary"))
        first.kill()
        await settled()
        big = Big()
        alive = weakref.ref(big)
        second = await dyn().call(D.start_child, ak.child(Takes, big).with_(restart="temporary"))
        del big
        gc.collect()
        assert second.alive
        assert alive() is None


# --- Trees ----------------------------------------------------------------------------------------


@conforms("SUP-58")
async def test_a_tree():
    """Only the worker that ended is restarted below a sub-supervisor. When the sub-supervisor gives
    up, its one_for_all parent restarts all three: static grandchildren are back, added ones are
    not, and the transient one that had been stopped by hand is back too.
    """
    lab = Lab()
    left = ak.supervisor(*lab.specs(["l1", "l2"]), max_restarts=2).with_(name="left")
    right = ak.supervisor(lab.spec("r1")).with_(name="right")
    off = ak.supervisor(lab.spec("o1")).with_(name="off", restart="transient")
    async with ak.open_node(tree(left, right, off, strategy="one_for_all")) as node:
        await ak.named(S, "right").call(S.start_child, lab.spec("added"))
        assert await counts() == (3, 3, 3, 0)
        await top().call(S.terminate_child, "off")
        supervisors = [node.whereis(name) for name in ("left", "right")]
        for _ in range(2):
            await end(lab, "abnormal", "l1")
        assert [len(lab.lives[name]) for name in ("l1", "l2", "r1", "added", "o1")] == [3, 1, 1, 1, 1]
        assert [node.whereis(name) for name in ("left", "right")] == supervisors
        await end(lab, "abnormal", "l2")
        assert not any(ref.alive for ref in supervisors)
        assert await states() == {"left": "running", "right": "running", "off": "running"}
        assert [len(lab.lives[name]) for name in ("l1", "l2", "r1", "added", "o1")] == [4, 2, 2, 1, 2]
        assert await states(ak.named(S, "right")) == {"r1": "running"}
        assert not lab.refs["added"].alive


# --- Restarts that hang ---------------------------------------------------------------------------


@conforms("SUP-59", "SUP-60")
@differs("SUP-59", "SUP-60")
@pytest.mark.parametrize("strategy", ["one_for_one", "rest_for_one"])
async def test_a_hanging_restart_loop(autojump_clock, strategy):
    """A restart fails after two seconds, again and again. Calls are answered between the attempts,
    terminate_child ends the loop, and restart_child works then; during a second such loop the
    supervisor obeys its shutdown. During an attempt the child is shown as starting; OTP's listing
    waits for it.
    """
    lab = Lab()
    specs = [lab.spec("a"), lab.spec("b", init_timeout=2.0), lab.spec("c")]
    async with ak.open_node(under(*specs, strategy=strategy, max_restarts=8, max_seconds=10)) as node:
        ref = node.whereis("top")
        later = "undefined" if strategy == "rest_for_one" else "running"
        lab.inits["b"] = ["hang"]
        lab.refs["b"].kill()
        await trio.sleep(5)
        assert await states() == {"a": "running", "b": "starting", "c": later}
        assert await counts() == (3, 1 + (later == "running"), 0, 3)
        for method, argument, error in (
            (S.start_child, lab.spec("b"), ak.ChildAlreadyPresent),
            (S.restart_child, "b", ak.ChildRestarting),
            (S.delete_child, "b", ak.ChildRestarting),
        ):
            with pytest.raises(error):
                await top().call(method, argument)
        assert len(lab.lives["a"]) == 1
        await top().call(S.terminate_child, "b")
        assert await states() == {"a": "running", "b": "undefined", "c": later}
        lab.inits["b"] = ["ok"]
        assert await top().call(S.restart_child, "b") is lab.refs["b"]
        if later == "undefined":
            await top().call(S.restart_child, "c")
        await trio.sleep(20)
        lab.inits["b"] = ["hang"]
        lab.refs["b"].kill()
        await trio.sleep(3)
        began = trio.current_time()
        ref.stop(ak.SHUTDOWN)
        assert await node.stopped(ref) == ak.SHUTDOWN
        assert trio.current_time() - began < 2


@conforms("SUP-61")
@differs("SUP-61")
async def test_a_hanging_restart_loop_of_a_dynamic_child(autojump_clock):
    """terminate_child with the old ref removes the child; there are no calls by id. A shutdown
    during such a loop is obeyed.
    """
    lab = Lab()
    async with ak.open_node(
        ak.supervisor(ak.dynamic_supervisor(max_restarts=8, max_seconds=10).with_(name="dyn", restart="temporary"))
    ) as node:
        for last in (False, True):
            lab.inits["b"] = ["ok"]
            old = await dyn().call(D.start_child, lab.spec("b", init_timeout=2.0))
            lab.inits["b"] = ["hang"]
            old.kill()
            await trio.sleep(5)
            (info,) = await dyn().call(D.which_children)
            assert (info.state, info.ref) == ("starting", None)
            assert await counts(dyn()) == (1, 0, 0, 1)
            with pytest.raises(ak.ChildNotFound):
                await dyn().call(D.terminate_child, "b")
            if not last:
                await dyn().call(D.terminate_child, old)
                assert await counts(dyn()) == (0, 0, 0, 0)
                await trio.sleep(20)
                assert not lab.refs["b"].alive
        ref = node.whereis("dyn")
        ref.stop(ak.SHUTDOWN)
        assert await node.stopped(ref) == ak.SHUTDOWN


@conforms("SUP-62")
async def test_names_through_restarts():
    """Workers and sub-supervisors with names are killed, exit, and are restarted by hand: each name
    is held by the living actor, and by no other.
    """
    lab = Lab()
    inner = ak.supervisor(lab.spec("w2", Quiet, name="w2")).with_(name="inner", restart="transient")
    async with ak.open_node(tree(lab.spec("w1", Quiet, name="w1"), inner, max_restarts=20)) as node:
        for how in ("kill", "abnormal"):
            for name in ("w1", "w2"):
                old = node.whereis(name)
                await end(lab, how, name)
                assert node.whereis(name) is lab.refs[name] is not old
        old = node.whereis("inner"), node.whereis("w2")
        old[0].kill()
        await settled()
        assert node.whereis("inner") not in (None, old[0])
        assert node.whereis("w2") is lab.refs["w2"] is not old[1]
        await top().call(S.terminate_child, "inner")
        assert (node.whereis("inner"), node.whereis("w2")) == (None, None)
        await top().call(S.restart_child, "inner")
        assert node.whereis("w2") is lab.refs["w2"]
        assert sorted(node.engine.names.registered()) == ["inner", "top", "w1", "w2"]


# --- Scale ----------------------------------------------------------------------------------------


class Tiny(ak.Actor):
    pass


async def lines(work, *args):
    """Count the lines of actorkit's own code that run."""
    with lines_run() as run:
        await work(*args)
    return run.count


@conforms("SUP-72")
async def test_terminating_many_temporary_children():
    """Terminating ten times as many children takes ten times as much work."""
    spec = ak.child(Tiny).with_(restart="temporary")

    async def end_all(number):
        async with ak.open_node(ak.dynamic_supervisor().with_(name="dyn"), slice_seconds=1000):
            refs = [await dyn().call(D.start_child, spec) for _ in range(number)]
            for ref in refs:
                await dyn().call(D.terminate_child, ref)
            assert await counts(dyn()) == (0, 0, 0, 0)

    few, many = await lines(end_all, 100), await lines(end_all, 1000)
    assert many < 11 * few


@conforms("SUP-73")
async def test_starting_and_stopping_many_children():
    """Starting and stopping ten times as many children, in the list or by hand, takes ten times as
    much work.
    """
    specs = [ak.child(Tiny).with_(id=n) for n in range(1000)]

    async def listed(number):
        async with ak.open_node(tree(*specs[:number]), slice_seconds=1000):
            assert await counts() == (number, number, 0, number)

    async def by_hand(number):
        async with ak.open_node(tree(), slice_seconds=1000):
            for spec in specs[:number]:
                await top().call(S.start_child, spec)
            for spec in specs[:number]:
                await top().call(S.terminate_child, spec.id)
            assert await counts() == (number, 0, 0, number)

    for work in (listed, by_hand):
        few, many = await lines(work, 100), await lines(work, 1000)
        assert many < 11 * few


# --- Reports --------------------------------------------------------------------------------------


@conforms("SUP-74")
@differs("SUP-74")
async def test_reports(caplog):
    """Each report names the supervisor, what happened, the reason and the child, once, in a single
    line of bounded length. A progress report has the same form and is logged at debug level.
    """
    lab = Lab()
    huge = ak.Failure("x" * 1_000_000)
    with caplog.at_level(logging.DEBUG, "actorkit"):
        async with ak.open_node(tree(lab.spec("offender" * 1000), max_restarts=5)) as node:
            (record,) = caplog.records
            assert record.levelno == logging.DEBUG
            assert "progress, child 'offender" in record.getMessage()
            assert len(record.getMessage()) < 3_000
            ref = lab.refs["offender" * 1000]
            ref.cast(Worker.end, huge)
            await settled()
            (line,) = [r.getMessage() for r in caplog.records if "child_terminated" in r.getMessage()]
            supervisor = node.whereis("top")
            for part in (f"{supervisor.pid}", "Supervisor 'top'", "child 'offender", "reason: Failure", "permanent"):
                assert part in line
            assert "\n" not in line
            assert len(line) < 3_000
