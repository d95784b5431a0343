"""Calls: answers, late answers, deadlines, deaths and cycles."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

import actorkit as ak
from tests.conformance.marks import conforms

from .kit import Gate, Puppet, Trapper, crash, gate, settle


class Desk(ak.Actor):
    """Answers in every way there is."""

    def __init__(self) -> None:
        self.log: list[Any] = []
        self.open: list[ak.Later[Any]] = []
        self.shared: ak.Later[str] = ak.Later()

    @ak.call
    def sync(self, n: int, *, more: int = 0) -> int:
        self.log.append(n)
        return n + more

    @ak.call
    async def asynchronous(self, n: int, *, more: int = 0) -> int:
        self.log.append(n)
        await trio.lowlevel.checkpoint()
        return n + more

    @ak.call
    async def sleep(self, seconds: float) -> str:
        self.log.append("begun")
        await trio.sleep(seconds)
        self.log.append("done")
        return "slept"

    @ak.call
    def later(self) -> ak.Later[Any]:
        self.open.append(ak.Later[Any]())
        return self.open[-1]

    @ak.call
    async def later_async(self) -> ak.Later[Any]:
        return self.later()

    @ak.call
    def at_once(self, value: Any) -> ak.Later[Any]:
        answer = ak.Later[Any]()
        answer.set(value)
        return answer

    @ak.call
    def refused(self) -> ak.Later[Any]:
        answer = ak.Later[Any]()
        answer.fail(LookupError("no such thing"))
        return answer

    @ak.call
    def join(self) -> ak.Later[str]:
        return self.shared

    @ak.cast
    def settle(self, value: Any) -> None:
        for answer in self.open:
            answer.set(value)

    @ak.cast
    def fail(self, error: Exception) -> None:
        for answer in self.open:
            answer.fail(error)

    @ak.call
    def raises(self) -> None:
        raise ValueError("bad question")

    @ak.call
    async def raises_later(self) -> None:
        await trio.lowlevel.checkpoint()
        raise ValueError("bad question")

    @ak.call
    def give(self, answer: ak.Later[Any]) -> ak.Later[Any]:
        return answer

    @ak.call
    def share(self, value: str) -> None:
        self.shared.set(value)

    @ak.call
    def opened(self) -> list[ak.Later[Any]]:
        return self.open

    @ak.call
    def seen(self) -> list[Any]:
        return self.log

    @ak.cast
    def only_cast(self) -> None: ...


async def pending(node: ak.Node) -> int:
    return node.statistics().pending_calls


# --- answers -------------------------------------------------------------------------------------


@conforms("SRV-04")
async def test_both_kinds_answer(node: ak.Node, clock: MockClock) -> None:
    """SRV-04: sync and async methods answer, with positional and keyword arguments, with and
    without a deadline.
    """
    desk = node.spawn(Desk)
    for ref in (desk, desk.within(3), desk.within(math.inf)):
        assert await ref.call(Desk.sync, 1) == 1
        assert await ref.call(Desk.sync, 1, more=2) == 3
        assert await ref.call(Desk.asynchronous, 1) == 1
        assert await ref.call(Desk.asynchronous, n=1, more=2) == 3
    assert await pending(node) == 0


async def test_an_idle_callee_answers_inline(node: ak.Node, clock: MockClock) -> None:
    """A synchronous method of an idle actor runs in the caller's task: no other task runs in
    between.
    """
    desk = node.spawn(Desk)
    await settle()
    before = node.statistics().messages
    assert await desk.call(Desk.sync, 1) == 1
    assert node.statistics().messages == before


async def test_a_call_does_not_overtake_the_mailbox(node: ak.Node, clock: MockClock) -> None:
    """A call runs inline only when the mailbox is empty: it comes after the casts that were sent
    before it.
    """
    puppet = node.spawn(Puppet)
    for n in range(10):
        puppet.cast(Puppet.note, n)
    assert await puppet.call(Puppet.all_seen) == list(range(10))


async def test_an_inline_callee_is_current_and_its_caller_again_afterwards(node: ak.Node, clock: MockClock) -> None:
    """In an inline handler the current actor is the callee, whoever calls, and its ctx works."""
    one, two = node.spawn(Puppet), node.spawn(Puppet)

    async def ask(me: Puppet) -> None:
        child = await two.call(Puppet.do, lambda other: other.ctx.spawn_link(Puppet))
        assert node.process_info(child).parent == two.pid  # type: ignore[union-attr]
        assert node.process_info(me.ctx.spawn(Puppet)).parent == one.pid  # type: ignore[union-attr]

    await one.call(Puppet.run, ask)


async def test_a_cast_only_method_cannot_be_called(node: ak.Node, clock: MockClock) -> None:
    """A method declared with @cast has no answer: calling it is refused at the sender."""
    desk = node.spawn(Desk)
    for ref in (desk, desk.within(1)):
        with pytest.raises(ak.NotAMessage, match=r"@ak\.cast"):
            await ref.call(Desk.only_cast)
    desk.kill()
    with pytest.raises(ak.NotAMessage):
        await desk.call(Desk.only_cast)


# --- Later ---------------------------------------------------------------------------------------


@conforms("SRV-04")
@pytest.mark.parametrize("method", [Desk.later, Desk.later_async])
async def test_later_set_after_the_return(node: ak.Node, clock: MockClock, method: Any) -> None:
    """SRV-04: an answer set in a later message reaches the caller; meanwhile the callee serves
    others.
    """
    desk = node.spawn(Desk)
    got: list[Any] = []

    async def ask() -> None:
        got.append(await desk.call(method))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await settle()
        assert await desk.call(Desk.sync, 7) == 7
        assert got == []
        desk.cast(Desk.settle, "answer")
    assert got == ["answer"]
    assert await pending(node) == 0


@pytest.mark.parametrize("busy", [False, True])
async def test_later_set_before_the_return(node: ak.Node, clock: MockClock, busy: bool) -> None:
    """A Later that is already set when the method returns it is the answer, inline and from the
    queue.
    """
    desk = node.spawn(Desk)
    for value in (1, None, [2]):
        if busy:
            desk.cast(Desk.settle, 0)
        assert await desk.call(Desk.at_once, value) == value
        if busy:
            desk.cast(Desk.settle, 0)
        with pytest.raises(LookupError, match="no such thing"):
            await desk.call(Desk.refused)
        assert await desk.within(2).call(Desk.at_once, value) == value
    assert await pending(node) == 0


async def test_later_set_before_the_return_for_a_caller_that_is_cancelled(node: ak.Node, clock: MockClock) -> None:
    """A handler has its answer ready and cancels its caller: the caller is woken once, with the
    answer.
    """
    puppet = node.spawn(Puppet)
    with trio.CancelScope() as scope:

        def answer(me: Puppet) -> ak.Later[str]:
            scope.cancel()
            later = ak.Later[str]()
            later.set("ready")
            return later

        got = await puppet.call(Puppet.do, answer)
    assert got == "ready"
    await settle()


async def test_later_fail_raises_in_the_caller(node: ak.Node, clock: MockClock) -> None:
    """fail(error) raises that error in the caller; the callee lives."""
    desk = node.spawn(Desk)
    async with trio.open_nursery() as nursery:

        async def ask() -> None:
            with pytest.raises(KeyError, match="nothing"):
                await desk.call(Desk.later)

        nursery.start_soon(ask)
        await settle()
        desk.cast(Desk.fail, KeyError("nothing"))
    assert desk.alive


async def test_later_first_answer_counts(node: ak.Node, clock: MockClock) -> None:
    """Only the first answer counts; ``wanted`` tells whether a caller still waits."""
    desk = node.spawn(Desk)
    made = ak.Later[str]()
    assert made.wanted
    got: list[Any] = []

    async def ask() -> None:
        got.append(await desk.call(Desk.give, made))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await settle()
        assert made.wanted
        made.set("one")
        made.set("two")
        made.fail(ValueError())
        assert not made.wanted
    assert got == ["one"]


async def test_later_from_another_actor_and_from_its_own_task(node: ak.Node, clock: MockClock) -> None:
    """The answer may come from wherever it is ready: another actor, a process or the host."""
    desk, puppet = node.spawn(Desk), node.spawn(Puppet)
    got: list[Any] = []

    async def ask() -> None:
        got.append(await desk.call(Desk.later))

    async def in_nursery(me: Puppet, answer: ak.Later[Any]) -> None:
        async def task() -> None:
            await trio.sleep(1)
            answer.set("from a task")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(task)

    async def process(ctx: ak.ProcessContext, answer: ak.Later[Any]) -> None:
        answer.set("from a process")

    ways: list[Callable[[ak.Later[Any]], object]] = [
        lambda answer: puppet.cast(Puppet.tell, lambda me: answer.set("from an actor")),
        lambda answer: puppet.cast(Puppet.begin, in_nursery, answer),
        lambda answer: node.spawn(process, answer),
        lambda answer: answer.set("from the host"),
    ]
    for way in ways:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await settle()
            way((await desk.call(Desk.opened)).pop())
    assert got == ["from an actor", "from a task", "from a process", "from the host"]


async def test_one_later_for_several_callers(node: ak.Node, clock: MockClock) -> None:
    """One Later returned to several callers answers all of them, except those that have gone."""
    desk = node.spawn(Desk)
    got: list[str] = []

    async def ask() -> None:
        got.append(await desk.call(Desk.join))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(ask)
        with trio.move_on_after(1):
            await desk.call(Desk.join)
        assert len(got) == 0
        await desk.call(Desk.share, "all")
    assert got == ["all"] * 3
    assert await desk.call(Desk.join) == "all"


@conforms("SRV-08")
async def test_later_too_late(node: ak.Node, clock: MockClock) -> None:
    """SRV-08: an answer after the deadline, or for a cancelled caller, is dropped without harm."""
    desk = node.spawn(Desk)
    with pytest.raises(ak.CallTimeout):
        await desk.within(1).call(Desk.later)
    with trio.move_on_after(1) as scope:
        await desk.call(Desk.later)
    assert scope.cancelled_caught
    answers = await desk.call(Desk.opened)
    assert [answer.wanted for answer in answers] == [False, False]
    desk.cast(Desk.settle, "too late")
    await settle()
    assert desk.alive
    assert await desk.call(Desk.sync, 3) == 3
    assert await pending(node) == 0


async def test_later_of_an_owner_that_dies(node: ak.Node, clock: MockClock) -> None:
    """If the actor that owes the answer ends first, its callers get CalleeDied at once; setting the
    answer later does nothing.
    """
    desk = node.spawn(Desk)

    async def ask() -> None:
        with pytest.raises(ak.CalleeDied) as caught:
            await desk.call(Desk.later)
        assert caught.value.reason == ak.KILLED

    answers: list[Any] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        nursery.start_soon(ask)
        await settle()
        answers = list(await desk.call(Desk.opened))
        started = trio.current_time()
        desk.kill()
    assert trio.current_time() == started
    for answer in answers:
        assert not answer.wanted
        answer.set("nobody")


async def test_later_returned_by_a_dying_handler(node: ak.Node, clock: MockClock) -> None:
    """An actor that ends in the very message that returns a Later owes no answer: its caller gets
    CalleeDied with its reason.
    """

    def die(me: Puppet) -> ak.Later[Any]:
        me.ctx.stop(ak.Shutdown("gone"))
        return ak.Later[Any]()

    for queued in (False, True):
        puppet = node.spawn(Puppet)
        if queued:
            puppet.cast(Puppet.note, 0)
        with pytest.raises(ak.CalleeDied) as caught:
            await puppet.call(Puppet.do, die)
        assert caught.value.reason == ak.Shutdown("gone")


# --- deadlines -----------------------------------------------------------------------------------


@conforms("SRV-04")
async def test_the_default_deadline_is_five_seconds(node: ak.Node, clock: MockClock) -> None:
    """SRV-04: a call without an answer raises CallTimeout after 5 s, at most a twentieth later; the
    callee goes on.
    """
    desk = node.spawn(Desk)
    started = trio.current_time()
    with pytest.raises(ak.CallTimeout, match="within"):
        await desk.call(Desk.sleep, 20)
    assert 5.0 <= trio.current_time() - started <= 5.3
    await trio.sleep(20)
    assert await desk.call(Desk.seen) == ["begun", "done"]


@conforms("SRV-06")
@pytest.mark.parametrize("seconds", [0.001, 2, 30])
async def test_within_sets_the_deadline(node: ak.Node, clock: MockClock, seconds: float) -> None:
    """SRV-06: within(seconds) replaces the default, shorter or longer, exactly."""
    desk = node.spawn(Desk)
    started = trio.current_time()
    with pytest.raises(ak.CallTimeout, match=f"{seconds:g} s"):
        await desk.within(seconds).call(Desk.sleep, 60)
    assert trio.current_time() - started == pytest.approx(seconds)


async def test_within_infinity_waits(node: ak.Node, clock: MockClock) -> None:
    """within(inf) has no deadline; trio's own cancel scopes still work."""
    desk = node.spawn(Desk)
    assert await desk.within(math.inf).call(Desk.sleep, 1_000) == "slept"
    with trio.move_on_after(2) as scope:
        await desk.within(math.inf).call(Desk.sleep, 1_000)
    assert scope.cancelled_caught


