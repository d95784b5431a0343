"""gen_server_SUITE and gen_server_test (SRV-01 to SRV-22). There is more about calls in
tests/messaging/test_calls.py, about sys in test_sys.py, and about ends in
tests/runtime/test_lifecycle.py.
"""

from __future__ import annotations

import logging
import math

import pytest
import trio

import actorkit as ak
from actorkit.testing import Probe
from tests.conformance.marks import conforms, differs
from tests.counting import lines_run
from tests.messaging.kit import Puppet, Trapper, settle

OTHER = ak.Failure("other")


@pytest.fixture
async def node(autojump_clock):
    async with ak.open_node() as opened:
        yield opened


class Server(ak.Actor):
    """Does what gen_server_SUITE's server does, as told by the test that starts and calls it."""

    def __init__(self, plan=None):
        self.plan = plan
        self.log = []
        self.waiting = []

    async def init(self):
        if isinstance(self.plan, (int, float)):
            await trio.sleep(self.plan)
        return self.plan if self.plan is ak.IGNORE or isinstance(self.plan, ak.Stop) else None

    @ak.call
    def started_p(self):
        return "ok"

    @ak.call
    def all(self):
        return self.log

    @ak.call
    def delayed(self, seconds):
        self.waiting.append(ak.Later())
        self.ctx.send_after(seconds, self.ctx.ref, self.waiting[-1])
        return self.waiting[-1]

    @ak.call
    async def sleep(self, seconds):
        await trio.sleep(seconds)
        return "slept"

    @ak.call
    def fail(self):
        raise RuntimeError("crashed")

    @ak.call
    def exit(self, reason):
        self.ctx.exit_now(reason)

    @ak.call
    def stop(self, reason):
        self.ctx.stop(reason)
        return "stopping"

    @ak.cast
    def note(self, value):
        self.log.append(value)

    @ak.cast
    def stop_cast(self, reason=ak.NORMAL):
        self.ctx.stop(reason)

    @ak.call
    def idle(self, seconds):
        self.ctx.idle_timeout = seconds

    def handle_info(self, message):
        if isinstance(message, ak.Later):
            message.set("delayed")
        elif message == "stop":
            self.ctx.stop()
        else:
            self.log.append(message)

    def terminate(self, reason):
        self.log.append(reason)


# --- Start and stop -------------------------------------------------------------------------------


@conforms("SRV-01")
async def test_start(node, autojump_clock):
    """After the start a call is answered; after a stop nobody answers. A start that takes too long,
    ignores or stops says so. AlreadyRegistered names the holder of a name in use, which is free
    after the stop. No stray message comes.
    """
    ref = await node.start(Server)
    assert await ref.call(Server.started_p) == "ok"
    ref.stop()
    await node.stopped(ref)
    with pytest.raises(ak.CalleeDied) as died:
        await ref.call(Server.started_p)
    assert died.value.reason == ak.NOPROC

    with pytest.raises(ak.StartFailed) as failed:
        await node.start(ak.child(Server, 100).with_(init_timeout=0.1, name="slow"))
    assert failed.value.reason == ak.InitTimeout(0.1)
    assert node.whereis("slow") is None
    assert await node.start(Server, ak.IGNORE) is None
    with pytest.raises(ak.StartFailed) as failed:
        await node.start(Server, ak.Stop(ak.Failure("stopped")))
    assert failed.value.reason == ak.Failure("stopped")

    parent = node.spawn(Trapper)
    plan = ak.Stop(ak.Failure("stopped"))
    child = await parent.call(Puppet.do, lambda me: me.ctx.spawn_link(Server, plan))
    watched, monitor = await parent.call(Puppet.do, lambda me: me.ctx.spawn_monitor(Server, plan))
    await settle()
    assert await parent.call(Puppet.all_seen) == [
        ak.Exit(child, ak.Failure("stopped")),
        ak.Down(monitor, watched, ak.Failure("stopped")),
    ]

    first = await node.start(ak.child(Server).with_(name="svc"))
    with pytest.raises(ak.AlreadyRegistered, match=str(first.pid)):
        await node.start(ak.child(Server).with_(name="svc"))
    first.stop()
    await node.stopped(first)
    second = await node.start(ak.child(Server).with_(name="svc"))
    assert node.whereis("svc") is second
    assert len(await parent.call(Puppet.all_seen)) == 2


