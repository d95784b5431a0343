"""sys: looking into actors, suspending them, and following what they handle."""

from __future__ import annotations

import logging
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

import actorkit as ak
from actorkit.testing import Probe
from tests.conformance.marks import conforms

from .kit import Gate, Puppet, gate, settle


@attrs.define
class Slotted(ak.Actor):
    a: int
    b: str = "b"

    @ak.call
    def get(self) -> tuple[int, str]:
        return self.a, self.b


class Secretive(Puppet):
    def format_status(self) -> object:
        return {"hidden": len(self.seen)}


class Rude(Puppet):
    def format_status(self) -> object:
        raise ValueError("no")


class Fragile(Gate):
    def __init__(self) -> None:
        super().__init__()
        self.broken = trio.Event()

    @ak.call
    async def hold(self) -> str:
        await self.broken.wait()
        raise ValueError("broken")


# --- state ---------------------------------------------------------------------------------------


@conforms("SRV-18")
async def test_get_state(node: ak.Node, clock: MockClock) -> None:
    """SRV-18: get_state gives the attributes by name, slots included, by ref and by name, not
    through format_status, as a shallow copy.
    """
    assert await ak.sys.get_state(node.spawn(Slotted, 1)) == {"a": 1, "b": "b"}
    node.spawn(ak.child(Secretive).with_(name="svc"))
    state = await ak.sys.get_state(ak.named(Secretive, "svc"))
    assert state == {"seen": []}
    state["more"] = 1
    assert await ak.sys.get_state(ak.named(Secretive, "svc")) == {"seen": []}


@conforms("SRV-18")
async def test_replace_state(node: ak.Node, clock: MockClock) -> None:
    """SRV-18: the function gets the attributes and returns the new ones; an attribute that it
    leaves out is deleted.
    """
    slotted, puppet = node.spawn(Slotted, 1), node.spawn(Puppet)
    assert await ak.sys.replace_state(slotted, lambda state: {**state, "a": 2}) == {"a": 2, "b": "b"}
    assert await slotted.call(Slotted.get) == (2, "b")
    await ak.sys.replace_state(puppet, lambda state: {"other": 1})
    assert await ak.sys.get_state(puppet) == {"other": 1}


@conforms("SRV-18")
@pytest.mark.parametrize("suspended", [False, True])
async def test_replace_state_that_fails(node: ak.Node, clock: MockClock, suspended: bool) -> None:
    """SRV-18: a function that raises, or a state that cannot be set, leaves the state as it was:
    CallbackFailed, also while suspended.
    """
    slotted = node.spawn(Slotted, 1)
    if suspended:
        await ak.sys.suspend(slotted)

    def spoil(state: dict[str, Any]) -> dict[str, Any]:
        state.clear()
        raise ValueError("spoilt")

    for bad in (spoil, lambda state: {**state, "a": 9, "unknown": 3}, lambda state: None):
        with pytest.raises(ak.CallbackFailed, match="keeps its old state"):
            await ak.sys.replace_state(slotted, bad)  # type: ignore[arg-type]
        assert await ak.sys.get_state(slotted) == {"a": 1, "b": "b"}


@conforms("SRV-17")
async def test_get_status(node: ak.Node, clock: MockClock) -> None:
    """SRV-17: get_status gives process_info and the state as format_status shows it, bounded; a
    crash in format_status loses nothing.
    """
    secretive = node.spawn(Secretive)
    status = await ak.sys.get_status(secretive)
    assert status.info.pid == secretive.pid
    assert status.state == "{'hidden': 0}"
    rude = node.spawn(Rude)
    assert "raised ValueError" in (await ak.sys.get_status(rude)).state
    assert rude.alive
    big = node.spawn(Slotted, 1, "x" * 1_000_000)
    assert len((await ak.sys.get_status(big)).state) < 3_000


# --- when they are served ------------------------------------------------------------------------


@conforms("INFO-05")
async def test_requests_overtake_the_mailbox(node: ak.Node, clock: MockClock) -> None:
    """INFO-05: an idle or queued actor serves a request at once; an actor in its handler serves it
    after that message, before those that wait.
    """
    puppet = node.spawn(Puppet)
    for n in range(5):
        puppet.cast(Puppet.note, n)
    assert await ak.sys.get_state(puppet) in ({"seen": []}, {"seen": [0, 1, 2, 3, 4]})
    ref, made = gate(node)
    await settle()
    for n in range(5):
        ref.cast(Gate.note, n)
    got: list[Any] = []

    async def ask() -> None:
        await ak.sys.replace_state(ref, lambda state: {**state, "seen": ["replaced"]})
        got.append("served")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await settle()
        assert got == []
        made.opened.set()
    await settle()
    assert got == ["served"]
    assert made.seen == ["replaced", 0, 1, 2, 3, 4]


