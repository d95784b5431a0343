"""process_SUITE, erl_link_SUITE, signal_SUITE, monitor_SUITE: exit signals, links, monitors and
aliases (SIG, MON, ALI).

Most of them are asserted in tests/messaging/test_links.py and test_monitors.py. Here are the cases
where ours differs, and those that nothing there asserts.
"""

from __future__ import annotations

import gc
import itertools
import random
import weakref

import pytest
import trio

import actorkit as ak
from actorkit.testing import Probe
from tests.conformance.marks import conforms, differs
from tests.messaging.kit import Puppet, Trapper, crash, settle

OTHER = ak.Failure("frop")


@pytest.fixture
async def node(autojump_clock):
    async with ak.open_node() as opened:
        yield opened


async def do(ref, function):
    return await ref.call(Puppet.do, function)


async def seen(ref):
    await settle()
    return await ref.call(Puppet.all_seen)


# --- Exit signals ---------------------------------------------------------------------------------


@conforms("SIG-01", "SIG-02", "MON-12")
async def test_big_reasons(node, autojump_clock):
    """A large reason passes through ten links, ten exits and ten monitors intact."""
    big = ak.Failure({n: "x" * n for n in range(500)})
    for _ in range(10):
        for by_itself in (True, False):
            dying, watcher = node.spawn(Puppet), node.spawn(Trapper)
            await do(watcher, lambda me, dying=dying: (me.ctx.link(dying), me.ctx.monitor(dying)))
            dying.cast(Puppet.tell, lambda me: me.ctx.exit_now(big)) if by_itself else dying.exit(big)
            linked, down = await seen(watcher)
            assert linked.reason == down.reason == big


@conforms("SIG-08")
@differs("SIG-08")
@pytest.mark.parametrize("nested", [False, True])
async def test_a_run_time_error(node, autojump_clock, nested):
    """The reason has the error and a stack that names the functions and their places, but not their
    arguments, which could be arbitrarily large.
    """

    def fails(argument):
        return int(argument)

    def caller(me):
        return fails("never shown") if nested else int("never shown")

    dying, watcher = node.spawn(Puppet), node.spawn(Trapper)
    await do(watcher, lambda me: me.ctx.link(dying))
    dying.cast(Puppet.tell, caller)
    ((source, reason),) = [(message.source, message.reason) for message in await seen(watcher)]
    assert source is dying
    assert reason.type == "ValueError"
    assert "in caller" in reason.traceback
    assert ("in fails" in reason.traceback) == nested
    assert __file__ in reason.traceback


@conforms("SIG-12")
async def test_unlink_after_an_exit_many_times(node, autojump_clock):
    """Whenever the other end dies around an unlink, no Exit of that link is seen after it within a
    second.
    """
    for n in range(50):
        watcher, dying = node.spawn(Trapper), node.spawn(Puppet)

        async def race(me, dying=dying, n=n):
            me.ctx.link(dying)
            dying.exit(OTHER) if n % 2 else dying.cast(Puppet.tell, crash)
            if n % 3 == 0:
                await settle()
            me.ctx.unlink(dying)
            dying.exit(OTHER)

        await watcher.call(Puppet.run, race)
        await trio.sleep(1)
        assert await seen(watcher) == []


@conforms("SIG-14")
async def test_the_order_of_signals_of_one_sender(node, autojump_clock):
    """Messages before the exit may be seen, those after it never, and Down has the exit's reason:
    200 times, with any number of messages before and after.
    """
    shuffled = random.Random(3)
    for _ in range(200):
        sender, target, probe = node.spawn(Puppet), node.spawn(Puppet), Probe(node)
        heard = []

        class Notes(Puppet):
            def handle_info(self, message, heard=heard):
                heard.append(message)

        target = node.spawn(Notes)
        before, after = shuffled.randrange(5), shuffled.randrange(5)
        probe.monitor(target)

        def send(me, target=target, before=before, after=after):
            for n in range(before):
                target.send(n)
            target.exit(OTHER)
            for n in range(after):
                target.send(100 + n)

        await do(sender, send)
        assert (await probe.receive(ak.Down)).reason == OTHER
        assert heard == list(range(before))[: len(heard)]


@conforms("SIG-19")
@differs("SIG-19")
async def test_bad_names_and_whose(node, autojump_clock):
    """A bad name is refused. An actor can register only itself, so a dead one cannot be registered
    at all; "undefined" is a name like any other.
    """
    puppet = node.spawn(Puppet)
    for bad in ((), [], {}, ("a", "b"), None, "", 1):
        with pytest.raises(ak.CalleeDied):
            await do(node.spawn(Puppet), lambda me, bad=bad: me.ctx.register(bad))
    kept = []
    await do(puppet, lambda me: kept.append(me.ctx))
    with pytest.raises(ak.NotInsideActor):
        kept[0].register("mine")
    puppet.kill()
    with pytest.raises(ak.NotInsideActor):
        kept[0].register("mine")
    assert node.engine.names.registered() == []
    await do(node.spawn(Puppet), lambda me: me.ctx.register("undefined"))
    assert node.whereis("undefined") is not None


