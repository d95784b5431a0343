"""max_heap_size in process_SUITE and gc_SUITE, memsup_SUITE, logger's overload protection (HEAP,
MEM, LOG). There is more about budgets in tests/budgets, and about the governor in tests/governor.
"""

from __future__ import annotations

import logging
import math

import pytest
import trio
import trio.lowlevel
import trio.testing

import actorkit as ak
from actorkit.testing import Probe, ScriptedMemory
from tests.budgets.conftest import KIB, MIB, needs_the_extension
from tests.budgets.hogs import Hog
from tests.conformance.marks import conforms, differs
from tests.messaging.kit import Gate, gate, settle

L = ak.MemoryLevel


class Grows(ak.Actor):
    """Holds what it is told to."""

    def __init__(self):
        self.held = []

    @ak.call
    def hold(self, size):
        self.held.append(bytes(size))

    @ak.call
    def forget(self):
        self.held.clear()

    @ak.call
    def limit(self, value):
        self.ctx.max_heap_size = value

    @ak.call
    def own_limit(self):
        return self.ctx.max_heap_size

    @ak.cast
    def die(self):
        self.ctx.exit_now(ak.Failure("die"))


# --- max_heap_size --------------------------------------------------------------------------------

NODE_DEFAULTS = [None, ak.HeapLimit("1 GiB", kill=False), ak.HeapLimit("1 GiB", log=False), ak.HeapLimit("1 GiB")]
OWN = [
    ak.HeapLimit("64 KiB"),
    ak.HeapLimit("64 KiB", kill=False),
    ak.HeapLimit("64 KiB", kill=True),
    ak.HeapLimit("64 KiB", log=False),
    ak.HeapLimit("64 KiB", kill=False, log=False),
]


@conforms("HEAP-01")
@differs("HEAP-01")
@pytest.mark.parametrize("default", NODE_DEFAULTS)
@pytest.mark.parametrize("own", OWN)
async def test_the_matrix_of_knobs(default, own, caplog):
    """Fields that an actor's limit leaves open come from the node, else from the system: kill and
    log. A killed actor ends with MemoryLimit, where OTP says killed; one that is only watched
    lives, and a later exit has its own reason. One line is logged if log is on, and nothing else
    comes.
    """
    kill = own.kill if own.kill is not None else default.kill if default and default.kill is not None else True
    log = own.log if own.log is not None else default.log if default and default.log is not None else True
    caplog.set_level(logging.WARNING, "actorkit")
    async with ak.open_node(max_heap_size=default) as node, node.subscribe(ak.HeapLimitPassed) as passed:
        ref, probe = node.spawn(ak.child(Grows).with_(max_heap_size=own)), Probe(node)
        assert node.process_info(ref).max_heap_size == 64 * KIB
        probe.monitor(ref)
        try:
            await ref.call(Grows.hold, 80 * KIB)
        except ak.CalleeDied:
            pass
        await node.engine.budgets.look_at_all()
        if kill:
            reason = (await probe.receive(ak.Down, within=5)).reason
            assert isinstance(reason, ak.MemoryLimit)
            assert reason.limit == 64 * KIB
        else:
            assert ref.alive
            ref.cast(Grows.die)
            assert (await probe.receive(ak.Down, within=5)).reason == ak.Failure("die")
        logged = [record for record in caplog.records if "passed its max_heap_size" in record.getMessage()]
        assert len(logged) == log
        assert [event.kill for event in passed.drain()] == [kill]
        assert [type(message) for message in probe.received] == [ak.Down]


@conforms("HEAP-01")
async def test_a_nodes_size_is_inherited():
    """An actor without a limit of its own inherits the node's; without that, nobody has a limit."""
    async with ak.open_node(max_heap_size="1 MiB") as node:
        assert node.process_info(node.spawn(Grows)).max_heap_size == MIB
        assert node.process_info(node.spawn(ak.child(Grows).with_(max_heap_size=0))).max_heap_size is None
    async with ak.open_node() as node:
        assert node.process_info(node.spawn(Grows)).max_heap_size is None


