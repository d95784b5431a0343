"""Live static supervisors: how children are stopped (SUP-22 to 29), and by what."""

from __future__ import annotations

import logging
import math

import pytest
import trio

import actorkit as ak
from tests.conformance.marks import conforms

from .kit import Lab, Own, Quiet, Reasons, S, Slow, settled, states, top, tree, under


async def stop_top(node):
    ref = node.whereis("top")
    top().stop(ak.SHUTDOWN)
    return await node.stopped(ref)


@conforms("SUP-23")
async def test_a_child_that_takes_too_long_is_killed(autojump_clock):
    """SUP-23: with a shutdown in seconds a quick child ends with Shutdown, and a blocked child with
    Killed after that time.
    """
    lab = Lab()
    async with ak.open_node(under(*lab.specs("ab", shutdown=1.0))) as node:
        with Reasons(node) as reasons:
            lab.refs["a"].cast(Slow.block)
            await settled()
            start = trio.current_time()
            assert await stop_top(node) == ak.SHUTDOWN
            assert trio.current_time() - start == pytest.approx(1)
            assert reasons[lab.refs["a"]] == ak.KILLED
            assert reasons[lab.refs["b"]] == ak.SHUTDOWN


@conforms("SUP-22")
async def test_infinity_waits(autojump_clock):
    """SUP-22: a child with shutdown infinity has all the time that it needs, worker or
    supervisor.
    """
    lab = Lab()
    inner = ak.supervisor(lab.spec("b", Slow, shutdown=math.inf)).with_(id="inner")
    async with ak.open_node(under(lab.spec("a", Slow, shutdown=math.inf), inner)) as node:
        start = trio.current_time()
        assert await stop_top(node) == ak.SHUTDOWN
        assert trio.current_time() - start == pytest.approx(4)
        assert lab.log == ["start a", "start b", "stop b shutdown", "stop a shutdown"]


@conforms("SUP-24")
async def test_brutal_kill_does_not_ask():
    """SUP-24: a child with brutal_kill ends with Killed, without terminate; its sibling ends with
    Shutdown.
    """
    lab = Lab()
    async with ak.open_node(under(lab.spec("a", shutdown="brutal_kill"), lab.spec("b"))) as node:
        with Reasons(node) as reasons:
            await stop_top(node)
            assert reasons[lab.refs["a"]] == ak.KILLED
            assert reasons[lab.refs["b"]] == ak.SHUTDOWN
        assert lab.log == ["start a", "start b", "stop b shutdown"]


@conforms("ESUP-15", "DYN-29")
async def test_shutdown_zero_is_valid(autojump_clock):
    """ESUP-15, DYN-29: with shutdown zero a child is asked, and killed at once."""
    lab = Lab()
    async with ak.open_node(under(lab.spec("a", Slow, shutdown=0))) as node:
        with Reasons(node) as reasons:
            await stop_top(node)
            assert reasons[lab.refs["a"]] == ak.KILLED


async def test_who_does_not_trap_exits_dies_at_once():
    """The parent's shutdown ends a child that does not trap exits, without terminate, in the middle
    of an await.
    """
    lab = Lab()
    async with ak.open_node(under(lab.spec("a", Quiet))) as node:
        lab.refs["a"].cast(Quiet.block)
        await settled()
        with Reasons(node) as reasons:
            await stop_top(node)
            assert reasons[lab.refs["a"]] == ak.SHUTDOWN
        assert lab.log == ["start a"]


@conforms("SUP-25", "SUP-26", "DYN-33", "DYN-35", "DYN-37")
@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
@pytest.mark.parametrize("reason", [ak.NORMAL, ak.SHUTDOWN, ak.Shutdown("mine"), ak.Failure("mine")])
async def test_children_may_end_with_a_reason_of_their_own(caplog, restart, reason):
    """SUP-25, SUP-26, DYN-33, DYN-35, DYN-37: the supervisor still ends with Shutdown; a reason
    that is not orderly is reported.
    """
    lab = Lab()
    spec = ak.child(Own, lab, reason).with_(id="a", restart=restart)
    async with ak.open_node(under(spec)) as node:
        with Reasons(node) as reasons:
            assert await stop_top(node) == ak.SHUTDOWN
            assert reasons[lab.refs[reason]] == reason
        reported = any("shutdown_error" in record.message for record in caplog.records)
        assert reported == (isinstance(reason, ak.Failure) or (reason == ak.NORMAL and restart == "permanent"))