async def test_init_comes_first(node: ak.Node, clock: MockClock) -> None:
    """A request to an actor that has not run its init yet is served after it."""

    class Begins(ak.Actor):
        async def init(self) -> None:
            await trio.sleep(1)
            self.ready = True

    ref = node.spawn(Begins)
    assert await ak.sys.get_state(ref) == {"ready": True}


async def test_an_actor_that_stays_in_its_handler(node: ak.Node, clock: MockClock) -> None:
    """A request raises CallTimeout after the default 5 s, and is not carried out later."""
    ref, made = gate(node)
    await settle()
    started = trio.current_time()
    with pytest.raises(ak.CallTimeout):
        await ak.sys.suspend(ref)
    assert 5.0 <= trio.current_time() - started <= 5.3
    with trio.move_on_after(1) as scope:
        await ak.sys.suspend(ref)
    assert scope.cancelled_caught
    made.opened.set()
    await settle()
    assert await ref.call(Gate.count) == 0
    assert node.statistics().pending_calls == 0


async def test_the_dead_and_the_dying(node: ak.Node, clock: MockClock) -> None:
    """A request raises CalleeDied: with NoProc for a dead actor or a name that nobody has, with its
    reason if the actor ends first, killed or crashed.
    """
    dead = node.spawn(Puppet)
    dead.kill()
    for ref in (dead, ak.named(Puppet, "nobody")):
        with pytest.raises(ak.CalleeDied) as caught:
            await ak.sys.get_state(ref)
        assert caught.value.reason == ak.NOPROC
    reasons: list[ak.ExitReason] = []
    for end in (lambda ref, made: ref.kill(), lambda ref, made: made.broken.set()):
        ref, made = gate(node, cls=Fragile)
        await settle()

        async def ask(ref: Any = ref) -> None:
            with pytest.raises(ak.CalleeDied) as caught:
                await ak.sys.get_state(ref)
            reasons.append(caught.value.reason)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await settle()
            end(ref, made)
    assert reasons[0] == ak.KILLED
    assert isinstance(reasons[1], ak.Crash)


async def test_asking_oneself(node: ak.Node, clock: MockClock) -> None:
    """A request to oneself, or to an actor that waits for the asker, is refused at once instead of
    timing out.
    """
    one, two = node.spawn(Puppet), node.spawn(Puppet)

    async def of(me: Puppet, ref: ak.Ref[Any]) -> None:
        with pytest.raises(ak.CallCycle):
            await ak.sys.get_state(ref)

    async def through(me: Puppet) -> None:
        await two.call(Puppet.run, of, one)

    await one.call(Puppet.run, of, one)
    await one.call(Puppet.run, through)


async def test_processes_are_refused(node: ak.Node, clock: MockClock) -> None:
    """A process is refused: there is no point between its messages at which it could be
    looked at.
    """

    async def process(ctx: ak.ProcessContext) -> None:
        await ctx.receive()

    with pytest.raises(ak.NotAMessage, match="class actors"):
        await ak.sys.get_state(node.spawn(process))


# --- suspension ----------------------------------------------------------------------------------


@conforms("SYS-01")
@pytest.mark.parametrize("when", ["idle", "queued", "running"])
async def test_suspend_and_resume(node: ak.Node, clock: MockClock, when: str) -> None:
    """A suspended actor handles nothing but system requests; messages and calls wait and are served
    after resume; suspend and resume are idempotent.
    """
    ref, made = gate(node)
    await settle()
    if when != "running":
        made.opened.set()
        await settle()
    if when == "queued":
        ref.cast(Gate.note, "before")
        record: Any = ref
        ak.sys._suspend(record)
    got: list[int] = []

    async def ask() -> None:
        got.append(await ref.call(Gate.count))

    async with trio.open_nursery() as nursery:
        if when == "running":
            nursery.start_soon(ak.sys.suspend, ref)
            await settle()
            made.opened.set()
            await settle()
        await ak.sys.suspend(ref)
        await ak.sys.suspend(ref)
        assert node.process_info(ref).status == "suspended"  # type: ignore[union-attr]
        ref.cast(Gate.note, 1)
        ref.send(2)
        nursery.start_soon(ask)
        await trio.sleep(1)
        assert made.seen == []
        assert (await ak.sys.get_state(ref))["seen"] == []
        await ak.sys.resume(ref)
        await ak.sys.resume(ref)
    assert made.seen == (["before", 1, 2] if when == "queued" else [1, 2])
    assert got == [len(made.seen)]
    assert node.process_info(ref).status == "waiting"  # type: ignore[union-attr]


