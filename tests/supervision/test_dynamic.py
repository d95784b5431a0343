"""Live dynamic supervisors (DYN-01 to 41, and what SUP says of simple_one_for_one)."""

from __future__ import annotations

import gc
import math
import weakref

import pytest
import trio

import actorkit as ak
from tests.conformance.marks import conforms

from .kit import DIED, NOT_STARTED, D, Lab, Own, Quiet, Reasons, S, Slow, Worker, counts, dyn, settled, top

ENDS = {"normal": ak.NORMAL, "shutdown": ak.SHUTDOWN, "detail": ak.Shutdown("why"), "failure": DIED}


def root(restart="temporary", **flags):
    """A dynamic supervisor named "dyn" under a static one."""
    child = ak.dynamic_supervisor(**flags).with_(name="dyn", restart=restart)
    return ak.supervisor(child).with_(name="top")


def start(lab, name, cls=None, /, **fields):
    return dyn().call(D.start_child, lab.spec(name, cls, **fields))


async def stop(node):
    ref = node.whereis("dyn")
    dyn().stop(ak.SHUTDOWN)
    return await node.stopped(ref)


@conforms("DYN-01", "DYN-06")
async def test_it_can_be_supervised():
    """DYN-01, DYN-06: it is a child by name, without children at first; the ids of its children may
    repeat.
    """
    lab = Lab()
    async with ak.open_node(root("permanent")):
        assert await dyn().call(D.which_children) == ()
        refs = [await start(lab, "same") for _ in range(3)]
        infos = await dyn().call(D.which_children)
        assert [(info.id, info.ref, info.state) for info in infos] == [(None, ref, "running") for ref in refs]
        assert await counts(dyn()) == (3, 3, 0, 3)
        await dyn().call(D.start_child, ak.supervisor())
        assert await counts(dyn()) == (4, 4, 1, 3)
        dyn().kill()
        await settled()
        assert await dyn().call(D.which_children) == ()
        assert not any(ref.alive for ref in refs)


@conforms("DYN-14", "DYN-25")
async def test_extra_arguments_come_first():
    """DYN-14, DYN-25: the extra arguments come before the child's own, at restarts too."""

    class Args(ak.Actor):
        def __init__(self, *args, **kwargs):
            self.args = args, kwargs

        @ak.call
        def get(self):
            return self.args

    async with ak.open_node(root(extra_arguments=["x", 1])):
        for spec in (
            ak.child(Args, "own", key=2),
            ak.ChildSpec(lambda *a, **k: Args(*a, **k), args=("own",), kwargs={"key": 2}),
        ):
            ref = await dyn().call(D.start_child, spec)
            assert await ref.call(Args.get) == (("x", 1, "own"), {"key": 2})
            ref.kill()
            await settled()
            (info,) = await dyn().call(D.which_children)
            assert info.ref is not ref
            assert await info.ref.call(Args.get) == (("x", 1, "own"), {"key": 2})
            await dyn().call(D.terminate_child, info.ref)


@conforms("SUP-06", "SUP-07", "SUP-12", "DYN-16", "DYN-17")
@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        ("stop", NOT_STARTED),
        ("raise", ak.Crash("ValueError", "no luck")),
        ("nonsense", ak.BadReturn("Worker.init, which must return None, ak.IGNORE or ak.Stop(reason)", "42")),
        ("hang", ak.InitTimeout(5.0)),
        ("ignore", None),
    ],
)
@pytest.mark.parametrize("restart", ["permanent", "temporary"])
async def test_starts_that_fail(autojump_clock, plan, reason, restart):
    """SUP-06, SUP-07, SUP-12, DYN-16, DYN-17: a failed start tells its reason, nothing is kept,
    IGNORE gives None; the supervisor goes on and ends clean.
    """
    lab = Lab()
    lab.inits["a"] = [plan]
    async with ak.open_node(root()) as node:
        if reason is None:
            assert await start(lab, "a", restart=restart) is None
        else:
            with pytest.raises(ak.StartFailed) as caught:
                await dyn().within(10).call(D.start_child, lab.spec("a", restart=restart))
            assert caught.value.reason == reason
        assert await counts(dyn()) == (0, 0, 0, 0)
        await settled()
        assert not lab.refs["a"].alive
        assert await stop(node) == ak.SHUTDOWN