@differs("SIG-20")
async def test_spawn_has_no_request_and_no_reply(node, autojump_clock):
    """The spawn is done when it returns. A bad option raises in the caller, an early end comes over
    the link with its reason, and a parent's exit ends a linked child that has hardly begun.
    """
    parent = node.spawn(Trapper)

    def badopt(me):
        with pytest.raises(ak.InvalidChildSpec):
            me.ctx.spawn_link(ak.child(Puppet).with_(mailbox=-1))
        with pytest.raises(TypeError):
            me.ctx.spawn_link(ak.child(Puppet).with_(colour="red"))

    await do(parent, badopt)
    assert await seen(parent) == []

    class Undef(ak.Actor):
        def init(self):
            self.no_such_method()

    child = await do(parent, lambda me: me.ctx.spawn_link(Undef))
    ((source, reason),) = [(m.source, m.reason) for m in await seen(parent)]
    assert (source, reason.type) == (child, "AttributeError")

    class Slow(ak.Actor):
        async def init(self):
            await trio.sleep_forever()

    child = await do(parent, lambda me: me.ctx.spawn_link(Slow))
    await settle()
    assert child.alive
    parent.kill()
    await settle()
    assert not child.alive


# --- Monitors -------------------------------------------------------------------------------------


@conforms("MON-04")
async def test_demonitor_of_what_is_none(node, autojump_clock):
    """A word or a number is refused; for another actor's monitor the answer is False, and that
    monitor stays.
    """
    one, two, target = (node.spawn(Puppet) for _ in range(3))
    monitor = await do(one, lambda me: me.ctx.monitor(target))

    def refuse(me):
        for bad in ("xxx", 42, None, []):
            with pytest.raises(TypeError, match="demonitor"):
                me.ctx.demonitor(bad)

    await do(one, refuse)
    assert await do(two, lambda me: me.ctx.demonitor(monitor)) is False
    assert node.process_info(target).monitored_by == (one.pid,)


@conforms("MON-08")
async def test_options_of_demonitor(node, autojump_clock):
    """After a Down, flush removes only that monitor's message; without flush, a queued one stays.
    An unknown option is refused.
    """
    watcher, target = node.spawn(Puppet), node.spawn(Puppet)

    async def run(me):
        ids = [me.ctx.monitor(target) for _ in range(4)]
        assert me.ctx.demonitor(ids[0], flush=True)
        target.kill()
        await settle()
        me.ctx.demonitor(ids[1], flush=True)
        me.ctx.demonitor(ids[2])
        with pytest.raises(TypeError):
            me.ctx.demonitor(ids[3], flus=True)
        return ids

    ids = await watcher.call(Puppet.run, run)
    assert [down.monitor for down in await seen(watcher)] == ids[2:]


@conforms("MON-09")
async def test_demonitor_tells_the_truth(node, autojump_clock):
    """100 monitors are removed before or after the end, in any order: True means that no Down
    comes, False that one is there.
    """
    shuffled = random.Random(1)
    watcher = node.spawn(Puppet)
    for _ in range(10):
        targets = [node.spawn(Puppet) for _ in range(100)]

        async def run(me, targets=targets):
            ids = {target: me.ctx.monitor(target) for target in targets}
            ended = set(shuffled.sample(targets, 50))
            for target in ended:
                target.kill()
            await settle()
            told = {ids[target]: me.ctx.demonitor(ids[target]) for target in targets}
            assert [not told[ids[target]] for target in targets] == [target in ended for target in targets]
            return told

        told = await watcher.call(Puppet.run, run)
        downs = {down.monitor for down in await seen(watcher)}
        assert {id for id, armed in told.items() if not armed} == downs
        await do(watcher, lambda me: me.seen.clear())


@conforms("MON-13")
@differs("MON-13")
async def test_a_named_one_in_the_tables(node, autojump_clock):
    """The tables list a monitored actor by its pid, since its name is resolved when the monitor is
    made; Down shows the name.
    """
    watcher, target = node.spawn(Puppet), node.spawn(ak.child(Puppet).with_(name="svc"))
    ref = ak.named(Puppet, "svc")
    await do(watcher, lambda me: me.ctx.monitor(ref))
    assert node.process_info(watcher).monitors == (target.pid,)
    assert node.process_info(target).monitored_by == (watcher.pid,)
    target.stop()
    assert [down.ref for down in await seen(watcher)] == [ref]
    assert node.process_info(watcher).monitors == ()


@differs("MON-20")
async def test_a_monitor_is_told_by_its_identity(node, autojump_clock):
    """There are no tags: a monitor is identified by its MonitorId, which Down carries, even for the
    dead and from spawn_monitor.
    """
    watcher, dead = node.spawn(Puppet), node.spawn(Puppet)
    dead.kill()

    def watch(me):
        child, spawned = me.ctx.spawn_monitor(Puppet)
        tags = {me.ctx.monitor(dead): "dead", spawned: ("spawned", child), me.ctx.monitor(child): "again"}
        child.exit(OTHER)
        return tags, child

    tags, child = await do(watcher, watch)
    got = [(tags[down.monitor], down.reason) for down in await seen(watcher)]
    assert sorted(got, key=repr) == sorted(
        [("dead", ak.NOPROC), (("spawned", child), OTHER), ("again", OTHER)], key=repr
    )