async def test_the_deadline_of_a_node_can_be_set(clock: MockClock) -> None:
    """open_node(call_timeout=…) sets the default."""
    async with ak.open_node(call_timeout=1.0) as node:
        desk = node.spawn(Desk)
        started = trio.current_time()
        with pytest.raises(ak.CallTimeout):
            await desk.call(Desk.sleep, 20)
        assert 1.0 <= trio.current_time() - started <= 1.06


@conforms("SRV-08")
async def test_a_late_reply_is_dropped(node: ak.Node, clock: MockClock) -> None:
    """SRV-08: a reply after the timeout is dropped: the next call of the same caller gets its own
    answer.
    """
    desk = node.spawn(Desk)
    with pytest.raises(ak.CallTimeout):
        await desk.within(1).call(Desk.sleep, 2)
    assert await desk.call(Desk.asynchronous, 5) == 5
    assert await pending(node) == 0


async def test_nothing_is_armed_while_no_call_waits(node: ak.Node, clock: MockClock) -> None:
    """The deadline timer sleeps when no call is pending."""
    desk = node.spawn(Desk)
    assert await desk.call(Desk.asynchronous, 5) == 5
    await trio.sleep(10)
    assert node.statistics().timers == 0


# --- deaths --------------------------------------------------------------------------------------


