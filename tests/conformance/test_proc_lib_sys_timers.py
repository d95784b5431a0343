"""proc_lib_SUITE, sys_SUITE, timer_bif_SUITE, after_SUITE, and process_SUITE's process_info and
priorities (PL, SYS, TMR, INFO, PRIO).
"""

from __future__ import annotations

import logging
import math
import random

import pytest
import trio

import actorkit as ak
from actorkit.runtime.life.pump import LOW_TURN
from actorkit.testing import Probe
from tests.conformance.marks import conforms, differs
from tests.messaging.kit import Gate, Puppet, Trapper, crash, gate, settle

OTHER = ak.Failure("other")


@pytest.fixture
async def node(autojump_clock):
    async with ak.open_node() as opened:
        yield opened


class Starts(ak.Actor):
    """An actor whose start does what it is told."""

    def __init__(self, plan, log):
        self.plan, self.log = plan, log

    async def init(self):
        self.log.append("begins")
        match self.plan:
            case float() | int():
                await trio.sleep(self.plan)
            case ak.ExitReason():
                self.ctx.exit_now(self.plan)
            case ak.Stop():
                return self.plan
        self.log.append("ready")
        return None


# --- proc_lib -------------------------------------------------------------------------------------


@conforms("PL-01")
async def test_starts_are_waited_for(node, autojump_clock):
    """node.start blocks until init has returned. A failed init is an error at once, even if the
    actor dies before init is done; one that takes too long is killed, and no stray message comes of
    it.
    """
    log = []
    began = trio.current_time()
    ref = await node.start(Starts, 2, log)
    assert log == ["begins", "ready"]
    assert trio.current_time() - began == pytest.approx(2)
    assert ref.alive
    for plan, reason in ((ak.Stop(OTHER), OTHER), (OTHER, OTHER), (ak.SHUTDOWN, ak.SHUTDOWN)):
        began = trio.current_time()
        with pytest.raises(ak.StartFailed) as failed:
            await node.start(Starts, plan, log)
        assert failed.value.reason == reason
        assert trio.current_time() == began

    async def kill_it(victim):
        with pytest.raises(ak.StartFailed) as failed:
            await node.start(ak.child(Starts, 100, log).with_(name="victim", init_timeout=math.inf))
        assert failed.value.reason == ak.KILLED

    async with trio.open_nursery() as nursery:
        nursery.start_soon(kill_it, None)
        await settle()
        node.whereis("victim").kill()

    starter = node.spawn(Trapper)

    async def start(me):
        with pytest.raises(ak.StartFailed) as failed:
            await me.ctx.node.start(ak.child(Starts, 100, log).with_(init_timeout=0.5))
        assert failed.value.reason == ak.InitTimeout(0.5)

    await starter.call(Puppet.run, start)
    await trio.sleep(200)
    assert await starter.call(Puppet.all_seen) == []
    assert log.count("ready") == 1


@conforms("PL-01")
async def test_stopping(node, autojump_clock):
    """The reason of a stop is forwarded, and a wait for the end may have a deadline; stopping the
    dead or nobody does no harm.
    """
    probe = Probe(node)
    for reason in (ak.NORMAL, ak.SHUTDOWN, OTHER):
        ref = node.spawn(Puppet)
        probe.monitor(ref)
        ref.stop(reason)
        assert (await probe.receive(ak.Down)).reason == reason

    class Hangs(Puppet):
        async def terminate(self, reason):
            await trio.sleep_forever()

    ref = node.spawn(Hangs)
    ref.stop()
    with trio.move_on_after(1) as scope:
        await node.stopped(ref)
    assert scope.cancelled_caught
    ref.kill()
    assert await node.stopped(ref) in (None, ak.KILLED)
    ak.named(Puppet, "nobody").stop()