@conforms("HEAP-02")
@differs("HEAP-02")
@pytest.mark.parametrize("include", [False, True])
async def test_shared_data(include, caplog):
    """What others hold too counts only with include_shared, and then in full for each actor."""
    caplog.set_level(logging.CRITICAL, "actorkit")
    shared = bytes(MIB)
    async with ak.open_node() as node:
        limit = ak.HeapLimit("256 KiB", include_shared=include)
        refs = [node.spawn(ak.child(Grows).with_(max_heap_size=limit)) for _ in range(2)]
        for ref in refs:
            ref.obj.held.append(shared)
        await node.engine.budgets.look_at_all()
        assert [ref.alive for ref in refs] == [not include] * 2
    assert len(shared) == MIB


@conforms("HEAP-03")
@pytest.mark.parametrize(
    "bad",
    [
        lambda: ak.HeapLimit("some"),
        lambda: ak.HeapLimit(-1),
        lambda: ak.HeapLimit(1.5),
        lambda: ak.HeapLimit(None),
        lambda: ak.HeapLimit(),
        lambda: ak.HeapLimit("1 MiB", hard=1),
        lambda: ak.HeapLimit("1 MiB", kill="yes"),
        lambda: ak.HeapLimit("1 MiB", log=1),
        lambda: ak.HeapLimit(2**64),
    ],
)
def test_bad_limits(bad):
    """No size, a negative, fractional or too large one, and flags that are not bools are refused
    when the limit is made.
    """
    with pytest.raises((ValueError, TypeError)):
        bad()


@conforms("HEAP-03")
async def test_bad_limits_of_ones_own(caplog):
    """An actor that assigns a bad limit gets the error, and its limit stays."""
    async with ak.open_node() as node:
        for bad in ("some", -1, {"size": 7}, True):
            ref = node.spawn(Grows)
            with pytest.raises(ak.CalleeDied) as died:
                await ref.call(Grows.limit, bad)
            assert died.value.reason.type in ("ValueError", "TypeError")
            with pytest.raises(ak.InvalidChildSpec):
                ak.child(Grows).with_(max_heap_size=bad)


@conforms("HEAP-04")
async def test_defaults_read_back():
    """By default there is no limit; with a size only, kill and log are on, and shared data does not
    count.
    """
    async with ak.open_node() as node:
        ref = node.spawn(Grows)
        assert await ref.call(Grows.own_limit) is None
        await ref.call(Grows.limit, "1 MiB")
        limit = await ref.call(Grows.own_limit)
        assert (limit.size, limit.kill, limit.log, limit.include_shared) == (MIB, True, True, False)


@conforms("HEAP-05")
async def test_the_largest_limit():
    """A node takes the largest number that is a size, and refuses the next one."""
    async with ak.open_node(max_heap_size=2**62 - 1) as node:
        assert node.process_info(node.spawn(Grows)).max_heap_size == 2**62 - 1
    with pytest.raises(ValueError, match="EiB"):
        async with ak.open_node(max_heap_size=2**62):
            pass


@conforms("HEAP-06")
@differs("HEAP-06")
@needs_the_extension
@pytest.mark.parametrize("where", ["in_a_handler", "in_a_local", "in_a_comprehension", "in_a_task", "catching_all"])
async def test_code_after_the_allocation_does_not_run(where, caplog):
    """Wherever the actor allocates, even within `except`, it ends there with MemoryLimit; the code
    after that does not run.
    """
    caplog.set_level(logging.CRITICAL, "actorkit")
    reached = []

    class Dies(Hog):
        @ak.cast
        async def work(self):
            result = getattr(Hog, where)(self)
            if result is not None:
                await result
            await trio.lowlevel.checkpoint()
            reached.append(where)

    async with ak.open_node() as node:
        probe = Probe(node)
        ref = node.spawn(ak.child(Dies).with_(max_heap_size=MIB))
        probe.monitor(ref)
        ref.cast(Dies.work)
        assert isinstance((await probe.receive(ak.Down, within=20)).reason, ak.MemoryLimit)
    assert reached == []