@conforms("SRV-06")
async def test_a_dead_callee(node: ak.Node, clock: MockClock) -> None:
    """SRV-06: calling the dead raises CalleeDied with NoProc at once."""
    desk = node.spawn(Desk)
    desk.kill()
    for ask in (desk.call, desk.within(9).call):
        with pytest.raises(ak.CalleeDied) as caught:
            await ask(Desk.sync, 1)
        assert caught.value.reason == ak.NOPROC


async def wait_for_death(
    node: ak.Node, ref: ak.Ref[Any], ask: Callable[[], Awaitable[Any]], how: Callable[[], Any]
) -> ak.ExitReason:
    """The reason that a waiting caller gets when ``how`` ends the callee."""
    reasons: list[ak.ExitReason] = []

    async def caller() -> None:
        with pytest.raises(ak.CalleeDied) as caught:
            await ask()
        reasons.append(caught.value.reason)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(caller)
        await settle()
        started = trio.current_time()
        how()
    assert trio.current_time() == started
    assert not ref.alive
    assert await pending(node) == 0
    return reasons[0]


@conforms("SRV-03")
@pytest.mark.parametrize("queued", [False, True])
async def test_a_callee_that_dies_meanwhile(node: ak.Node, clock: MockClock, queued: bool) -> None:
    """SRV-03: a caller that waits, being served or queued, gets CalleeDied with the callee's reason
    at once.
    """
    for how, reason in (
        (lambda ref: ref.kill(), ak.KILLED),
        (lambda ref: ref.exit(ak.Shutdown("enough")), ak.Shutdown("enough")),
        (lambda ref: ref.exit(ak.Failure("x")), ak.Failure("x")),
    ):
        ref, _ = gate(node)
        await settle()
        got = await wait_for_death(
            node,
            ref,
            lambda ref=ref: ref.call(Gate.count) if queued else ref.call(Gate.hold),
            lambda how=how, ref=ref: how(ref),
        )
        assert got == reason