async def test_suspending_again_and_again(node: ak.Node, clock: MockClock) -> None:
    """An actor that is suspended and resumed while it is queued is queued once: it gets one turn,
    not several.
    """
    ref = node.spawn(Puppet)
    record: Any = ref
    ref.cast(Puppet.note, 1)
    for _ in range(10):
        ak.sys._suspend(record)
        ak.sys._resume(record)
    assert list(record.kind.runq).count(record) == 1
    await settle()
    assert await ref.call(Puppet.all_seen) == [1]


@conforms("SYS-01")
async def test_a_call_to_a_suspended_actor_times_out(node: ak.Node, clock: MockClock) -> None:
    """Calls wait within their deadline; suspension stops no clock."""
    puppet = node.spawn(Puppet)
    await ak.sys.suspend(puppet)
    with pytest.raises(ak.CallTimeout):
        await puppet.call(Puppet.all_seen)


@pytest.mark.parametrize("end", ["kill", "exit", "stop", "shutdown"])
async def test_ending_a_suspended_actor(node: ak.Node, clock: MockClock, end: str) -> None:
    """Kill, exit signals, stop and the parent's shutdown work on a suspended actor; stop runs
    terminate; the mailbox is not handled.
    """
    log: list[Any] = []

    class Ends(Puppet):
        trap_exit = end == "shutdown"

        async def terminate(self, reason: ak.ExitReason) -> None:
            await trio.lowlevel.checkpoint()
            log.append(reason)

        def handle_info(self, message: Any) -> None:
            log.append(message)

    probe, ref = Probe(node), node.spawn(Ends)
    probe.monitor(ref)
    await ak.sys.suspend(ref)
    ref.send("never handled")
    if end == "shutdown":
        record: Any = ref
        node.engine.shutdown_child(record, ak.SHUTDOWN)
    elif end == "exit":
        ref.exit(ak.Failure("x"))
    elif end == "stop":
        ref.stop(ak.SHUTDOWN)
    else:
        ref.kill()
    reason = (await probe.receive(ak.Down)).reason
    assert reason == {"kill": ak.KILLED, "exit": ak.Failure("x")}.get(end, ak.SHUTDOWN)
    assert log == ([] if end in ("kill", "exit") else [ak.SHUTDOWN])


async def test_suspending_one_that_is_about_to_end(node: ak.Node, clock: MockClock) -> None:
    """A suspend that comes after a stop does not keep the actor from ending."""
    log: list[str] = []

    class Ends(Puppet):
        def terminate(self, reason: ak.ExitReason) -> None:
            log.append("terminated")

    ref = node.spawn(Ends)
    ref.stop()
    with pytest.raises(ak.CalleeDied):
        await ak.sys.suspend(ref)
    assert log == ["terminated"]


async def test_a_suspended_child_is_shut_down_with_its_tree(clock: MockClock) -> None:
    """A node with suspended actors stops at once."""
    async with ak.open_node(ak.supervisor(ak.child(Puppet).with_(name="svc"))):
        await ak.sys.suspend(ak.named(Puppet, "svc"))
        started = trio.current_time()
    assert trio.current_time() - started < 1


async def test_waiting_senders_of_a_suspended_actor(node: ak.Node, clock: MockClock) -> None:
    """A sender that waits for room at a suspended actor is let in after resume."""
    ref = node.spawn(ak.child(Puppet).with_(mailbox=1))
    await ak.sys.suspend(ref)
    async with trio.open_nursery() as nursery:
        for n in range(5):
            nursery.start_soon(ref.send_wait, n)
        await settle()
        await ak.sys.resume(ref)
    await settle()
    assert sorted(await ref.call(Puppet.all_seen)) == [0, 1, 2, 3, 4]