@differs("PL-01")
async def test_crash_reports(node, autojump_clock, caplog):
    """A crash report has name, pid, parent, mailbox length, number of links, state, reason and
    stack, cut to a bounded length. It omits the messages and linked neighbours, which could be
    anything. Orderly ends have no report.
    """
    caplog.set_level(logging.INFO, "actorkit")
    for reason in (ak.NORMAL, ak.SHUTDOWN, ak.Shutdown("why")):
        node.spawn(Starts, reason, [])
    await settle()
    assert caplog.records == []
    neighbour = node.spawn(Puppet)
    ref, made = gate(node, name="gate", mailbox=100)
    await settle()

    class Named(Puppet):
        pass

    ref = node.spawn(ak.child(Named).with_(name="svc"))
    await ref.call(Puppet.do, lambda me: me.ctx.link(neighbour))
    ref.cast(Puppet.tell, crash)
    for _ in range(7):
        ref.send("secret " * 1_000_000)
    await settle()
    text = next(r.getMessage() for r in caplog.records if "Named" in r.getMessage())
    for part in (
        f"{ref.pid} (",
        "Named 'svc'",
        "ValueError: crash on demand",
        "mailbox: 7 messages",
        "links: 1",
        "in crash",
    ):
        assert part in text
    assert "secret" not in text
    assert len(text) < 12_000
    made.opened.set()


# --- sys ------------------------------------------------------------------------------------------


@conforms("SYS-01")
@differs("SYS-01")
async def test_sys(node, autojump_clock, caplog):
    """trace passes events in order to any function: a log is a function that appends, and one that
    raises is removed. Statistics count while they are on. Calls to an actor that is suspended, once
    or twice, time out; it serves again after resume. log, log_to_file and install do not exist;
    special processes have no state that can be read.
    """
    ref = node.spawn(Puppet)
    log = []
    await ak.sys.trace(ref, lambda traced: log.append(traced.message))
    await ak.sys.statistics(ref, True)
    for n in range(3):
        ref.cast(Puppet.note, n)
    ref.send("info")
    await ref.call(Puppet.all_seen)
    assert log == ["Puppet.note"] * 3 + ["send", "Puppet.all_seen"]
    assert (await ak.sys.get_statistics(ref)).messages_in == 5
    await ak.sys.statistics(ref, False)
    assert await ak.sys.get_statistics(ref) is None

    await ak.sys.suspend(ref)
    await ak.sys.suspend(ref)
    with pytest.raises(ak.CallTimeout):
        await ref.within(1).call(Puppet.all_seen)
    assert (await ak.sys.get_status(ref)).info.status == "suspended"
    await ak.sys.resume(ref)
    assert await ref.within(1).call(Puppet.all_seen) == [0, 1, 2, "info"]

    def bad(traced):
        raise ZeroDivisionError

    await ak.sys.trace(ref, bad)
    for _ in range(3):
        ref.cast(Puppet.note, 9)
    await settle()
    assert caplog.text.count("its tracing ends") == 1
    assert ref.alive
    for missing in ("log", "log_to_file", "install", "remove", "terminate"):
        assert not hasattr(ak.sys, missing)

    async def special(ctx):
        await ctx.receive()

    with pytest.raises(ak.NotAMessage):
        await ak.sys.get_state(node.spawn(special))


# --- Timers and receive timeouts ------------------------------------------------------------------


@conforms("TMR-01")
@differs("TMR-01")
async def test_timers(node, autojump_clock):
    """Timers never fire before their time, and fire in the order of their times, then of their
    creation. cancel returns the remaining seconds, then None. A name is resolved when the timer
    fires; a message to nobody is a dead letter, which OTP does not count. A timer ends with its
    receiver. `pending` and the seconds that cancel returns replace read_timer.
    """
    probe = Probe(node)
    began = trio.current_time()
    shuffled = random.Random(5)
    times = [shuffled.choice([0, 0.5, 1, 1, 2, 3]) for _ in range(100)]
    arrived = []

    class Clock(ak.Actor):
        def handle_info(self, message):
            arrived.append((message, trio.current_time() - began))

    clock = node.spawn(Clock)
    for n, seconds in enumerate(times):
        node.send_after(seconds, clock, (seconds, n))
    await trio.sleep(4)
    assert [message for message, _ in arrived] == sorted((seconds, n) for n, seconds in enumerate(times))
    assert all(at >= seconds for (seconds, _), at in arrived)

    timer = node.send_after(10, probe.ref, "never")
    assert timer.pending
    await trio.sleep(3)
    assert timer.cancel() == pytest.approx(7)
    assert timer.cancel() is None
    assert not timer.pending
    for bad in (-1, math.inf, math.nan, "1", None):
        with pytest.raises(ValueError, match="cannot send after"):
            node.send_after(bad, probe.ref, "x")
    for bad in ("nobody", None, 7):
        with pytest.raises(TypeError, match="give a ref"):
            node.send_after(1, bad, "x")

    dead = node.spawn(Puppet)
    node.send_after(1, dead, "x")
    dead.kill()
    assert node.statistics().timers == 0
    before = node.statistics().dead_letters
    node.send_after(1, ak.named(Puppet, "late"), "to a name")
    node.send_after(1, ak.named(Puppet, "nobody"), "to nobody")
    late = node.spawn(ak.child(Puppet).with_(name="late"))
    await trio.sleep(2)
    assert await late.call(Puppet.all_seen) == ["to a name"]
    assert node.statistics().dead_letters == before + 1
    assert probe.received == []