@differs("HEAP-07")
async def test_messages_count_when_they_arrive(caplog):
    """Messages that do not fit are refused by the overflow policy, so the mailbox never takes its
    actor over the limit, and nobody has to collect its garbage from outside.
    """
    caplog.set_level(logging.CRITICAL, "actorkit")
    async with ak.open_node() as node:
        ref, made = gate(node, max_heap_size=MIB, mailbox=math.inf)
        await settle()
        accepted = sum(ref.send(bytes(50 * KIB)) for _ in range(200))
        assert 15 <= accepted <= 20
        assert node.process_info(ref, walk=True).memory.charged <= MIB
        await node.engine.budgets.look_at_all()
        assert ref.alive
        made.opened.set()


# --- memsup ---------------------------------------------------------------------------------------


def governed(memory, tree=None, **options):
    return ak.open_node(tree, memory_source=memory, **options)


async def until(condition):
    with trio.fail_after(60):
        while not condition():
            await trio.sleep(0.25)


@differs("MEM-01", "MEM-05")
def test_settings_of_the_memory_watch():
    """The settings are given once, when the node is opened, and frozen. Impossible marks and times
    are refused, where memsup's configuration silently falls back to its defaults.
    """
    settings = ak.GovernorSettings()
    assert [settings.ladder.rung(level).enter for level in list(L)[1:]] == [0.7, 0.8, 0.9, 0.96]
    assert all(rung.leave < rung.enter for rung in map(settings.ladder.rung, list(L)[1:]))
    assert settings.alert_look == 0.25
    with pytest.raises(AttributeError):
        settings.alert_look = 1.0
    for bad in (
        lambda: ak.LadderSettings(conserve=(-0.2, -0.3)),
        lambda: ak.LadderSettings(kill=(1.1, 0.9)),
        lambda: ak.LadderSettings(shed=(0.8, 0.8)),
        lambda: ak.LadderSettings(dwell=-1),
        lambda: ak.GovernorSettings(alert_look=0),
        lambda: ak.GovernorSettings(tell_again=math.inf),
    ):
        with pytest.raises(ValueError, match=r"give|flap"):
            bad()


@conforms("MEM-02")
@differs("MEM-02", "MEM-03")
async def test_the_alarm(autojump_clock, caplog):
    """The alarm is set when usage is over the mark and cleared when usage is well below, with
    hysteresis between; each change is reported once. There is no alarm for one actor: its own limit
    reports that. The worst actor is known only once a census was needed.
    """
    caplog.set_level(logging.CRITICAL, "actorkit")
    memory = ScriptedMemory(limit=1000 * MIB, used=100 * MIB, live=100 * MIB)
    settings = ak.GovernorSettings(ladder=ak.LadderSettings(conserve=(0.5, 0.4)))
    async with governed(memory, governor=settings) as node, node.subscribe(ak.MemoryAlarm) as alarms:
        await trio.sleep(10)
        assert alarms.drain() == []
        assert node.memory.data().worst is None
        assert (node.memory.data().total, node.memory.data().allocated) == (1000 * MIB, 100 * MIB)
        for _ in range(2):
            for used, told, standing in (
                (550, [True], True),
                (520, [], True),
                (450, [], True),
                (510, [], True),
                (380, [False], False),
                (450, [], False),
            ):
                memory.used = memory.live = used * MIB
                memory.wake()
                await trio.sleep(10)
                heard = alarms.drain()
                assert [alarm.standing for alarm in heard] == told
                assert all("bytes" in alarm.because for alarm in heard)
                assert node.memory.alarm == standing


@conforms("MEM-04")
@differs("MEM-04")
async def test_the_worst_actor(autojump_clock, caplog):
    """After a census the worst actor is the one that grew, with its bytes; once it has ended it is
    no longer reported.
    """
    caplog.set_level(logging.CRITICAL, "actorkit")
    memory = ScriptedMemory(limit=1000 * MIB, used=100 * MIB, live=100 * MIB)
    async with governed(memory, governor=ak.GovernorSettings(dry_run=True)) as node:
        refs = [node.spawn(Grows) for _ in range(3)]
        await refs[1].call(Grows.hold, 5 * MIB)
        memory.used = memory.live = 930 * MIB
        memory.wake()
        await until(lambda: node.memory.data().worst is not None)
        worst, size = node.memory.data().worst
        assert worst is refs[1]
        assert size >= 5 * MIB
        refs[1].kill()
        assert node.memory.data().worst is None