async def test_a_queued_call_of_a_stopped_callee(node: ak.Node, clock: MockClock) -> None:
    """A stop overtakes the mailbox: the calls in the mailbox get CalleeDied with the reason of the
    stop.
    """
    ref, made = gate(node)
    await settle()

    def stop() -> None:
        ref.stop(ak.SHUTDOWN)
        made.opened.set()

    assert await wait_for_death(node, ref, lambda: ref.call(Gate.count), stop) == ak.SHUTDOWN


@conforms("SRV-03")
@pytest.mark.parametrize("method", [Desk.raises, Desk.raises_later])
async def test_a_callee_that_crashes(node: ak.Node, clock: MockClock, method: Any) -> None:
    """SRV-03: a crash while serving belongs to the callee: the caller gets CalleeDied with the
    Crash, inline too, and lives.
    """
    puppet = node.spawn(Puppet)

    async def ask(me: Puppet) -> ak.ExitReason:
        with pytest.raises(ak.CalleeDied) as caught:
            await desk.call(method)
        return caught.value.reason

    desk = node.spawn(Desk)
    reason = await puppet.call(Puppet.run, ask)
    assert isinstance(reason, ak.Crash)
    assert (reason.type, reason.message) == ("ValueError", "bad question")
    assert "raise ValueError" in reason.traceback
    assert puppet.alive
    assert not desk.alive