# --- tracing and statistics ----------------------------------------------------------------------


@conforms("SYS-01")
async def test_trace(node: ak.Node, clock: MockClock) -> None:
    """The callback gets each message whose handling begins, in order, including those queued
    before; no_trace ends it.
    """
    ref, made = gate(node)
    await settle()
    ref.cast(Gate.note, "queued")
    got: list[ak.sys.Traced] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ak.sys.trace, ref, got.append)
        await settle()
        made.opened.set()
    await settle()
    ref.cast(Gate.note, value=1)
    ref.send("info")
    assert await ref.call(Gate.count) == 3
    assert [(t.message, t.args) for t in got] == [
        ("Gate.note", ("queued",)),
        ("Gate.note", ()),
        ("send", ("info",)),
        ("Gate.count", ()),
    ]
    assert {t.ref for t in got} == {ref}
    with pytest.raises(ak.NotAMessage):
        await ref.call(Gate.note, 1)
    await ak.sys.no_trace(ref)
    ref.cast(Gate.note, 2)
    assert await ref.call(Gate.count) == 4
    assert len(got) == 4


@conforms("SYS-01")
async def test_a_trace_callback_that_raises(node: ak.Node, clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    """A callback that raises is logged and ends the tracing; the actor does not notice."""
    puppet = node.spawn(Puppet)

    def faulty(_: ak.sys.Traced) -> None:
        raise ValueError("faulty")

    await ak.sys.trace(puppet, faulty)
    with caplog.at_level(logging.ERROR, "actorkit"):
        for n in range(3):
            puppet.cast(Puppet.note, n)
        await settle()
    assert caplog.text.count("its tracing ends") == 1
    assert await puppet.call(Puppet.all_seen) == [0, 1, 2]


@conforms("SYS-01")
async def test_statistics(node: ak.Node, clock: MockClock) -> None:
    """Counting begins when it is switched on, counts calls, casts and infos, works beside a trace,
    and gives None when it is off.
    """
    puppet = node.spawn(Puppet)
    assert await ak.sys.get_statistics(puppet) is None
    await ak.sys.statistics(puppet, False)
    await ak.sys.statistics(puppet, True)
    started = trio.current_time()
    got: list[Any] = []
    await ak.sys.trace(puppet, got.append)
    for n in range(5):
        puppet.cast(Puppet.note, n)
        puppet.send(n)
    await puppet.call(Puppet.all_seen)
    await puppet.call(Puppet.all_seen_later)
    await trio.sleep(3)
    await ak.sys.no_trace(puppet)
    found = await ak.sys.get_statistics(puppet)
    assert found is not None
    assert found.messages_in == len(got) == 12
    assert found.start_time == pytest.approx(started)
    assert found.current_time - found.start_time == pytest.approx(3)
    await ak.sys.statistics(puppet, True)
    again = await ak.sys.get_statistics(puppet)
    assert again is not None
    assert again.messages_in == 0
    await ak.sys.statistics(puppet, False)
    assert await ak.sys.get_statistics(puppet) is None


async def test_watching_costs_nothing_when_off(node: ak.Node, clock: MockClock) -> None:
    """When tracing and counting are off, an actor has its old kind again, shared with the others of
    its class, and calls run inline.
    """
    one, two = node.spawn(Puppet), node.spawn(Puppet)
    record: Any = one
    other: Any = two
    await ak.sys.statistics(one, True)
    assert record.kind is not other.kind
    await ak.sys.statistics(one, False)
    assert record.kind is other.kind
    before = node.statistics().messages
    await one.call(Puppet.all_seen)
    assert node.statistics().messages == before


async def test_a_traced_actor_crashes_and_dies_as_any(node: ak.Node, clock: MockClock) -> None:
    """Crash reports, deaths and dead letters of a traced actor are the same as ever."""
    puppet, probe = node.spawn(Puppet), Probe(node)
    await ak.sys.trace(puppet, lambda traced: None)
    probe.monitor(puppet)

    def faulty(me: Puppet) -> None:
        raise KeyError("traced")

    with pytest.raises(ak.CalleeDied):
        await puppet.call(Puppet.do, faulty)
    reason = (await probe.receive(ak.Down)).reason
    assert isinstance(reason, ak.Crash)
    assert reason.type == "KeyError"
    assert puppet.cast(Puppet.note, 1) is False
