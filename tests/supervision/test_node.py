"""Live nodes: how a tree sits in its host, and how a node ends."""

from __future__ import annotations

import logging

import pytest
import trio

import actorkit as ak

from .kit import Lab, Quiet, S, Slow, Worker, settled, states, top, tree


async def test_several_nodes_side_by_side():
    """Names, trees and ends belong to one node; a node that gives up leaves the others alone."""
    lab, other = Lab(), Lab()
    async with ak.open_node(tree(lab.spec("a")), name="one") as one:
        with pytest.raises(ak.SupervisorGaveUp):
            async with ak.open_node(tree(other.spec("a"), max_restarts=0), name="two") as two:
                assert one.whereis("top") is not two.whereis("top")
                assert other.refs["a"].pid.node == "two"
                other.refs["a"].kill()
                await trio.sleep_forever()
        assert lab.refs["a"].alive
        assert await states(one.whereis("top")) == {"a": "running"}
        assert lab.log == ["start a"]


async def test_nodes_in_tasks_of_one_run():
    """In each task named refs mean the node that the task has opened."""
    seen = {}

    async def run(name):
        lab = Lab()
        async with ak.open_node(tree(lab.spec("a", name="worker")), name=name):
            await trio.lowlevel.checkpoint()
            seen[name] = ak.named(Worker, "worker").pid.node
            await settled()

    async with trio.open_nursery() as nursery:
        for name in ("one", "two", "three"):
            nursery.start_soon(run, name)
    assert seen == {"one": "one", "two": "two", "three": "three"}


@pytest.mark.parametrize("way", ["end", "exception", "cancel", "shutdown"])
async def test_leaving_the_body_stops_in_reverse_order(autojump_clock, way):
    """The tree stops in reverse order, however the body is left; an exception comes out as it is,
    and a cancellation goes on.
    """
    lab = Lab()
    inner = ak.supervisor(*lab.specs("bc", Slow)).with_(id="inner")
    try:
        with trio.CancelScope() as scope:
            async with ak.open_node(tree(lab.spec("a", Slow), inner, lab.spec("d", Slow))) as node:
                lab.take()
                match way:
                    case "exception":
                        raise KeyError("mine")
                    case "cancel":
                        scope.cancel()
                        await trio.sleep_forever()
                    case "shutdown":
                        node.shutdown()
                        await trio.sleep_forever()
    except KeyError as error:
        assert way == "exception"
        assert error.args == ("mine",)
    else:
        assert way != "exception"
        assert scope.cancelled_caught == (way == "cancel")
    assert lab.log == [f"stop {name} shutdown" for name in "dcba"]
    assert trio.current_time() == pytest.approx(8)


async def test_actors_outside_the_tree_stop_after_it():
    """First the tree stops, then the other actors, the youngest first; an actor that they spawned
    is not part of the tree.
    """
    lab = Lab()
    async with ak.open_node(tree(*lab.specs("ab"))) as node:
        node.spawn(Worker, lab, "x")
        node.spawn(Worker, lab, "y")
        await settled()
        lab.take()
    assert lab.log[:2] == ["stop b shutdown", "stop a shutdown"]
    assert sorted(lab.log[2:]) == ["stop x shutdown", "stop y shutdown"]


async def test_stop_timeout_kills_what_is_left(autojump_clock):
    """The whole orderly stop has that many seconds; then everything is killed."""
    lab = Lab()

    class Never(Worker):
        async def terminate(self, reason):
            await trio.sleep_forever()

    async with ak.open_node(tree(*lab.specs("ab", Never, shutdown=float("inf"))), stop_timeout=3.0):
        pass
    assert trio.current_time() == pytest.approx(3)
    assert not any(ref.alive for ref in lab.refs.values())


async def test_orphans_have_their_own_time(autojump_clock):
    """Actors outside the tree have five seconds, within stop_timeout."""
    lab = Lab()

    class Never(Worker):
        async def terminate(self, reason):
            await trio.sleep_forever()

    async with ak.open_node(tree(lab.spec("a"))) as node:
        node.spawn(Never, lab, "x")
    assert trio.current_time() == pytest.approx(5)


async def test_node_exit_waits_for_the_unkillable_and_says_so(autojump_clock, caplog):
    """The log says so every second and names the actor; the siblings have stopped long before."""
    lab = Lab()
    spec = lab.spec("stuck", shutdown=1.0, name="stuck")
    with caplog.at_level(logging.ERROR, logger="actorkit"):
        async with trio.open_nursery() as nursery:
            async with ak.open_node(tree(lab.spec("a"), spec), stop_timeout=5.0, kill_timeout=1.0):
                ref = lab.refs["stuck"]
                ref.cast(Worker.shielded)
                await settled()

                async def later() -> None:
                    await trio.sleep(10)
                    assert not lab.refs["a"].alive
                    lab.release.set()

                nursery.start_soon(later)
    assert trio.current_time() == pytest.approx(10)
    waiting = [record.message for record in caplog.records if "cannot stop" in record.message]
    assert 3 <= len(waiting) <= 6
    assert all(f"{ref.pid} (Worker 'stuck')" in message for message in waiting)