@conforms("DYN-18", "DYN-23", "DYN-24")
async def test_max_children():
    """DYN-18, DYN-23, DYN-24: running, starting and restarting children count."""
    lab = Lab()
    async with ak.open_node(root(max_children=2, max_restarts=100)):
        first = await start(lab, "a", backoff=ak.Backoff(first=60, limit=60))
        gate = trio.Event()
        lab.inits["b"] = [gate]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(start, lab, "b")
            await settled()
            with pytest.raises(ak.MaxChildrenReached) as caught:
                await start(lab, "c")
            assert caught.value.limit == 2
            gate.set()
        first.kill()
        await settled()
        assert await counts(dyn()) == (2, 1, 0, 2)
        with pytest.raises(ak.MaxChildrenReached):
            await start(lab, "c")
        await dyn().call(D.terminate_child, first)
        await start(lab, "c")
    async with ak.open_node(ak.dynamic_supervisor(max_children=0).with_(name="dyn")):
        with pytest.raises(ak.MaxChildrenReached):
            await start(lab, "d")


@conforms("DYN-19", "DYN-20", "DYN-21", "SUP-54")
@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
@pytest.mark.parametrize("how", [*ENDS, "kill"])
async def test_restart_types(restart, how):
    """DYN-19, DYN-20, DYN-21, SUP-54: the restart type says which child is restarted; siblings are
    untouched.
    """
    lab = Lab()
    async with ak.open_node(root()):
        ref = await start(lab, "a", restart=restart)
        await start(lab, "b")
        ref.kill() if how == "kill" else ref.cast(Worker.end, ENDS[how])
        await settled()
        again = restart == "permanent" or (restart == "transient" and how in ("failure", "kill"))
        assert len(lab.lives["a"]) == 1 + again
        assert len(lab.lives["b"]) == 1
        assert await counts(dyn()) == (1 + again, 1 + again, 0, 1 + again)


@conforms("DYN-22", "SUP-57")
async def test_restarts_with_other_outcomes(autojump_clock):
    """DYN-22, SUP-57: a restart that ignores removes the child; a restart that fails leaves a
    restarting entry.
    """
    lab = Lab()
    async with ak.open_node(root(max_restarts=100)):
        for name in ("ok", "ignore", "stop", "raise"):
            ref = await start(lab, name, backoff=ak.Backoff(first=1, jitter=0))
            lab.inits[name] = [name]
            ref.kill()
        await trio.sleep(1.5)
        infos = await dyn().call(D.which_children)
        assert [info.state for info in infos] == ["running", "restarting", "restarting"]
        assert await counts(dyn()) == (3, 1, 0, 3)


@conforms("DYN-26")
async def test_trying_again():
    """DYN-26: the first restart fails, and the second works."""
    lab = Lab()
    async with ak.open_node(root(max_restarts=2)):
        ref = await start(lab, "a")
        lab.inits["a"] = ["stop", "ok"]
        ref.kill()
        await settled()
        assert len(lab.lives["a"]) == 3
        assert await counts(dyn()) == (1, 1, 0, 1)


@conforms("DYN-27", "DYN-28", "SUP-54", "SUP-56")
@pytest.mark.parametrize("failing", [False, True])
async def test_the_intensity(failing):
    """DYN-27, DYN-28, SUP-54, SUP-56: one failure too many, by exits or by failing restarts, ends
    the supervisor and all its children.
    """
    lab = Lab()
    async with ak.open_node(root(max_restarts=2)) as node:
        ref = node.whereis("dyn")
        await start(lab, "a")
        await start(lab, "b")
        with Reasons(node) as reasons:
            if failing:
                lab.inits["a"] = ["stop"]
            for _ in range(1 if failing else 3):
                lab.refs["a"].kill()
                await settled()
            assert reasons[ref] == ak.Shutdown("reached_max_restart_intensity")
        assert not lab.refs["b"].alive


@conforms("DYN-39", "DYN-40", "SUP-31")
async def test_terminate_child():
    """DYN-39, DYN-40, SUP-31: a child is terminated by its ref, a named ref included; the second
    time it is not found; a stranger lives.
    """
    lab = Lab()
    async with ak.open_node(root()) as node:
        one = await start(lab, "a")
        two = await start(lab, "b", shutdown="brutal_kill", name="two")
        stranger = node.spawn(Quiet, lab, "stranger")
        with Reasons(node) as reasons:
            await dyn().call(D.terminate_child, one)
            await dyn().call(D.terminate_child, ak.named(Worker, "two"))
            assert (reasons[one], reasons[two]) == (ak.SHUTDOWN, ak.KILLED)
        for bad in (one, two, stranger, ak.named(Worker, "two"), "a", None, []):
            with pytest.raises(ak.ChildNotFound):
                await dyn().call(D.terminate_child, bad)
        assert stranger.alive
        assert await counts(dyn()) == (0, 0, 0, 0)