@conforms("SRV-03")
async def test_exit_now_in_a_call(node: ak.Node, clock: MockClock) -> None:
    """SRV-03: an actor exits with its own reason while serving: its caller gets that reason, and
    nothing is logged.
    """

    async def leave(me: Puppet) -> None:
        await trio.lowlevel.checkpoint()
        me.ctx.exit_now(ak.Shutdown("done"))

    for function, method in ((lambda me: me.ctx.exit_now(ak.Shutdown("done")), Puppet.do), (leave, Puppet.run)):
        with pytest.raises(ak.CalleeDied) as caught:
            await node.spawn(Puppet).call(method, function)
        assert caught.value.reason == ak.Shutdown("done")
    assert node.statistics().crashes == 0


async def test_exit_now_in_a_nursery_of_the_handler(node: ak.Node, clock: MockClock) -> None:
    """exit_now from a task of the handler ends the actor with that reason, not with a group."""

    async def leave(me: Puppet) -> None:
        async def task() -> None:
            me.ctx.exit_now(ak.Failure("from a task"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(task)

    with pytest.raises(ak.CalleeDied) as caught:
        await node.spawn(Puppet).call(Puppet.run, leave)
    assert caught.value.reason == ak.Failure("from a task")


async def test_a_call_and_a_stop_in_it(node: ak.Node, clock: MockClock) -> None:
    """An actor that stops in a call still answers that call."""

    def stop(me: Puppet) -> str:
        me.ctx.stop()
        return "last words"

    async def stop_later(me: Puppet) -> str:
        await trio.lowlevel.checkpoint()
        return stop(me)

    for method, function in ((Puppet.do, stop), (Puppet.run, stop_later)):
        puppet = node.spawn(Puppet)
        assert await puppet.call(method, function) == "last words"
        await settle()
        assert not puppet.alive


async def test_a_linked_caller_dies_with_its_callee(node: ak.Node, clock: MockClock) -> None:
    """A caller that is linked to its callee and does not trap exits ends with the callee's reason
    when the callee crashes, inline or not.
    """
    for method in (Desk.raises, Desk.raises_later):
        desk, puppet = node.spawn(Desk), node.spawn(Puppet)
        reached: list[str] = []

        async def ask(me: Puppet, desk: Any = desk, method: Any = method, reached: Any = reached) -> None:
            me.ctx.link(desk)
            with pytest.raises((ak.CalleeDied, trio.Cancelled)):
                await desk.call(method)
            await trio.lowlevel.checkpoint()
            reached.append("after its next await")

        with pytest.raises(ak.CalleeDied) as caught:
            await puppet.call(Puppet.run, ask)
        assert isinstance(caught.value.reason, ak.Crash)
        assert caught.value.reason.type == "ValueError"
        assert reached == []


# --- cycles --------------------------------------------------------------------------------------


@conforms("SRV-05")
async def test_calling_oneself(node: ak.Node, clock: MockClock) -> None:
    """SRV-05: a call to oneself, by ref or by name, is refused at once."""
    puppet = node.spawn(ak.child(Puppet).with_(name="me"))
    named = ak.named(Puppet, "me")

    async def ask(me: Puppet) -> None:
        for ref in (me.ctx.ref, me.ctx.ref.within(3), named, named.within(3)):
            for method in (Puppet.all_seen, Puppet.all_seen_later):
                with pytest.raises(ak.CallCycle, match="itself"):
                    await ref.call(method)

    started = trio.current_time()
    await puppet.call(Puppet.run, ask)
    assert trio.current_time() == started


async def test_calling_oneself_from_a_nursery(node: ak.Node, clock: MockClock) -> None:
    """The tasks in an actor's nursery act as that actor: their call to it is a call to itself."""
    puppet = node.spawn(Puppet)

    async def ask(me: Puppet) -> None:
        async def task() -> None:
            with pytest.raises(ak.CallCycle):
                await puppet.call(Puppet.all_seen)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(task)

    await puppet.call(Puppet.run, ask)


@pytest.mark.parametrize("length", [2, 3, 10])
@pytest.mark.parametrize("within", [False, True])
async def test_cycles(node: ak.Node, clock: MockClock, length: int, within: bool) -> None:
    """A call that would close a circle of waiting actors is refused at once; the other calls get
    answers.
    """
    puppets = [node.spawn(Puppet) for _ in range(length)]

    async def ask(me: Puppet, index: int) -> str:
        target: Any = puppets[(index + 1) % length]
        if within:
            target = target.within(60)
        if index == length - 1:
            with pytest.raises(ak.CallCycle):
                await target.call(Puppet.all_seen)
            return "refused"
        answer: str = await target.call(Puppet.run, ask, index + 1)
        return answer

    started = trio.current_time()
    assert await puppets[0].call(Puppet.run, ask, 0) == "refused"
    assert trio.current_time() == started
    assert all(p.alive for p in puppets)
    for puppet in puppets:
        assert node.process_info(puppet).waiting_for == ()  # type: ignore[union-attr]


async def test_no_false_cycle_through_later(node: ak.Node, clock: MockClock) -> None:
    """A callee that owes a later answer is free: it may call its caller's friends, and they may
    call it.
    """
    desk, one = node.spawn(Desk), node.spawn(Puppet)

    async def ask(me: Puppet) -> Any:
        return await desk.call(Desk.later)

    async def answer(me: Puppet) -> None:
        desk.cast(Desk.settle, await desk.call(Desk.sync, 8))

    got: list[Any] = []
    async with trio.open_nursery() as nursery:

        async def call() -> None:
            got.append(await one.call(Puppet.run, ask))

        nursery.start_soon(call)
        await settle()
        assert node.process_info(one).waiting_for == ()  # type: ignore[union-attr]
        await node.spawn(Puppet).call(Puppet.run, answer)
    assert got == [8]


@pytest.mark.parametrize("within", [False, True])
async def test_no_false_cycle_after_a_wait_that_failed(node: ak.Node, clock: MockClock, within: bool) -> None:
    """A call that timed out, was cancelled or was refused leaves no trace: the callee may call
    back.
    """
    ref, _ = gate(node, mailbox=1)
    await settle()
    puppet = node.spawn(Puppet)

    async def ask(me: Puppet) -> None:
        target: Any = ref.within(1) if within else ref
        with trio.move_on_after(0.5) as scope:
            await target.call(Gate.count)
        assert scope.cancelled_caught
        with pytest.raises(ak.MailboxFull):
            await target.call(Gate.count)
        ref.kill()
        await settle()
        with pytest.raises(ak.CalleeDied):
            await target.call(Gate.count)

    await puppet.call(Puppet.run, ask)
    assert node.process_info(puppet).waiting_for == ()  # type: ignore[union-attr]
    assert await pending(node) == 0


# --- cancellation --------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [Desk.sync, Desk.asynchronous])
async def test_a_cancelled_caller_asks_nothing(node: ak.Node, clock: MockClock, method: Any) -> None:
    """A caller that is already cancelled gets Cancelled before the callee runs or is sent
    anything.
    """
    desk = node.spawn(Desk)
    for ask in (desk.call, desk.within(3).call):
        with trio.CancelScope() as scope:
            scope.cancel()
            await ask(method, 1)
        assert scope.cancelled_caught
    await settle()
    assert await desk.call(Desk.seen) == []


@conforms("SRV-04")
async def test_a_cancelled_call_is_still_served(node: ak.Node, clock: MockClock) -> None:
    """SRV-04: cancelling a waiting caller does not take the request back; its answer is dropped."""
    desk = node.spawn(Desk)
    with trio.move_on_after(1) as scope:
        await desk.call(Desk.sleep, 2)
    assert scope.cancelled_caught
    await trio.sleep(5)
    assert await desk.call(Desk.seen) == ["begun", "done"]


async def test_inline_calls_let_others_run(node: ak.Node, clock: MockClock) -> None:
    """A loop of inline calls is a loop of checkpoints: others run, and the loop can be cancelled
    from outside.
    """
    desk = node.spawn(Desk)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:

            async def stop() -> None:
                await trio.lowlevel.checkpoint()
                scope.cancel()

            nursery.start_soon(stop)
            while True:
                await desk.call(Desk.sync, 1)
    assert scope.cancelled_caught


async def test_an_answer_is_not_lost_to_a_cancellation_that_comes_after_it(node: ak.Node, clock: MockClock) -> None:
    """A cancellation in the pause after an inline call does not lose the call's answer: the next
    call raises instead.
    """
    desk = node.spawn(Desk)
    answers = 0
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:

            async def stop() -> None:
                await trio.lowlevel.checkpoint()
                scope.cancel()

            nursery.start_soon(stop)
            while True:
                await desk.call(Desk.sync, 1)
                answers += 1
    assert len(await desk.call(Desk.seen)) == answers


async def test_a_killed_caller(node: ak.Node, clock: MockClock) -> None:
    """Killing an actor that waits for an answer ends it at once; the callee does not notice."""
    ref, made = gate(node)
    puppet = node.spawn(Puppet)

    async def ask(me: Puppet) -> None:
        await ref.call(Gate.hold)

    puppet.cast(Puppet.begin, ask)
    await settle()
    assert node.process_info(puppet).waiting_for == (ref.pid,)  # type: ignore[union-attr]
    puppet.kill()
    await settle()
    assert not puppet.alive
    made.opened.set()
    assert await ref.call(Gate.hold) == "held"


@conforms("SRV-07")
async def test_many_calls_at_once(node: ak.Node, clock: MockClock) -> None:
    """SRV-07: overlapping calls of many callers each get their own answer, in the order in which
    they were made.
    """
    desk = node.spawn(Desk)
    got: list[int] = []

    async def ask(n: int) -> None:
        assert await desk.call(Desk.asynchronous, n) == n
        got.append(n)

    async with trio.open_nursery() as nursery:
        for n in range(200):
            nursery.start_soon(ask, n)
    assert sorted(got) == list(range(200))
    assert sorted(await desk.call(Desk.seen)) == list(range(200))


async def test_a_crash_in_an_inline_call_is_reported_once(node: ak.Node, clock: MockClock) -> None:
    """An inline crash is counted once, for the callee, and its watchers hear of it before the
    caller goes on.
    """
    watcher, desk = node.spawn(Trapper), node.spawn(Puppet)
    await watcher.call(Puppet.do, lambda me: me.ctx.link(desk))
    with pytest.raises(ak.CalleeDied):
        await desk.call(Puppet.do, crash)
    assert node.statistics().crashes == 1
    seen = await watcher.call(Puppet.all_seen)
    assert [type(m) for m in seen] == [ak.Exit]