@conforms("MEM-06", "MEM-07")
@differs("MEM-06", "MEM-07")
async def test_a_source_that_cannot_tell(autojump_clock, caplog):
    """When the source fails the last good figures stay, the failure is logged, and the node and its
    watch go on. Without a limit there is no watch, and no figures are made up.
    """
    memory = ScriptedMemory(limit=1000 * MIB, used=100 * MIB, live=100 * MIB)
    async with governed(memory) as node, node.subscribe(ak.MemoryAlarm) as alarms:
        await trio.sleep(1)

        def broken():
            raise OSError("no such file")

        memory.used = broken
        memory.wake()
        await trio.sleep(10)
        assert "no such file" in caplog.text
        assert node.memory.data().allocated == 100 * MIB
        memory.used = memory.live = 750 * MIB
        await until(lambda: node.memory.alarm)
        assert [alarm.standing for alarm in alarms.drain()] == [True]
    async with ak.open_node() as node:
        assert node.memory is None


@conforms("MEM-09")
@differs("MEM-09")
async def test_one_alarm_however_often_the_node_is_opened(autojump_clock, caplog):
    """While an alarm stands it is reported once to each open node; the watch ends with its last
    node, and the next watch begins without an alarm.
    """
    caplog.set_level(logging.CRITICAL, "actorkit")
    for _ in range(3):
        memory = ScriptedMemory(limit=1000 * MIB, used=100 * MIB, live=100 * MIB)
        async with governed(memory) as node, node.subscribe(ak.MemoryAlarm) as alarms:
            assert not node.memory.alarm
            memory.used = memory.live = 750 * MIB
            memory.wake()
            await trio.sleep(10)
            assert [alarm.standing for alarm in alarms.drain()] == [True]
        assert memory.closed


# --- Overload: what logger's handlers do, for any actor -------------------------------------------


async def flooded(node, number, **options):
    """A gate that is busy, to which an impatient process has sent ``number`` messages, and how many
    of them it accepted.
    """
    ref, made = gate(node, **options)
    await settle()
    return ref, made, sum(ref.cast(Gate.note, n) for n in range(number))


@conforms("LOG-01")
@differs("LOG-01")
async def test_senders_that_wait_lose_nothing(autojump_clock):
    """With overflow="wait" and with cast_wait, a full mailbox holds its senders back, and
    everything arrives in order.
    """
    async with ak.open_node() as node:
        ref, made = gate(node, mailbox=10, overflow="wait")
        await settle()

        async def send():
            for n in range(500):
                await ref.cast_wait(Gate.note, n)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await settle()
            assert node.process_info(ref).mailbox == 10
            made.opened.set()
        assert await ref.call(Gate.count) == 500
        assert made.seen == list(range(500))


@conforms("LOG-02")
@differs("LOG-02")
@pytest.mark.parametrize("overflow", ["reject", "drop_newest", "drop_oldest"])
async def test_a_flood_is_dropped_and_counted(autojump_clock, overflow):
    """Of 1,000 messages some are handled, but not all; each other one is counted."""
    async with ak.open_node() as node:
        ref, made, accepted = await flooded(node, 1000, mailbox=200, overflow=overflow)
        assert accepted == (200 if overflow == "reject" else 1000)
        assert node.statistics().dead_letters == 800
        made.opened.set()
        await settle()
        assert await ref.call(Gate.count) == 200
        assert made.seen == (list(range(800, 1000)) if overflow == "drop_oldest" else list(range(200)))


@differs("LOG-03")
async def test_what_is_declared_sheddable_can_be_flushed(autojump_clock):
    """Shedding depends on memory, not on the mailbox's length: sheddable messages go, the oldest
    first, and their callers are told; control messages and all others stay.
    """
    from actorkit.governor.shed import shed_mailboxes

    class Board(Gate):
        @ak.cast(sheddable=True)
        def tick(self, number):
            self.seen.append(number)

    async with ak.open_node() as node:
        ref, made = gate(node, Board)
        await settle()
        for n in range(100):
            ref.cast(Board.tick, n)
            ref.cast(Gate.note, -n)
        given_up = shed_mailboxes(node.engine.actors.values(), 10**9, "a test")
        assert given_up.messages == 100
        made.opened.set()
        await settle()
        assert made.seen == [-n for n in range(100)]