@conforms("DYN-41", "SUP-61")
async def test_terminating_a_restarting_child():
    """DYN-41, SUP-61: a restarting child is terminated through its last ref; the restart is given
    up.
    """
    lab = Lab()
    async with ak.open_node(root()):
        ref = await start(lab, "a", backoff=ak.Backoff(first=60, limit=60))
        ref.kill()
        await settled()
        (info,) = await dyn().call(D.which_children)
        assert (info.state, info.ref) == ("restarting", None)
        await dyn().call(D.terminate_child, ref)
        with pytest.raises(ak.ChildNotFound):
            await dyn().call(D.terminate_child, ref)
        assert await counts(dyn()) == (0, 0, 0, 0)


@conforms("SUP-29", "DYN-34", "DYN-36")
async def test_all_are_asked_at_once(autojump_clock):
    """SUP-29, DYN-34, DYN-36: the slowest child sets the time, there is one timer for each shutdown
    value, and late children are killed.
    """
    lab = Lab()
    async with ak.open_node(root()) as node:
        for name in range(5):
            await start(lab, name, Slow)
        blocked = [await start(lab, ("blocked", seconds), shutdown=seconds) for seconds in (3.0, 3.0, 4.0)]
        for ref in blocked:
            ref.cast(Worker.block)
        await settled()
        before = len(node.engine.timers)
        with Reasons(node) as reasons:
            ref = node.whereis("dyn")
            ref.stop(ak.SHUTDOWN)
            began = trio.current_time()
            await settled()
            assert len(node.engine.timers) - before <= 3  # 5 s for the slow ones, 3 s and 4 s
            await node.stopped(ref)
            assert trio.current_time() - began == pytest.approx(4)
            assert {reasons[lab.refs[name]] for name in range(5)} == {ak.SHUTDOWN}
            assert {reasons[each] for each in blocked} == {ak.KILLED}
            assert reasons[ref] == ak.SHUTDOWN


@conforms("SUP-24", "SUP-26", "DYN-31", "DYN-32", "DYN-33", "DYN-34", "DYN-35", "DYN-36")
@pytest.mark.parametrize(
    ("fields", "cls", "reason"),
    [
        ({"shutdown": "brutal_kill"}, Worker, ak.KILLED),
        ({"shutdown": math.inf}, Slow, ak.SHUTDOWN),
        ({"shutdown": math.inf}, Own, ak.Shutdown("own")),
        ({"shutdown": 5.0}, Slow, ak.SHUTDOWN),
        ({"shutdown": 5.0}, Own, ak.Shutdown("own")),
        ({"shutdown": 0.001}, Slow, ak.KILLED),
        ({"shutdown": 0.001}, Quiet, ak.SHUTDOWN),
    ],
)
async def test_shutdown_kinds(autojump_clock, fields, cls, reason):
    """SUP-24, SUP-26, DYN-31 to 36: ten children end as their shutdown says when the supervisor
    stops; it ends with Shutdown.
    """
    lab = Lab()
    async with ak.open_node(root()) as node:
        for name in range(10):
            await start(lab, name, cls, **fields)
        with Reasons(node) as reasons:
            ref = node.whereis("dyn")
            await stop(node)
            assert {reasons[lab.refs[name]] for name in range(10)} == {reason}
            assert reasons[ref] == ak.SHUTDOWN


@conforms("DYN-38")
async def test_mixed_shutdowns(autojump_clock):
    """DYN-38: brutal_kill and infinity work side by side."""
    lab = Lab()
    async with ak.open_node(root()) as node:
        slow = await start(lab, "a", Slow, shutdown=math.inf)
        killed = await start(lab, "b", shutdown="brutal_kill")
        with Reasons(node) as reasons:
            await stop(node)
            assert (reasons[slow], reasons[killed]) == (ak.SHUTDOWN, ak.KILLED)


@conforms("SUP-43", "SUP-44")
async def test_arguments_of_temporary_children_are_not_kept():
    """SUP-43, SUP-44: while a child runs only the child holds its arguments; after its end nothing
    does.
    """

    class Big:
        pass

    class Takes(ak.Actor):
        def __init__(self, big):
            pass

    def make(big):
        async def process(ctx):
            await ctx.receive()
            assert big

        return process

    async with ak.open_node(root()):
        big = Big()
        alive = weakref.ref(big)
        running = await dyn().call(D.start_child, ak.child(Takes, big).with_(restart="temporary"))
        gone = await dyn().call(D.start_child, ak.child(make(big)).with_(restart="temporary"))
        del big
        gone.kill()
        await settled()
        del gone
        gc.collect()
        assert alive() is None
        assert running.alive