@conforms("SUP-25")
@pytest.mark.parametrize("reason", [ak.NORMAL, ak.SHUTDOWN, ak.Failure("raced")])
async def test_children_that_end_while_others_stop(autojump_clock, reason):
    """SUP-25: a child that ends by itself during the shutdown is not restarted and does not hold
    the shutdown up.
    """
    lab = Lab()
    async with ak.open_node(under(lab.spec("a"), lab.spec("b", Slow))) as node:
        ref = node.whereis("top")
        top().stop(ak.SHUTDOWN)
        await settled()
        lab.refs["a"].cast(Slow.end, reason)
        assert await node.stopped(ref) == ak.SHUTDOWN
        assert len(lab.lives["a"]) == 1


@conforms("SUP-27")
async def test_a_naughty_child_cannot_hang_its_supervisor():
    """SUP-27: a child that unlinks its supervisor changes nothing: it is stopped all the same, and
    its end is noticed.
    """
    lab = Lab()

    class Naughty(Quiet):
        def __init__(self, lab, name):
            super().__init__(lab, name)
            self.ctx.unlink(top())

    async with ak.open_node(tree(lab.spec("a", Naughty))):
        await top().call(S.terminate_child, "a")
        assert await states() == {"a": "undefined"}
        await top().call(S.restart_child, "a")
        lab.refs["a"].kill()
        await settled()
        assert len(lab.lives["a"]) == 3


async def test_killed_from_outside():
    """A child that is killed from outside is restarted as after any abnormal end."""
    lab = Lab()
    async with ak.open_node(tree(lab.spec("a", restart="transient"))):
        lab.refs["a"].kill()
        await settled()
        assert len(lab.lives["a"]) == 2
        assert await states() == {"a": "running"}


async def test_stopped_during_start_child(autojump_clock):
    """The parent's shutdown cancels a start that hangs; the caller is told, and the other children
    stop in order.
    """
    lab = Lab()
    lab.inits["x"] = ["hang"]
    async with ak.open_node(under(*lab.specs("ab"))) as node:
        answers = []

        async def start() -> None:
            try:
                await top().call(S.start_child, lab.spec("x", init_timeout=math.inf))
            except ak.SupervisorStopping as error:
                answers.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(start)
            await settled()
            assert await stop_top(node) == ak.SHUTDOWN
        assert len(answers) == 1
        assert not lab.refs["x"].alive
        assert lab.log == ["start a", "start b", "hang x", "stop b shutdown", "stop a shutdown"]
        assert trio.current_time() == 0


async def test_stopped_during_its_own_start(autojump_clock):
    """The node is left while the tree starts: children that had started are stopped in reverse."""
    lab = Lab()
    lab.inits["c"] = ["hang"]
    with trio.move_on_after(1) as scope:
        async with ak.open_node(tree(*lab.specs("ab"), lab.spec("c", init_timeout=math.inf))):
            raise AssertionError("the body runs")
    assert scope.cancelled_caught
    assert lab.log == ["start a", "start b", "hang c", "stop b shutdown", "stop a shutdown"]
    assert trio.current_time() == pytest.approx(1)


async def test_stopped_during_a_backoff(autojump_clock):
    """A restart that waits is given up at once."""
    lab = Lab()
    spec = lab.spec("b", Quiet, backoff=ak.Backoff(first=60, limit=60))
    async with ak.open_node(under(lab.spec("a"), spec)) as node:
        lab.refs["b"].kill()
        await settled()
        assert await states() == {"a": "running", "b": "restarting"}
        start = trio.current_time()
        assert await stop_top(node) == ak.SHUTDOWN
        assert trio.current_time() == start
        await trio.sleep(100)
        assert len(lab.lives["b"]) == 1