async def test_stopped_waits_for_one_actor():
    """node.stopped gives the reason, and None for an actor that is already dead."""
    lab = Lab()
    async with ak.open_node() as node:
        ref = node.spawn(Quiet, lab, "a")
        await settled()
        got = []

        async def wait() -> None:
            got.append(await node.stopped(ref))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            nursery.start_soon(wait)
            await settled()
            ref.kill()
        assert got == [ak.KILLED, ak.KILLED]
        assert await node.stopped(ref) is None


async def test_nothing_starts_on_a_stopping_node(autojump_clock):
    """Once the node is stopping, spawn raises NodeStopped."""
    lab = Lab()
    errors = []

    class Late(Slow):
        async def terminate(self, reason):
            try:
                self.ctx.spawn(Quiet, lab, "late")
            except ak.NodeStopped as error:
                errors.append(error)

    async with ak.open_node(tree(lab.spec("a", Late))):
        pass
    assert len(errors) == 1


async def test_what_is_still_needed_is_restarted_while_the_node_stops(autojump_clock):
    """A service that fails while later ones still stop is restarted: it has not been told to stop
    yet.
    """
    lab = Lab()
    services = ak.supervisor(lab.spec("store")).with_(name="services")
    async with ak.open_node(tree(services, lab.spec("slow", Slow)), stop_timeout=60) as node:

        def fail() -> None:
            lab.refs["store"].kill()

        node.engine.stop.before.append(lambda: node.engine.timers.after(1.0, fail))
    assert [line for line in lab.log if "store" in line] == ["start store", "start store", "stop store shutdown"]


async def test_a_tree_may_be_a_single_actor():
    """The root need not be a supervisor; its end ends the node, and an abnormal end comes out as
    SupervisorGaveUp.
    """
    lab = Lab()
    async with ak.open_node(lab.spec("a")) as node:
        lab.refs["a"].stop()
        await node.finished()
    with pytest.raises(ak.SupervisorGaveUp) as caught:
        async with ak.open_node(lab.spec("a")):
            lab.refs["a"].cast(Worker.crash)
            await trio.sleep_forever()
    assert caught.value.reason.type == "RuntimeError"


async def test_what_the_body_raises_wins_over_a_tree_that_gave_up():
    """The body's own exception comes out, even if the tree has failed meanwhile."""
    lab = Lab()
    with pytest.raises(KeyError):
        async with ak.open_node(tree(lab.spec("a"), max_restarts=0)):
            lab.refs["a"].kill()
            await settled_shielded()
            raise KeyError("mine")


async def settled_shielded() -> None:
    with trio.CancelScope(shield=True):
        await settled()


async def test_the_tree_is_shown():
    """node.tree() shows every level, with ids, states and kinds, including children that do not
    run.
    """
    lab = Lab()
    lab.inits["off"] = ["ignore"]
    inner = ak.supervisor(lab.spec("b"), lab.spec("off")).with_(id="inner")
    dynamic = ak.dynamic_supervisor().with_(name="dyn")
    async with ak.open_node(tree(lab.spec("a"), inner, dynamic)) as node:
        await ak.named(ak.DynamicSupervisor, "dyn").call(ak.DynamicSupervisor.start_child, lab.spec("c"))
        now = node.tree()
        assert now is not None

        def shape(entry):
            return (entry.id, entry.kind, entry.state, [shape(child) for child in entry.children])

        assert shape(now) == (
            "top", "supervisor", "running", [
                ("a", "worker", "running", []),
                (
                    "inner",
                    "supervisor",
                    "running",
                    [("b", "worker", "running", []), ("off", "worker", "undefined", [])],
                ),
                ("dyn", "supervisor", "running", [("c", "worker", "running", [])]),
            ],
        )  # fmt: skip
        assert len(list(now.lines())) == 7
        assert await top().call(S.count_children) == ak.ChildCounts(3, 3, 2, 1)


@pytest.mark.parametrize(
    ("option", "remedy"),
    [
        ("stop_timout", r"did you mean stop_timeout"),
        ("memory_limt", r"did you mean memory_limit"),
        ("foo", r"its options are memory_limit, governor, .*name, stop_timeout, .*debug"),
    ],
)
def test_an_option_that_there_is_not(option, remedy):
    with pytest.raises(TypeError, match=rf"^open_node\(\) got an unexpected option '{option}': {remedy}"):
        ak.open_node(**{option: 1})