@conforms("SRV-02")
@differs("SRV-02")
async def test_stop(node, autojump_clock):
    """A server stops by ref and by name, with any reason; a wait that is too short leaves it alive.
    A second stop does nothing, where OTP exits with noproc, since the server has already stopped.
    """
    for where in (None, "svc"):
        for reason in (ak.NORMAL, ak.Shutdown("x"), OTHER):
            ref = node.spawn(ak.child(Server).with_(name=where))
            probe = Probe(node)
            probe.monitor(ref)
            to = ref if where is None else ak.named(Server, where)
            to.stop(reason)
            assert (await probe.receive(ak.Down)).reason == reason
            to.stop(reason)
            ref.stop(reason)
            assert await node.stopped(ref) is None

    class Slow(Server):
        async def terminate(self, reason):
            await trio.sleep(5)

    ref = node.spawn(Slow)
    ref.stop()
    with trio.move_on_after(1) as scope:
        await node.stopped(ref)
    assert scope.cancelled_caught
    assert ref.alive
    await node.stopped(ref)


@conforms("SRV-03")
@differs("SRV-03", "SRV-21", "PL-01")
async def test_crashes_and_their_reports(node, autojump_clock, caplog):
    """Orderly ends, raised or stopped, are not reported, and the caller gets their reason. A crash
    is reported once, with reason, stack, parent, mailbox and state, but without the last message
    and the client, which could hold anything.
    """
    caplog.set_level(logging.INFO, "actorkit")
    for reason in (ak.Shutdown("x"), ak.SHUTDOWN, ak.NORMAL):
        with pytest.raises(ak.CalleeDied) as died:
            await node.spawn(Server).call(Server.exit, reason)
        assert died.value.reason == reason
        assert await node.spawn(Server).call(Server.stop, reason) == "stopping"
        ref = node.spawn(Server)
        ref.exit(reason)
    await settle()
    assert caplog.records == []

    parent = node.spawn(Puppet)
    ref = await parent.call(Puppet.do, lambda me: me.ctx.spawn(Server, "plan of the state"))
    with pytest.raises(ak.CalleeDied) as died:
        await ref.call(Server.fail)
    await trio.sleep(0.5)
    (record,) = caplog.records
    text = record.getMessage()
    for part in (
        f"{ref.pid} (Server)",
        "RuntimeError: crashed",
        f"parent: {parent.pid}",
        "mailbox: 0 messages",
        "links: 0",
        "plan of the state",
        "in fail",
    ):
        assert part in text
    assert died.value.reason == ak.Crash("RuntimeError", "crashed")
    caplog.clear()
    with pytest.raises(ak.CalleeDied):
        await node.spawn(Server, "x" * 10_000_000).call(Server.exit, ak.Failure("y" * 10_000_000))
    await settle()
    assert len(caplog.records[0].getMessage()) < 12_000


# --- Calls and casts ------------------------------------------------------------------------------


@conforms("SRV-04")
@differs("SRV-04", "SRV-12")
async def test_call(node, autojump_clock):
    """A reply may come later. A state timeout is served after a call that came before it, and
    before one that came after it. A caller's timeout of 1 ms does no harm. Whatever a handler
    returns is its answer, so there is no bad answer.
    """
    ref = node.spawn(Server)
    assert await ref.call(Server.delayed, 1) == "delayed"
    await ref.call(Server.idle, 1)
    await trio.sleep(0.5)
    assert await ref.call(Server.all) == []
    await trio.sleep(1.5)
    assert await ref.call(Server.all) == [ak.IdleTimeout(1)]
    await ref.call(Server.idle, None)
    with pytest.raises(ak.CallTimeout):
        await ref.within(0.001).call(Server.sleep, 1)
    await trio.sleep(2)
    assert await ref.call(Server.started_p) == "ok"


@conforms("SRV-05")
async def test_calling_oneself(node, autojump_clock):
    """A call of oneself is refused at once, by ref, by name, and via a registry."""
    ref = node.spawn(ak.child(Puppet).with_(name="me"))
    registry = await node.start(ak.registry(name="r"))
    await registry.call(ak.Registry.register, ref, "me")

    async def ask(me):
        for to in (me.ctx.ref, ak.named(Puppet, "me"), ak.via(Puppet, "r", "me")):
            with pytest.raises(ak.CallCycle):
                await to.call(Puppet.all_seen_later)

    began = trio.current_time()
    await ref.call(Puppet.run, ask)
    assert trio.current_time() == began