@differs("LOG-04")
@pytest.mark.parametrize(("rate", "expected"), [(None, 100), (10.0, 10)])
async def test_bursts_are_limited_where_work_comes_in(autojump_clock, rate, expected):
    """Admission limits bursts: without a rate everything is admitted; with one, exactly a burst,
    and as many again in each period.
    """
    from actorkit.policy.memory.admission import AdmissionSettings, KindLimits

    memory = ScriptedMemory(limit=1000 * MIB, used=MIB, live=MIB)
    kinds = AdmissionSettings(kinds={"job": KindLimits(rate=rate, burst=10 if rate else None)})
    async with governed(memory, admission=kinds) as node:
        for _ in range(3):
            admitted = 0
            for _ in range(100):
                if node.admission.admit("job"):
                    admitted += 1
                    node.admission.release("job")
            assert admitted == expected
            await trio.sleep(1)


@conforms("LOG-05")
async def test_a_flood_alone_kills_nobody(autojump_clock):
    """If there is no limit on what it may hold, a full mailbox does not end an actor."""
    async with ak.open_node() as node:
        ref, made, _ = await flooded(node, 50_000, mailbox=math.inf)
        assert node.process_info(ref).mailbox == 50_000
        made.opened.set()
        await settle()
        assert ref.alive
        assert await ref.call(Gate.count) == 50_000


@differs("LOG-06", "LOG-07")
@pytest.mark.parametrize("restart", ["permanent", "temporary"])
async def test_over_its_memory_it_ends_and_comes_back_later(autojump_clock, caplog, restart):
    """An actor over its budget ends with MemoryLimit, which gives usage and limit. Its supervisor
    starts a new one after the backoff of its spec, but never a temporary one. The length of a
    mailbox kills nobody.
    """
    caplog.set_level(logging.CRITICAL, "actorkit")
    spec = ak.child(Grows).with_(
        name="svc", max_heap_size="256 KiB", restart=restart, backoff=ak.Backoff(first=5, jitter=0)
    )
    async with ak.open_node(ak.supervisor(spec)) as node:
        ref, probe = node.whereis("svc"), Probe(node)
        probe.monitor(ref)
        with pytest.raises(ak.CalleeDied):
            for _ in range(6):
                await ref.call(Grows.hold, 60 * KIB)
            await node.engine.budgets.look_at_all()
            await ref.call(Grows.own_limit)
        reason = (await probe.receive(ak.Down)).reason
        assert isinstance(reason, ak.MemoryLimit)
        assert (reason.usage.charged > reason.limit, reason.limit) == (True, 256 * KIB)
        await trio.sleep(4.9)
        assert node.whereis("svc") is None
        await trio.sleep(0.2)
        assert (node.whereis("svc") is not None) == (restart == "permanent")
        assert node.whereis("svc") is not ref
        await trio.sleep(100)
        assert (node.whereis("svc") is not None) == (restart == "permanent")


@conforms("LOG-08")
async def test_control_calls_under_load(autojump_clock):
    """With thousands of messages queued before them, sys requests, a suspend and a stop are served
    at the next boundary.
    """
    async with ak.open_node() as node:
        ref, made, accepted = await flooded(node, 5000, mailbox=5000)
        assert accepted == 5000
        handled = []

        async def look():
            await ak.sys.replace_state(ref, lambda state: handled.append(len(state["seen"])) or state)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            await settle()
            nursery.start_soon(ak.sys.suspend, ref)
            await settle()
            made.opened.set()
        assert handled == [0]
        assert (await ak.sys.get_status(ref)).info.mailbox == 5000
        ref.stop()
        assert await node.stopped(ref) in (None, ak.NORMAL)
        assert node.statistics().dead_letters == 5000
