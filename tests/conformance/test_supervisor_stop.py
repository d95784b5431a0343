"""supervisor_SUITE, stop: how children are stopped, in which order, and with which reasons (SUP-22
to SUP-29).
"""

from __future__ import annotations

import math

import pytest
import trio

import actorkit as ak
from tests.conformance.marks import conforms
from tests.supervision.kit import (
    DIED,
    D,
    Lab,
    Own,
    Quiet,
    Reasons,
    S,
    Slow,
    Worker,
    dyn,
    settled,
    states,
    top,
    under,
)


def dynamic(**flags):
    return ak.supervisor(ak.dynamic_supervisor(**flags).with_(name="dyn", restart="temporary"))


async def start(lab, name, cls=None, **fields):
    return await dyn().call(D.start_child, lab.spec(name, cls, **fields))


async def end_of(node, name):
    """Stop the supervisor of this name with Shutdown, wait for its end, and return the reasons by
    ref.
    """
    ref = node.whereis(name)
    with Reasons(node) as reasons:
        ref.stop(ak.SHUTDOWN)
        await node.stopped(ref)
        assert reasons[ref] == ak.SHUTDOWN
        return reasons.seen


@conforms("SUP-22")
async def test_infinity_is_for_supervisors_and_workers(autojump_clock):
    """With an infinite shutdown both kinds end with Shutdown, however long they take."""
    lab = Lab()

    class Snail(Worker):
        async def terminate(self, reason):
            await trio.sleep(100)
            super().terminate(reason)

    inner = ak.supervisor(lab.spec("below", Snail, shutdown=math.inf)).with_(name="inner", shutdown=math.inf)
    async with ak.open_node(under(inner, lab.spec("a", Snail, shutdown=math.inf)), stop_timeout=1000) as node:
        inner = node.whereis("inner")
        seen = await end_of(node, "top")
        assert {seen[ref] for ref in (inner, *lab.refs.values())} == {ak.SHUTDOWN}
        assert trio.current_time() == pytest.approx(200)


@conforms("SUP-23")
@pytest.mark.parametrize("kind", ["static", "dynamic"])
async def test_a_second_to_end_in(autojump_clock, kind):
    """A responsive child ends with Shutdown, a blocked one with Killed after a second."""
    lab = Lab()
    root = under(*lab.specs("ab", shutdown=1.0)) if kind == "static" else dynamic()
    async with ak.open_node(root) as node:
        if kind == "dynamic":
            for name in "ab":
                await start(lab, name, shutdown=1.0)
        lab.refs["b"].cast(Worker.block)
        await settled()
        seen = await end_of(node, "top" if kind == "static" else "dyn")
        assert (seen[lab.refs["a"]], seen[lab.refs["b"]]) == (ak.SHUTDOWN, ak.KILLED)
        assert trio.current_time() == pytest.approx(1)


@conforms("SUP-24")
async def test_brutal_kill():
    """A child with brutal_kill ends with Killed, its sibling with Shutdown; ten such children of a
    dynamic supervisor all end with Killed.
    """
    lab = Lab()
    async with ak.open_node(under(lab.spec("a"), lab.spec("b", shutdown="brutal_kill"))) as node:
        seen = await end_of(node, "top")
        assert (seen[lab.refs["a"]], seen[lab.refs["b"]]) == (ak.SHUTDOWN, ak.KILLED)
    lab = Lab()
    async with ak.open_node(dynamic()) as node:
        refs = [await start(lab, n, shutdown="brutal_kill") for n in range(10)]
        seen = await end_of(node, "dyn")
        assert [seen[ref] for ref in refs] == [ak.KILLED] * 10
        assert not any(line.startswith("stop") for line in lab.log)


OWN_REASONS = [ak.NORMAL, ak.SHUTDOWN, ak.Shutdown("own"), DIED]