# --- What aliases are for -------------------------------------------------------------------------


class Answering(ak.Actor):
    """Answers a call any number of times, later."""

    def __init__(self):
        self.later = ak.Later()

    @ak.call
    def ask(self):
        return self.later

    @ak.cast
    def answer(self, *values):
        for value in values:
            self.later.set(value)


@differs("ALI-02", "ALI-05")
@pytest.mark.parametrize("then", ["answer", "answer twice", "die", "answer and die"])
async def test_a_request_is_answered_or_fails_once(node, autojump_clock, then):
    """A call does what a request under a monitor with reply_demonitor does: the first answer
    arrives, a second one is dropped, and an answered request gets no Down; if the callee ends
    without an answer, the request fails. Nothing ever comes to the caller's mailbox. The caller's
    own monitor reports as always.
    """
    callee, caller = node.spawn(Answering), node.spawn(Puppet)
    got = []

    async def ask(me):
        me.ctx.monitor(callee)
        try:
            got.append(await callee.call(Answering.ask))
        except ak.CalleeDied as error:
            got.append(error.reason)

    caller.cast(Puppet.begin, ask)
    await settle()
    if "answer" in then:
        callee.cast(Answering.answer, *([1, 2] if "twice" in then else [1]))
        await settle()
    if "die" in then:
        callee.kill()
    messages = await seen(caller)
    assert got == [ak.KILLED if then == "die" else 1]
    assert [type(message) for message in messages] == ([ak.Down] if "die" in then else [])


@differs("ALI-02", "ALI-05")
async def test_an_answer_to_one_who_no_longer_waits(node, autojump_clock):
    """An answer after the deadline is dropped before it can reach anything, and nobody holds it."""

    class Value:
        pass

    callee, caller = node.spawn(Answering), node.spawn(Puppet)

    async def ask(me):
        with pytest.raises(ak.CallTimeout):
            await callee.within(1).call(Answering.ask)

    await caller.call(Puppet.run, ask)
    value = Value()
    alive = weakref.ref(value)
    callee.cast(Answering.answer, value)
    del value
    await settle()
    assert await seen(caller) == []
    callee.kill()
    await settle()
    gc.collect()
    assert alive() is None


@conforms("MON-14")
@pytest.mark.parametrize("ways", [(0, 0, 0, 0), (0, 1, 0, 1), (0, 0, 1, 1), (1, 1, 1, 0)])
async def test_many_monitors_both_ways_in_every_order(node, autojump_clock, ways):
    """Four monitors between two actors are removed in each of the 24 orders. After every step both
    lists show exactly the monitors that are left. Then either actor ends, and the other keeps no
    trace of it.
    """
    pair = [node.spawn(Puppet), node.spawn(Puppet)]

    def check(left):
        for end in (0, 1):
            info = node.process_info(pair[end])
            far = pair[1 - end].pid
            assert info.monitors == (far,) * sum(way == end for way in left)
            assert info.monitored_by == (far,) * sum(way != end for way in left)

    async def watch(way):
        return await do(pair[way], lambda me: me.ctx.monitor(pair[1 - way]))

    for order in itertools.permutations(range(4)):
        ids = [await watch(way) for way in ways]
        check(ways)
        for taken, index in enumerate(order):
            assert await do(pair[ways[index]], lambda me, id=ids[index]: me.ctx.demonitor(id))
            check([ways[i] for i in order[taken + 1 :]])
    for way in ways:
        await watch(way)
    pair[0].kill()
    info = node.process_info(pair[1])
    assert info.monitors == info.monitored_by == ()
    assert len(await seen(pair[1])) == sum(ways)


@conforms("MON-06", "MON-05")
async def test_monitors_of_oneself_and_taken_back(node, autojump_clock):
    """A monitor of oneself can be removed twice without a message. One removed before the end
    brings none; one that is kept brings normal, or noproc when it is made too late. Removing an
    unknown one is no error, however old it is.
    """
    watcher, first, second = (node.spawn(Puppet) for _ in range(3))

    def run(me):
        own = me.ctx.monitor(me.ctx.ref)
        for _ in range(2):
            me.ctx.demonitor(own)
        taken = me.ctx.monitor(first)
        assert me.ctx.demonitor(taken)
        first.stop()
        second.stop()
        return me.ctx.monitor(second), me.ctx.monitor(first), taken, own

    *ids, taken, own = await do(watcher, run)
    downs = await seen(watcher)
    assert sorted((down.monitor.number, down.reason in (ak.NORMAL, ak.NOPROC)) for down in downs) == [
        (id.number, True) for id in ids
    ]
    for old in (*ids, taken, own, ak.MonitorId(10**9)):
        assert await do(watcher, lambda me, old=old: me.ctx.demonitor(old)) is False