@conforms("SUP-33", "SUP-34", "SUP-72")
async def test_many_children():
    """SUP-33, SUP-34, SUP-72: counts are right for hundreds of children; listing changes nothing;
    ending them leaves nothing.
    """
    async with ak.open_node(root()):

        class Tiny(ak.Actor):
            pass

        spec = ak.child(Tiny).with_(restart="temporary")
        refs = [await dyn().call(D.start_child, spec) for _ in range(500)]
        assert await counts(dyn()) == (500, 500, 0, 500)
        assert len(await dyn().call(D.which_children)) == 500
        for ref in refs:
            ref.kill()
        assert await counts(dyn()) == (0, 0, 0, 0)


async def test_an_unkillable_child(autojump_clock):
    """An unkillable child keeps its supervisor from ending, but not its siblings; terminate_child
    says so.
    """
    lab = Lab()
    async with ak.open_node(root(), kill_timeout=2.0) as node:
        stuck = await start(lab, "a", shutdown=1.0)
        await start(lab, "b")
        stuck.cast(Worker.shielded)
        await settled()
        with pytest.raises(ak.ChildRunning) as caught:
            await dyn().call(D.terminate_child, stuck)
        assert caught.value.state == "unkillable"
        assert [info.state for info in await dyn().call(D.which_children)] == ["unkillable", "running"]
        ref = node.whereis("dyn")
        ref.stop(ak.SHUTDOWN)
        await trio.sleep(20)
        assert not lab.refs["b"].alive
        assert ref.alive
        lab.release.set()
        await settled()
        assert not ref.alive


async def test_stopping_during_a_start(autojump_clock):
    """A start that hangs is given up, and its caller is told."""
    lab = Lab()
    lab.inits["x"] = ["hang"]
    async with ak.open_node(root()) as node:
        refused = []

        async def begin() -> None:
            try:
                await start(lab, "x", init_timeout=math.inf)
            except ak.SupervisorStopping as error:
                refused.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(begin)
            await settled()
            await stop(node)
        assert len(refused) == 1
        assert not lab.refs["x"].alive


async def test_starts_do_not_wait_for_each_other():
    """A child in a slow init holds up neither other starts nor calls."""
    lab = Lab()
    gate = trio.Event()
    lab.inits["slow"] = [gate]
    async with ak.open_node(root()), trio.open_nursery() as nursery:
        nursery.start_soon(start, lab, "slow")
        await settled()
        await start(lab, "quick")
        assert [info.state for info in await dyn().call(D.which_children)] == ["starting", "running"]
        gate.set()


async def test_processes_and_supervisors_as_children():
    """A child may be anything that a spec can start; a sub-supervisor's children end with it."""
    lab = Lab()
    done = []

    async def work(ctx):
        try:
            await ctx.receive()
        finally:
            done.append(True)

    async with ak.open_node(root()):
        process = await dyn().call(D.start_child, ak.child(work).with_(restart="temporary"))
        branch = await dyn().call(D.start_child, ak.supervisor(lab.spec("a")))
        await settled()
        process.send("end")
        await settled()
        assert done == [True]
        await dyn().call(D.terminate_child, branch)
        assert not lab.refs["a"].alive
        assert lab.log == ["start a", "stop a shutdown"]


@conforms("DYN-02")
async def test_a_name_taken_is_a_failed_start():
    """DYN-02: of two children with one name the second is refused; the name is free when the first
    has ended.
    """
    lab = Lab()
    async with ak.open_node(root()):
        first = await start(lab, "a", name="n", restart="temporary")
        with pytest.raises(ak.StartFailed) as caught:
            await start(lab, "b", name="n", restart="temporary")
        assert caught.value.reason.type == "AlreadyRegistered"
        await dyn().call(D.terminate_child, first)
        await start(lab, "b", name="n", restart="temporary")


@conforms("DYN-05")
@pytest.mark.parametrize(
    "flags", [{"max_restarts": -1}, {"max_seconds": 0}, {"max_children": -1}, {"max_children": 1.5}]
)
def test_bad_flags_are_refused(flags):
    """DYN-05: bad flags are refused at once, where they are written."""
    with pytest.raises(ak.InvalidSupervisorFlag):
        ak.dynamic_supervisor(**flags)


@conforms("DYN-01")
async def test_it_is_restarted_empty_by_its_supervisor():
    """DYN-01: a restarted supervisor begins without children."""
    lab = Lab()
    async with ak.open_node(root("permanent", max_restarts=0)):
        await start(lab, "a")
        lab.refs["a"].kill()
        await settled()
        assert await counts(dyn()) == (0, 0, 0, 0)
        assert (await top().call(S.count_children)).active == 1