@conforms("SRV-06")
async def test_what_a_failed_call_says(node, autojump_clock):
    """The error of a failed call says who was called, which method, and why, in its attributes and
    in its text.
    """
    stopped = node.spawn(ak.child(Server).with_(name="svc"))
    stopped.stop()
    await node.stopped(stopped)
    for to, who in ((stopped, str(stopped.pid)), (ak.named(Server, "svc"), "'svc'")):
        with pytest.raises(ak.CalleeDied, match=r"Server\.started_p") as died:
            await to.call(Server.started_p)
        assert who in died.value.target
        assert died.value.reason == ak.NOPROC
    ref = node.spawn(Server)
    with pytest.raises(ak.CallTimeout, match=r"Server\.sleep.* 2 s") as late:
        await ref.within(2).call(Server.sleep, 10)
    assert str(ref.pid) in late.value.target
    assert late.value.method.endswith("Server.sleep")
    for end, reason in ((ref.kill, ak.KILLED), (lambda: None, ak.NOPROC)):
        async with trio.open_nursery() as nursery:

            async def ask(reason=reason):
                with pytest.raises(ak.CalleeDied, match=r"Server\.sleep") as died:
                    await ref.call(Server.sleep, 10)
                assert (died.value.reason, died.value.method) == (reason, "Server.sleep")

            nursery.start_soon(ask)
            await settle()
            end()


@differs("SRV-07")
async def test_requests_are_tasks(node, autojump_clock):
    """Overlapping requests are tasks of a nursery. Each gets its own answer; a caller may check for
    an answer, go on, and get it later; the request fails if the server is dead. No message can be
    mistaken for an answer.
    """
    ref, dead = node.spawn(Server), node.spawn(Server)
    dead.kill()
    answers = {}

    async def request(label, to, method, *args):
        try:
            answers[label] = await to.call(method, *args)
        except ak.CallError as error:
            answers[label] = error

    async with trio.open_nursery() as nursery:
        nursery.start_soon(request, "slow", ref, Server.delayed, 3)
        nursery.start_soon(request, "quick", ref, Server.delayed, 1)
        nursery.start_soon(request, "dead", dead, Server.started_p)
        nursery.start_soon(request, "nobody", ak.named(Server, "nobody"), Server.started_p)
        nursery.start_soon(request, "crash", node.spawn(Server), Server.fail)
        await settle()
        assert "slow" not in answers
        await trio.sleep(2)
        assert answers["quick"] == "delayed"
        assert "slow" not in answers
    assert answers["slow"] == "delayed"
    assert (answers["dead"].reason, answers["nobody"].reason) == (ak.NOPROC, ak.NOPROC)
    assert answers["crash"].reason.type == "RuntimeError"


@conforms("SRV-08")
async def test_no_late_reply_in_the_callers_mailbox(node, autojump_clock):
    """A process whose call has timed out finds nothing in its mailbox when the answer comes."""
    ref, probe = node.spawn(Server), Probe(node)

    async def caller(ctx):
        with pytest.raises(ak.CallTimeout):
            await ref.within(1).call(Server.sleep, 2)
        with trio.move_on_after(5):
            probe.ref.send(await ctx.receive())
        probe.ref.send("nothing")

    node.spawn(caller)
    assert await probe.receive(within=10) == "nothing"


@conforms("SRV-09")
@differs("SRV-09")
async def test_cast(node, autojump_clock):
    """A cast arrives; so does a message delayed by a timer; a cast may stop the server. A cast to
    nobody, in whatever way, raises nothing; it returns whether it was accepted.
    """
    ref, probe = node.spawn(Server), Probe(node)
    probe.monitor(ref)
    registry = await node.start(ak.registry(name="r"))
    assert ref.cast(Server.note, "ok") is True
    node.send_after(1, ref, "delayed")
    await trio.sleep(2)
    assert await ref.call(Server.all) == ["ok", "delayed"]
    assert ref.cast(Server.stop_cast)
    assert (await probe.receive(ak.Down)).reason == ak.NORMAL
    for nobody in (ref, ak.named(Server, "nobody"), ak.via(Server, "r", "nobody"), ak.via(Server, "nowhere", 1)):
        assert nobody.cast(Server.note, 1) is False
    assert registry.alive


@conforms("SRV-10")
async def test_info(node, autojump_clock):
    """Plain messages reach handle_info in order, and one may stop the server."""
    ref, probe = node.spawn(Server), Probe(node)
    probe.monitor(ref)
    for message in ("handle_info", ("any", "term"), None):
        ref.send(message)
    await settle()
    assert await ref.call(Server.all) == ["handle_info", ("any", "term"), None]
    ref.send("stop")
    assert (await probe.receive(ak.Down)).reason == ak.NORMAL