async def test_an_unkillable_child(autojump_clock, caplog):
    """An unkillable child is named in events and log, its siblings stop, its replacement does not
    start, and the supervisor waits for it.
    """
    lab = Lab()
    async with ak.open_node(under(*lab.specs("abc", shutdown=1.0)), kill_timeout=2.0) as node:
        ref = node.whereis("top")
        lab.refs["b"].cast(Slow.shielded)
        await settled()
        async with node.subscribe(ak.Unkillable, ak.SupervisorReport) as events:
            top().stop(ak.SHUTDOWN)
            await trio.sleep(10)
            seen = events.drain()
        assert [event.ref for event in seen if isinstance(event, ak.Unkillable)] == [lab.refs["b"]]
        reports = [event for event in seen if isinstance(event, ak.SupervisorReport) and event.kind == "unkillable"]
        assert [(report.child_id, report.pid) for report in reports] == [("b", lab.refs["b"].pid)]
        assert any(str(lab.refs["b"].pid) in r.message for r in caplog.records if r.levelno == logging.ERROR)
        assert lab.log[3:] == ["stop c shutdown", "stop a shutdown"]
        assert node.statistics().unkillable == 1
        assert ref.alive
        lab.release.set()
        await node.stopped(ref)
        assert node.statistics().unkillable == 0


async def test_no_replacement_for_an_unkillable_child(autojump_clock):
    """terminate_child says so; nothing starts in the child's place until it has ended after all."""
    lab = Lab()
    async with ak.open_node(tree(*lab.specs("ab", shutdown=1.0)), kill_timeout=2.0):
        lab.refs["a"].cast(Slow.shielded)
        await settled()
        with pytest.raises(ak.ChildRunning) as caught:
            await top().call(S.terminate_child, "a")
        assert caught.value.state == "unkillable"
        assert await states() == {"a": "unkillable", "b": "running"}
        for method in (S.restart_child, S.delete_child):
            with pytest.raises(ak.ChildRunning):
                await top().call(method, "a")
        assert len(lab.lives["a"]) == 1
        lab.release.set()
        await settled()
        assert await states() == {"a": "undefined", "b": "running"}
        await top().call(S.restart_child, "a")
        assert await states() == {"a": "running", "b": "running"}


async def test_one_for_all_goes_on_without_an_unkillable_sibling(autojump_clock):
    """A group restart starts the others, and never a second life of a child that has not ended."""
    lab = Lab()
    specs = lab.specs("abc", shutdown=1.0)
    async with ak.open_node(tree(*specs, strategy="one_for_all"), kill_timeout=2.0):
        lab.refs["b"].cast(Slow.shielded)
        await settled()
        lab.refs["a"].kill()
        await trio.sleep(10)
        assert await states() == {"a": "running", "b": "unkillable", "c": "running"}
        assert [len(lab.lives[name]) for name in "abc"] == [2, 1, 2]
        lab.release.set()


async def test_a_killed_supervisor_takes_its_children_along(autojump_clock):
    """When a supervisor is killed, children that trap exits run terminate, the others die, and
    inits under way are given up; its parent starts it anew.
    """
    lab = Lab()
    lab.inits["x"] = ["hang"]
    inner = ak.supervisor(lab.spec("c")).with_(id="inner")
    async with ak.open_node(under(lab.spec("a"), lab.spec("b", Quiet), inner, restart="permanent")) as node:
        lab.refs["b"].cast(Quiet.block)
        async with trio.open_nursery() as nursery:

            async def start() -> None:
                with pytest.raises(ak.CalleeDied):
                    await top().call(S.start_child, lab.spec("x", Quiet))

            nursery.start_soon(start)
            await settled()
            first = node.whereis("top")
            lab.take()
            with Reasons(node) as reasons:
                top().kill()
                await settled()
                assert reasons[first] == ak.KILLED
                for name in "abcx":
                    assert reasons[lab.lives[name][0]] == (ak.SHUTDOWN if name == "c" else ak.KILLED), name
        assert sorted(line for line in lab.log if line.startswith("stop")) == ["stop a killed", "stop c shutdown"]
        assert await states() == {"a": "running", "b": "running", "inner": "running"}
        assert node.statistics().actors == 6


async def test_exit_signals_and_stray_messages_do_not_move_a_supervisor():
    """A supervisor traps exits: a stranger's exit signals and messages are dropped; only kill, stop
    and its parent end it.
    """
    lab = Lab()
    async with ak.open_node(tree(lab.spec("a"))) as node:
        top().exit(ak.Failure("go away"))
        top().exit(ak.SHUTDOWN)
        top().send("hello")
        await settled()
        assert node.root.alive
        assert lab.log == ["start a"]