@conforms("TMR-01")
async def test_receive_timeouts(node, autojump_clock):
    """A receive timeout of 0 receives what is there and waits for nothing; an infinite one waits;
    and one that passes loses no message.
    """
    probe = Probe(node)

    async def process(ctx):
        with trio.move_on_after(0) as scope:
            probe.ref.send(("first", await ctx.receive()))
        probe.ref.send(("empty", scope.cancelled_caught))
        with trio.move_on_after(1):
            await ctx.receive(int)
        with trio.move_on_after(math.inf):
            probe.ref.send(("kept", await ctx.receive()))
        for bad in (-1, math.nan):
            with pytest.raises(ValueError, match="seconds"):
                with trio.move_on_after(bad):
                    await ctx.receive()
        probe.ref.send("refused")

    ref = node.spawn(process)
    assert await probe.receive() == ("empty", True)
    ref.send("message")
    assert await probe.receive(within=5) == ("kept", "message")
    assert await probe.receive() == "refused"


@conforms("TMR-01")
async def test_selective_receive_with_errors_and_recursion(node, autojump_clock):
    """With predicates that raise, receives within receives and many messages that do not match, no
    message is lost or comes twice, and the order is kept.
    """
    probe = Probe(node)

    async def process(ctx):
        async def nested(depth):
            if depth:
                await nested(depth - 1)
                probe.ref.send(await ctx.receive(lambda message: message == ("wanted", depth)))

        def faulty(message):
            raise ValueError

        await ctx.receive(str)
        try:
            await ctx.receive(faulty)
        except ValueError:
            probe.ref.send("raised")
        await nested(3)
        for _ in range(1000):
            probe.ref.send(await ctx.receive())

    ref = node.spawn(ak.child(process).with_(mailbox=math.inf))
    for n in range(1000):
        ref.send(n)
    for n in (3, 1, 2):
        ref.send(("wanted", n))
    ref.send("go")
    await settle()
    assert probe.received == ["raised", ("wanted", 1), ("wanted", 2), ("wanted", 3), *range(1000)]


# --- process_info ---------------------------------------------------------------------------------


@conforms("INFO-01")
@differs("INFO-01", "INFO-02", "INFO-07")
async def test_one_snapshot(node, autojump_clock):
    """process_info gives all items at once, frozen, in place of a list of items. Of the mailbox it
    gives the length and the bytes, 0 when it is drained, but not the messages. The label is the
    class or function; parent and length are as in OTP; there is no process dictionary.
    """
    ref, made = gate(node, mailbox=100)
    await settle()
    for n in range(5):
        ref.send(bytes(10_000))
        assert node.process_info(ref).mailbox == n + 1  # what the asker has sent before is included
    info = node.process_info(ref, walk=True)
    assert info.memory.mailbox >= 50_000
    assert not hasattr(info, "messages")
    assert not hasattr(info, "dictionary")
    with pytest.raises(AttributeError):
        info.mailbox = 0
    assert (info.kind, info.parent, info.status) == ("Gate", None, "running")
    made.opened.set()
    await settle()
    assert node.process_info(ref).mailbox == 0
    assert node.process_info(ref, walk=True).memory.mailbox == 0
    assert await ref.call(Gate.count) == 5
    child = await (parent := node.spawn(Puppet)).call(Puppet.do, lambda me: me.ctx.spawn(Puppet))
    assert node.process_info(child).parent == parent.pid