@conforms("SRV-11")
@pytest.mark.parametrize("where", ["init", "call", "call, later", "cast", "info"])
async def test_continue(node, autojump_clock, where):
    """A continuation may be asked for anywhere. It runs before a message that is already queued;
    continuations may be chained, run in order, and may stop the server.
    """
    log = []

    class Continues(Server):
        async def init(self):
            self.begin("init")

        def begin(self, here):
            if here == where:
                self.ctx.ref.send("queued")
                self.ctx.continue_with(Continues.one, 1)

        def one(self, number):
            log.append(number)
            if number == 1:
                self.ctx.continue_with(Continues.one, 2)
                self.ctx.continue_with(Continues.one, 3)

        @ak.call
        def ask(self):
            self.begin("call")
            return "answer"

        @ak.call
        def ask_later(self):
            self.begin("call, later")
            later = ak.Later()
            later.set("answer")
            return later

        @ak.cast
        def tell(self):
            self.begin("cast")

        @ak.cast
        def end(self):
            self.ctx.continue_with(Continues.stopped)

        def stopped(self):
            self.ctx.stop()

        def handle_info(self, message):
            if message == "queued":
                log.append(message)
            else:
                self.begin("info")

    ref, probe = node.spawn(Continues), Probe(node)
    probe.monitor(ref)
    assert await ref.call(Continues.ask) == "answer"
    assert await ref.call(Continues.ask_later) == "answer"
    ref.cast(Continues.tell)
    ref.send("begin")
    await settle()
    assert log == [1, 2, 3, "queued"]
    ref.cast(Continues.end)
    assert (await probe.receive(ak.Down)).reason == ak.NORMAL


@differs("SRV-12")
async def test_idle_timeouts(node, autojump_clock):
    """An idle timeout holds from init, a call or a message until it is set anew, and is counted
    from each message; OTP's holds for the next message only. Zero is refused: work to be done at
    once is a continuation. There are no absolute times.
    """
    ref = node.spawn(Server)
    await ref.call(Server.idle, 2)
    for _ in range(3):
        await trio.sleep(1.5)
        ref.cast(Server.note, "message")
    await trio.sleep(5)
    assert await ref.call(Server.all) == ["message"] * 3 + [ak.IdleTimeout(2)] * 2
    for bad in (0, -1, math.inf):
        with pytest.raises(ak.CalleeDied) as died:
            await node.spawn(Server).call(Server.idle, bad)
        assert died.value.reason.type == "ValueError"


@conforms("SRV-15")
@pytest.mark.parametrize("plan", [ak.IGNORE, ak.Stop(ak.Failure("stopped"))])
async def test_a_name_is_free_when_the_start_returns(node, autojump_clock, plan):
    """The name is free each of a hundred times, whether init ignores or stops."""
    spec = ak.child(Server, plan).with_(name="svc")
    for _ in range(100):
        try:
            assert await node.start(spec) is None
        except ak.StartFailed:
            pass
        assert node.whereis("svc") is None


@differs("SRV-16")
async def test_whose_exit_ends_a_server():
    """There is no enter_loop: a process registers itself as any actor does. The Exit of a
    supervisor runs terminate in a child that traps exits; the Exit of another parent is a message.
    """
    ends = []

    class Traps(Server):
        trap_exit = True

        def terminate(self, reason):
            ends.append(reason)

    async def process(ctx):
        ctx.register("loop")
        await ctx.receive()

    async with ak.open_node(ak.supervisor(ak.child(Traps))) as node:
        node.spawn(process)
        await settle()
        assert node.whereis("loop") is not None
        parent = node.spawn(Puppet)
        child = await parent.call(Puppet.do, lambda me: me.ctx.spawn_link(Traps))
        parent.exit(OTHER)
        await settle()
        assert child.alive
        assert await child.call(Server.all) == [ak.Exit(parent, OTHER)]
        assert ends == []
        child.kill()
    assert ends == [ak.SHUTDOWN]


@conforms("SRV-17")
async def test_format_status(node, autojump_clock, caplog):
    """get_status and the crash report show what format_status returns, and never the state itself;
    both survive a format_status that raises.
    """

    class Formats(Server):
        def __init__(self, raises):
            super().__init__("the secret")
            self.raises = raises

        def format_status(self):
            if self.raises:
                raise ValueError("in the formatter")
            return {"formatted": True}

    for raises, shown in ((False, "formatted"), (True, "format_status raised ValueError")):
        ref = node.spawn(Formats, raises)
        assert shown in (await ak.sys.get_status(ref)).state
        caplog.clear()
        with pytest.raises(ak.CalleeDied):
            await ref.call(Server.fail)
        text = "\n".join(record.getMessage() for record in caplog.records)
        assert shown in text
        assert "RuntimeError: crashed" in text
        assert "the secret" not in text