@conforms("SUP-25", "SUP-26")
@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
@pytest.mark.parametrize("reason", OWN_REASONS)
@pytest.mark.parametrize(
    ("kind", "when"), [("static", "before its turn"), ("static", "when asked"), ("dynamic", "when asked")]
)
async def test_children_that_end_with_a_reason_of_their_own(autojump_clock, kind, when, restart, reason):
    """When a child ends by itself while the supervisor stops, the supervisor still ends with
    Shutdown, each watcher sees its child's own reason, and nobody is restarted. (A dynamic
    supervisor asks all at once: no child comes before its turn.)
    """
    lab = Lab()

    class Asked(Worker):
        def terminate(self, _):
            self.ctx.exit_now(reason)

    specs = [lab.spec("a", Asked if when == "when asked" else Worker, restart=restart), lab.spec("b", Slow)]
    async with ak.open_node(under(*specs) if kind == "static" else dynamic()) as node:
        if kind == "dynamic":
            for spec in specs:
                await dyn().call(D.start_child, spec)
        ref = node.whereis("top" if kind == "static" else "dyn")
        with Reasons(node) as reasons:
            ref.stop(ak.SHUTDOWN)
            if when == "before its turn":
                await settled()
                lab.refs["a"].cast(Worker.end, reason)
            await node.stopped(ref)
            assert reasons[ref] == reasons[lab.refs["b"]] == ak.SHUTDOWN
            assert reasons[lab.refs["a"]] == reason
        assert len(lab.lives["a"]) == 1


@conforms("SUP-27")
async def test_a_child_that_unlinks_itself(autojump_clock):
    """terminate_child of a child that has unlinked itself works as always, and so does the stop;
    nothing piles up in the supervisor's mailbox.
    """
    lab = Lab()

    class Naughty(Quiet):
        def __init__(self, lab, name):
            super().__init__(lab, name)
            self.ctx.unlink(top())
            for _ in range(20):
                top().send("noise")

    async with ak.open_node(under(lab.spec("a", Naughty), lab.spec("b", Naughty))) as node:
        ref = node.whereis("top")
        await top().call(S.terminate_child, "a")
        assert await states() == {"a": "undefined", "b": "running"}
        await settled()
        assert node.process_info(ref).mailbox == 0
        seen = await end_of(node, "top")
        assert seen[lab.refs["b"]] == ak.SHUTDOWN


@conforms("SUP-28")
async def test_the_order_of_children():
    """Children start in the given order, whatever their ids; rest_for_one stops #5 and #4 and
    starts #3, #4 and #5 again; the stop is in reverse order.
    """
    lab = Lab()
    async with ak.open_node(under(*lab.specs("ebdac"), strategy="rest_for_one")) as node:
        assert lab.take() == ["start e", "start b", "start d", "start a", "start c"]
        lab.refs["d"].kill()
        await settled()
        assert lab.take() == ["stop c shutdown", "stop a shutdown", "start d", "start a", "start c"]
        assert list(await states()) == [*"ebdac"]
        await end_of(node, "top")
        assert lab.take() == [f"stop {name} shutdown" for name in "cadbe"]


@conforms("SUP-29")
async def test_dynamic_children_stop_side_by_side(autojump_clock):
    """Three children need 1, 1 and 5 seconds and have 2: the stop takes 2 in all, and the slow one
    is killed.
    """
    lab = Lab()

    class Takes(Worker):
        async def terminate(self, reason):
            await trio.sleep(self.name[1])

    async with ak.open_node(dynamic()) as node:
        refs = [await start(lab, (n, seconds), Takes, shutdown=2.0) for n, seconds in enumerate((1, 1, 5))]
        began = trio.current_time()
        seen = await end_of(node, "dyn")
        assert 1 <= trio.current_time() - began < 5
        assert [seen[ref] for ref in refs] == [ak.SHUTDOWN, ak.SHUTDOWN, ak.KILLED]


@conforms("DYN-33", "DYN-35", "DYN-37")
@pytest.mark.parametrize("shutdown", [math.inf, 1.0])
@pytest.mark.parametrize("reason", [ak.Shutdown("oops"), ak.NORMAL])
async def test_own_reasons_of_dynamic_children(autojump_clock, shutdown, reason):
    """Whatever time a permanent child has, its watcher sees the reason that it ends with when
    asked.
    """
    lab = Lab()
    async with ak.open_node(dynamic()) as node:
        ref = await start(lab, reason, Own, shutdown=shutdown)
        assert (await end_of(node, "dyn"))[ref] == reason