@conforms("INFO-04")
async def test_every_living_actor_can_be_looked_at(autojump_clock):
    """process_info shows every item of supervisors, tasks, processes, and suspended and busy
    actors, while actors come and go.
    """
    tree = ak.supervisor(
        ak.registry(name="r"), ak.dynamic_supervisor().with_(name="d"), ak.task_supervisor(name="t"), ak.child(Puppet)
    )
    async with ak.open_node(tree) as node:
        await ak.named(ak.TaskSupervisor, "t").call(ak.TaskSupervisor.run, trio.sleep_forever)
        gate(node)
        await ak.sys.suspend(node.spawn(Puppet))
        await settle()
        infos = [node.process_info(ref) for ref in node.processes()]
        assert len(infos) == node.statistics().actors == 8
        for info in infos:
            assert repr(info)
            assert info.status in ("waiting", "runnable", "running", "suspended")


@conforms("INFO-05")
async def test_serving_the_request_does_not_show(node, autojump_clock):
    """An idle actor is shown as waiting, although it serves the request that asks."""
    ref = node.spawn(Puppet)
    await settle()
    assert (await ak.sys.get_status(ref)).info.status == "waiting"
    assert node.process_info(ref).status == "waiting"


@conforms("INFO-09")
async def test_the_dead_and_the_nameless(node, autojump_clock):
    """process_info of a killed actor is None; the name is None if an actor has none, and gone after
    unregister.
    """
    ref = node.spawn(Puppet)
    assert node.process_info(ref).name is None
    await ref.call(Puppet.do, lambda me: me.ctx.register("svc"))
    assert node.process_info(ref).name == "svc"
    assert node.process_info(ak.named(Puppet, "svc")).pid == ref.pid
    await ref.call(Puppet.do, lambda me: me.ctx.unregister())
    assert node.process_info(ref).name is None
    ref.kill()
    assert node.process_info(ref) is None
    assert node.process_info(ak.named(Puppet, "svc")) is None


# --- Priorities -----------------------------------------------------------------------------------


class Spins(ak.Actor):
    """Casts to itself for ever, unless ``until`` says when to end."""

    def __init__(self, turns, until=lambda: False):
        self.turns = turns
        self.until = until
        self.on = True

    @ak.cast
    def spin(self):
        self.turns[self.ctx.pid.number] = self.turns.get(self.ctx.pid.number, 0) + 1
        if self.on and not self.until():
            self.ctx.ref.cast(Spins.spin)

    @ak.call
    def stop(self):
        self.on = False


@conforms("PRIO-01")
@pytest.mark.parametrize("slice_seconds", [1e-9, 1000])
async def test_low_gets_about_an_eighth(slice_seconds):
    """An actor of low priority gets one turn for every eight of one of normal priority, while both
    always have work. That holds if the machine is so slow that a turn is one message, and if it is
    so fast that a turn is a whole quantum.
    """
    rounds, quantum = 50, 16
    each = 1 if slice_seconds < 1 else quantum
    turns = {}
    enough = (LOW_TURN + 1) * rounds * each
    async with ak.open_node(slice_seconds=slice_seconds, quantum=quantum) as node:
        low, normal = (
            node.spawn(ak.child(Spins, turns, lambda: sum(turns.values()) >= enough).with_(scheduling=word))
            for word in ("low", "normal")
        )
        for ref in (low, normal):
            ref.cast(Spins.spin)
        await settle()
        lows, normals = (turns[ref.pid.number] for ref in (low, normal))
        assert rounds * each <= lows + 1
        assert abs(normals - LOW_TURN * lows) <= 8, "but for the last turn"
        for ref in (low, normal):
            ref.kill()


@conforms("PRIO-02")
async def test_no_priority_inversion():
    """An actor of low priority serves a request while actors of high priority spin, although it
    does not get to its other work.
    """
    turns = {}
    async with ak.open_node() as node:
        low = node.spawn(ak.child(Spins, turns).with_(scheduling="low"))
        high = [node.spawn(ak.child(Spins, turns).with_(scheduling="high")) for _ in range(3)]
        for ref in (*high, low):
            ref.cast(Spins.spin)
        while len(turns) < 3:
            await trio.lowlevel.checkpoint()
        before = min(turns[ref.pid.number] for ref in high)
        for _ in range(20):
            assert (await ak.sys.get_state(low))["on"]
        await ak.sys.replace_state(low, lambda state: {**state, "on": False})
        assert min(turns[ref.pid.number] for ref in high) > before
        for ref in high:
            ref.kill()