@conforms("SRV-18")
@pytest.mark.parametrize("suspended", [False, True])
async def test_get_and_replace_state(node, autojump_clock, suspended):
    """The state can be read and replaced by ref and by name, suspended or not; if the function
    raises, the state stays, and the caller gets the error.
    """
    ref = node.spawn(ak.child(Server, "plan").with_(name="svc"))
    if suspended:
        await ak.sys.suspend(ref)
    for to in (ref, ak.named(Server, "svc")):
        assert (await ak.sys.get_state(to))["plan"] == "plan"
        replaced = await ak.sys.replace_state(to, lambda state: {**state, "log": [*state["log"], "more"]})
        assert replaced["log"][-1] == "more"
        with pytest.raises(ak.CallbackFailed, match="ZeroDivisionError"):
            await ak.sys.replace_state(to, lambda state: 1 / 0)
        assert await ak.sys.get_state(to) == replaced
    if suspended:
        await ak.sys.resume(ref)
    assert await ref.call(Server.all) == ["more", "more"]


@conforms("SRV-19")
async def test_calls_of_one_with_a_huge_mailbox():
    """20,000 queued messages in the caller do not slow down its calls: as many lines of code run as
    without them.
    """
    counts = []

    async def caller(ctx, ref):
        async def calls():
            with lines_run() as lines:
                for _ in range(200):
                    await ref.call(Puppet.all_seen_later)
            counts.append(lines.count)

        await calls()
        await calls()
        for n in range(20_000):
            ctx.ref.send(n)
        await calls()

    async with ak.open_node(slice_seconds=1000) as node:
        await node.stopped(node.spawn(ak.child(caller, node.spawn(Puppet)).with_(mailbox=math.inf)))
    _, empty, full = counts
    assert empty > 200
    assert full <= empty + 20


@conforms("SRV-20")
@differs("SRV-20")
async def test_callbacks_that_are_missing(node, autojump_clock, caplog):
    """Without handle_info a message is logged, and the actor lives. Without terminate the end is
    orderly. A call or cast that is not declared is refused at the sender. An undefined name in a
    callback is that callback's error.
    """

    class Bare(ak.Actor):
        @ak.call
        def undefined(self):
            return self.no_such_method()

        def undeclared(self):
            raise AssertionError("handled")

    ref = node.spawn(Bare)
    ref.send("info")
    await settle()
    assert "no handle_info" in caplog.text
    for send in (ref.call, ref.cast):
        with pytest.raises(ak.NotAMessage):
            result = send(Bare.undeclared)
            await result
    assert ref.alive
    ref.stop(ak.SHUTDOWN)
    assert await node.stopped(ref) in (None, ak.SHUTDOWN)
    with pytest.raises(ak.CalleeDied) as died:
        await node.spawn(Bare).call(Bare.undefined)
    assert died.value.reason.type == "AttributeError"
    assert "no_such_method" in died.value.reason.message

    class Undef(ak.Actor):
        def init(self):
            self.no_such_method()

    with pytest.raises(ak.StartFailed) as failed:
        await node.start(Undef)
    assert failed.value.reason.type == "AttributeError"


@conforms("SRV-22")
@differs("SRV-22")
async def test_what_elixirs_suite_asserts_beyond(node, autojump_clock):
    """Bad names are refused; whereis takes each form of a ref; a started server is not linked, a
    linked one is. Stopping the dead does nothing, and stopping oneself is an orderly end, where
    Elixir exits with calling_self.
    """
    for bad in ("", 7, ("a", "b")):
        with pytest.raises(ak.InvalidChildSpec):
            ak.child(Server).with_(name=bad)
    ref = await node.start(ak.child(Server).with_(name=None))
    assert node.process_info(ref).name is None
    assert node.process_info(ref).links == ()
    registry = await node.start(ak.registry(name="r"))
    svc = await node.start(ak.child(Server).with_(name="svc"))
    await registry.call(ak.Registry.register, svc, "key")
    for form in (svc, ak.named(Server, "svc"), ak.via(Server, "r", "key")):
        assert node.engine.resolve(form) is svc
        assert form.cast(Server.note, 1)
        assert await form.call(Server.started_p) == "ok"
    for nobody in (ak.named(Server, "nobody"), ak.via(Server, "r", "nobody")):
        assert node.engine.resolve(nobody) is None
        nobody.stop()
    linked = await (parent := node.spawn(Puppet)).call(Puppet.do, lambda me: me.ctx.spawn_link(Server))
    assert node.process_info(linked).links == (parent.pid,)
    assert await svc.call(Server.stop, ak.NORMAL) == "stopping"
    await settle()
    assert not svc.alive
