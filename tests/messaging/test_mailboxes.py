"""Mailboxes: the bound, the four overflow policies, waiting for room, and the messages that are
exempt.
"""

from __future__ import annotations

from typing import Any

import hypothesis
import pytest
import trio
from hypothesis import strategies as st
from trio.testing import MockClock

import actorkit as ak
from actorkit.testing import Probe
from tests.conformance.marks import conforms

from .kit import Gate, Puppet, gate, settle

POLICIES = ["reject", "wait", "drop_oldest", "drop_newest"]


def box(node: ak.Node, ref: ak.Ref[Any]) -> int:
    info = node.process_info(ref)
    assert info is not None
    return info.mailbox


@pytest.mark.parametrize("policy", POLICIES)
async def test_the_bound_is_exact(node: ak.Node, clock: MockClock, policy: Any) -> None:
    """Exactly ``mailbox`` messages wait, including those taken out for the current turn; the one
    being handled does not count.
    """
    ref, made = gate(node, mailbox=5, overflow=policy)
    await settle()
    assert [ref.cast(Gate.note, n) for n in range(5)] == [True] * 5
    assert box(node, ref) == 5
    ref.cast(Gate.note, 5)
    ref.send(6)
    assert box(node, ref) == 5
    made.opened.set()
    await settle()
    assert made.seen == ([2, 3, 4, 5, 6] if policy == "drop_oldest" else [0, 1, 2, 3, 4])


class Slow(Gate):
    @ak.cast
    async def step(self, value: int) -> None:
        self.seen.append(value)
        self.entered.set()
        await self.opened.wait()


@pytest.mark.parametrize("policy", POLICIES)
async def test_the_bound_counts_what_is_taken_out(node: ak.Node, clock: MockClock, policy: Any) -> None:
    """A handler in the middle of a batch still has the rest of the batch in its mailbox; the oldest
    message is the oldest of that rest.
    """
    made: list[Slow] = []

    def factory() -> Slow:
        made.append(Slow())
        return made[0]

    ref = node.spawn(ak.child(factory).with_(mailbox=4, overflow=policy))
    for n in range(4):
        assert ref.cast(Slow.step, n)
    await settle()
    assert made[0].seen == [0]
    assert box(node, ref) == 3
    assert ref.cast(Slow.step, 4)
    assert ref.cast(Slow.step, 5) == (policy.startswith("drop"))
    assert box(node, ref) == 4
    made[0].opened.set()
    await settle()
    assert made[0].seen == ([0, 2, 3, 4, 5] if policy == "drop_oldest" else [0, 1, 2, 3, 4])


@pytest.mark.parametrize("policy", POLICIES)
async def test_send_and_cast_at_the_bound(node: ak.Node, clock: MockClock, policy: Any) -> None:
    """send and cast never wait or raise: a message that is not accepted returns False, is counted,
    and becomes a dead letter with a reason.
    """
    ref, _ = gate(node, mailbox=2, overflow=policy)
    await settle()
    ref.cast(Gate.note, 0)
    ref.send(1)
    async with node.subscribe(ak.DeadLetter) as events:
        before = node.statistics().dead_letters
        accepted = [ref.cast(Gate.note, 2), ref.send(3)]
        assert accepted == [policy.startswith("drop")] * 2
        assert node.statistics().dead_letters == before + 2
        letters: Any = events.drain()
        lost = [(0,), (1,)] if policy == "drop_oldest" else [(2,), (3,)]
        assert [letter.args for letter in letters] == lost
        assert all("full" in letter.why for letter in letters)
        assert {letter.message for letter in letters} == {"Gate.note", "Gate.handle_info"}


async def test_a_call_at_the_bound_is_refused(node: ak.Node, clock: MockClock) -> None:
    """Under reject and drop_newest a call raises MailboxFull at once, with the numbers, and leaves
    nothing pending.
    """
    for policy in ("reject", "drop_newest"):
        ref, made = gate(node, mailbox=1, overflow=policy)
        await settle()
        ref.cast(Gate.note, 0)
        for target in (ref, ref.within(60)):
            with pytest.raises(ak.MailboxFull, match="1 of 1"):
                await target.call(Gate.count)
        assert node.statistics().pending_calls == 0
        made.opened.set()
        await settle()
        assert await ref.call(Gate.count) == 1


async def test_a_call_under_wait_waits(node: ak.Node, clock: MockClock) -> None:
    """Under wait a call waits for room within its deadline, behind earlier senders; then it is
    answered.
    """
    ref, made = gate(node, mailbox=1, overflow="wait")
    await settle()
    ref.cast(Gate.note, 0)
    got: list[int] = []

    async def ask() -> None:
        got.append(await ref.call(Gate.count))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await settle()
        assert box(node, ref) == 1
        with pytest.raises(ak.CallTimeout):
            await ref.within(2).call(Gate.count)
        made.opened.set()
    assert got == [1]


async def test_a_call_under_wait_that_is_given_up_leaves_nothing(node: ak.Node, clock: MockClock) -> None:
    """A call that timed out or was cancelled while it waited for room keeps neither its message nor
    a place in the queue.
    """
    ref, made = gate(node, mailbox=1, overflow="wait")
    await settle()
    ref.cast(Gate.note, 0)
    for _ in range(20):
        with pytest.raises(ak.CallTimeout):
            await ref.within(0.1).call(Gate.count)
        with trio.move_on_after(0.1):
            await ref.call(Gate.count)
        with trio.move_on_after(0.1):
            await ref.send_wait("x")
    record: Any = ref
    assert not record.relations.senders
    made.opened.set()
    await settle()
    assert made.seen == [0]


async def test_a_call_under_drop_oldest(node: ak.Node, clock: MockClock) -> None:
    """Under drop_oldest a call pushes the oldest message out; a call that is pushed out raises
    MailboxFull in its caller.
    """
    ref, made = gate(node, mailbox=1, overflow="drop_oldest")
    await settle()
    ref.cast(Gate.note, 0)
    outcomes: list[Any] = []

    async def ask() -> None:
        try:
            outcomes.append(await ref.call(Gate.count))
        except ak.MailboxFull as error:
            outcomes.append(str(error))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await settle()
        nursery.start_soon(ask)
        await settle()
        assert len(outcomes) == 1
        assert "dropped as the oldest" in outcomes[0]
        made.opened.set()
    assert outcomes[1] == 0


@pytest.mark.parametrize("policy", POLICIES)
async def test_waiting_sends_keep_each_senders_order(node: ak.Node, clock: MockClock, policy: Any) -> None:
    """send_wait and cast_wait wait for room whatever the policy; each sender's messages arrive in
    order, and none is lost.
    """
    ref, made = gate(node, mailbox=3, overflow=policy)
    await settle()

    async def sender(me: Puppet, who: int) -> None:
        for n in range(20):
            if n % 2:
                await ref.send_wait((who, n))
            else:
                await ref.cast_wait(Gate.note, value=(who, n))

    async with trio.open_nursery() as nursery:
        for who in range(5):
            nursery.start_soon(node.spawn(Puppet).call, Puppet.run, sender, who)
        await settle()
        assert box(node, ref) == 3
        made.opened.set()
    await settle()
    assert len(made.seen) == 100
    for who in range(5):
        assert [n for w, n in made.seen if w == who] == list(range(20))


async def test_waiting_senders_are_let_in_when_a_turn_ends(node: ak.Node, clock: MockClock) -> None:
    """No sender that waits for room is forgotten when the actor's turn or the pool's slice ends
    just as its mailbox becomes empty.
    """

    class Busy(ak.Actor):
        def __init__(self) -> None:
            self.count = 0

        @ak.cast
        def spin(self) -> None:
            self.count += sum(range(40_000)) > 0  # longer than a slice

        @ak.call
        def counted(self) -> int:
            return self.count

    ref = node.spawn(ak.child(Busy).with_(mailbox=1))
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(ref.cast_wait, Busy.spin)
    await settle()
    assert await ref.call(Busy.counted) == 20


async def test_a_waiting_sender_hears_of_the_receivers_end(node: ak.Node, clock: MockClock) -> None:
    """send_wait raises CalleeDied: with NoProc if the receiver is dead, with its reason if it dies
    meanwhile.
    """
    ref, _ = gate(node, mailbox=1)
    await settle()
    ref.cast(Gate.note, 0)
    reasons: list[ak.ExitReason] = []

    async def sender() -> None:
        with pytest.raises(ak.CalleeDied) as caught:
            await ref.send_wait(1)
        reasons.append(caught.value.reason)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(sender)
        await settle()
        ref.kill()
    await sender()
    assert reasons == [ak.KILLED, ak.NOPROC]


async def test_cancellation_of_a_waiting_sender(node: ak.Node, clock: MockClock) -> None:
    """A message whose sender is cancelled before or while it waits is not sent; once it is sent, no
    Cancelled is raised: it is never lost and never sent twice.
    """
    ref, made = gate(node, mailbox=1)
    await settle()
    with trio.CancelScope() as scope:
        scope.cancel()
        await ref.send_wait("cancelled before")
    assert scope.cancelled_caught
    await ref.send_wait("sent")
    with trio.move_on_after(1) as scope:
        await ref.send_wait("cancelled while it waits")
    assert scope.cancelled_caught
    sent: list[int] = []

    async def sender() -> None:
        for n in range(1_000):
            await ref.send_wait(n)
            sent.append(n)

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            nursery.start_soon(settle)
            made.opened.set()

            async def stop() -> None:
                while len(sent) < 100:
                    await trio.lowlevel.checkpoint()
                scope.cancel()

            nursery.start_soon(stop)
            await sender()
    await settle()
    assert made.seen == ["sent", *sent]


async def test_a_send_that_had_room_is_not_cancelled_afterwards(node: ak.Node, clock: MockClock) -> None:
    """When there is room, a send_wait that raises Cancelled has not sent: the turn that it leaves
    to others loses nothing.
    """
    ref, made = gate(node, mailbox=10_000_000)
    made.opened.set()
    sent = 0
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:

            async def stop() -> None:
                await trio.lowlevel.checkpoint()
                scope.cancel()

            nursery.start_soon(stop)
            while True:
                await ref.send_wait(sent)
                sent += 1
    await settle()
    assert len(made.seen) == sent


async def test_cancellation_in_the_step_in_which_room_is_made(node: ak.Node, clock: MockClock) -> None:
    """A sender that is let in and cancelled in the same step has sent its message once."""
    ref, made = gate(node, mailbox=1)
    await settle()
    ref.cast(Gate.note, 0)
    outcome: list[str] = []

    async def sender() -> None:
        try:
            await ref.send_wait("x")
            outcome.append("sent")
        except trio.Cancelled:
            outcome.append("cancelled")
            raise

    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sender)
            await settle()
            made.opened.set()

            async def watch() -> None:
                while not made.seen:
                    await trio.lowlevel.checkpoint()
                scope.cancel()

            nursery.start_soon(watch)
    await settle()
    assert made.seen == ([0, "x"] if outcome == ["sent"] else [0])


async def test_two_actors_waiting_for_each_other(node: ak.Node, clock: MockClock) -> None:
    """Two actors wait for room in each other's full mailboxes: the second gets CallCycle at once,
    and the first goes on.
    """
    one, two = (node.spawn(ak.child(Puppet).with_(mailbox=1)) for _ in range(2))
    ready = trio.Event()

    async def first(me: Puppet) -> str:
        await ready.wait()
        await two.send_wait("to two")
        return "sent"

    async def second(me: Puppet) -> None:
        await ready.wait()
        await settle()
        with pytest.raises(ak.CallCycle, match="neither would ever drain"):
            await one.send_wait("to one")

    got: list[str] = []

    async def ask() -> None:
        got.append(await one.call(Puppet.run, first))

    started = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        nursery.start_soon(two.call, Puppet.run, second)
        await settle()
        one.cast(Puppet.note, "fill")
        two.cast(Puppet.note, "fill")
        ready.set()
    assert got == ["sent"]
    assert trio.current_time() == started
    await settle()
    assert await two.call(Puppet.all_seen) == ["fill", "to two"]


async def test_a_call_and_a_send_waiting_for_each_other(node: ak.Node, clock: MockClock) -> None:
    """A cycle may consist of a call and of a wait for room."""
    one, two = (node.spawn(ak.child(Puppet).with_(mailbox=1)) for _ in range(2))

    async def waits(me: Puppet) -> None:
        one.cast(Puppet.note, "fill")
        with pytest.raises(ak.CallCycle):
            await one.send_wait("x")

    async def asks(me: Puppet) -> None:
        await two.call(Puppet.run, waits)

    await one.call(Puppet.run, asks)
    await settle()
    assert await one.call(Puppet.all_seen) == ["fill"]


async def test_waiting_for_room_in_ones_own_mailbox(node: ak.Node, clock: MockClock) -> None:
    """An actor cannot wait for room in its own mailbox: only the actor itself could drain it."""
    ref = node.spawn(ak.child(Puppet).with_(mailbox=1))

    async def fill(me: Puppet) -> None:
        await ref.send_wait(1)
        with pytest.raises(ak.CallCycle):
            await ref.send_wait(2)

    await ref.call(Puppet.run, fill)
    await settle()
    assert await ref.call(Puppet.all_seen) == [1]


class Sub(Gate):
    trap_exit = True

    @ak.call
    async def prepare(self, others: list[ak.Ref[Any]]) -> None:
        self.ctx.monitor(others[0])
        self.ctx.link(others[1])
        self.ctx.send_after(1, self.ctx.ref, "timer")


@pytest.mark.parametrize("policy", POLICIES)
async def test_notices_are_exempt(node: ak.Node, clock: MockClock, policy: Any) -> None:
    """Down, Exit and timer messages are delivered to a full mailbox, and drop_oldest never drops
    them.
    """
    made: list[Sub] = []

    def factory() -> Sub:
        made.append(Sub())
        return made[0]

    ref = node.spawn(ak.child(factory).with_(mailbox=2, overflow=policy))
    others = [node.spawn(Puppet), node.spawn(Puppet)]
    await ref.call(Sub.prepare, others)
    ref.cast(Sub.hold)
    await settle()
    for n in range(2):
        assert ref.send(n)
    for other in others:
        other.exit(ak.Failure("x"))
    await trio.sleep(2)
    assert box(node, ref) == 5
    accepted = [ref.send(n) for n in range(2, 8)]
    assert accepted == [policy.startswith("drop")] * 6
    assert box(node, ref) == 5
    made[0].opened.set()
    await settle()
    kinds = [type(m).__name__ for m in made[0].seen]
    if policy == "drop_oldest":
        assert kinds == ["Down", "Exit", "str", "int", "int"]
        assert made[0].seen[-2:] == [6, 7]
    else:
        assert kinds == ["int", "int", "Down", "Exit", "str"]


async def test_drop_oldest_with_nothing_but_notices(node: ak.Node, clock: MockClock) -> None:
    """A mailbox full of notices drops the new message: a flood cannot push a Down out."""
    made: list[Sub] = []

    def factory() -> Sub:
        made.append(Sub())
        return made[0]

    ref = node.spawn(ak.child(factory).with_(mailbox=1, overflow="drop_oldest"))
    others = [node.spawn(Puppet), node.spawn(Puppet)]
    await ref.call(Sub.prepare, others)
    ref.cast(Sub.hold)
    await settle()
    others[0].kill()
    assert not ref.send("x")
    with pytest.raises(ak.MailboxFull):
        await ref.call(Gate.count)
    made[0].opened.set()
    await settle()
    assert [type(m) for m in made[0].seen] == [ak.Down]


@pytest.mark.parametrize("policy", POLICIES)
async def test_init_is_exempt(node: ak.Node, clock: MockClock, policy: Any) -> None:
    """init, continuations and terminate are not in the mailbox's order: no flood drops or overtakes
    them.
    """
    log: list[Any] = []

    class Begins(ak.Actor):
        def init(self) -> None:
            self.ctx.continue_with(Begins.more)
            log.append("init")

        async def more(self) -> None:
            await trio.lowlevel.checkpoint()
            log.append("continued")
            self.ctx.continue_with(Begins.last)

        def last(self) -> None:
            log.append("last")

        def handle_info(self, message: Any) -> None:
            log.append(message)

        async def terminate(self, reason: ak.ExitReason) -> None:
            log.append("terminate")

    ref = node.spawn(ak.child(Begins).with_(mailbox=1, overflow=policy))
    for n in range(5):
        ref.send(n)
    await settle()
    assert log[:3] == ["init", "continued", "last"]
    ref.stop()
    for n in range(5):
        ref.send(n)
    await settle()
    assert "terminate" in log
    assert not ref.alive


async def test_dead_letters_of_the_dying(node: ak.Node, clock: MockClock) -> None:
    """Messages left in a mailbox when its actor dies are counted and reported, in order; callers
    hear of it themselves.
    """
    ref, _ = gate(node)
    await settle()
    for n in range(3):
        ref.cast(Gate.note, n)
    ref.send("info")
    async with node.subscribe(ak.DeadLetter) as events:
        ref.kill()
        await settle()
        letters: Any = events.drain()
    assert [(letter.message, letter.args) for letter in letters] == [
        ("Gate.note", (0,)),
        ("Gate.note", (1,)),
        ("Gate.note", (2,)),
        ("Gate.handle_info", ("info",)),
    ]
    assert all(letter.pid == ref.pid and "ended first" in letter.why for letter in letters)


async def test_dead_letters_with_keywords(node: ak.Node, clock: MockClock) -> None:
    """A dead letter names the method even when the message was sent with keyword arguments."""
    ref = node.spawn(Gate)
    ref.kill()
    async with node.subscribe(ak.DeadLetter) as events:
        ref.cast(Gate.note, value=1)
        letters: Any = events.drain()
    assert letters[0].message == "Gate.note"
    assert letters[0].why == "dead"


async def test_an_unbounded_mailbox(node: ak.Node, clock: MockClock) -> None:
    """mailbox=math.inf takes any number of messages."""
    ref, made = gate(node, mailbox=float("inf"))
    await settle()
    assert all(ref.cast(Gate.note, n) for n in range(5_000))
    made.opened.set()
    await settle()
    assert len(made.seen) == 5_000


async def test_a_flood_does_not_starve_the_node(node: ak.Node, clock: MockClock) -> None:
    """An actor that floods itself without end takes turns with others, and can be killed."""

    def again(me: Puppet) -> None:
        me.ctx.ref.cast(Puppet.tell, again)

    flooder, probe = node.spawn(Puppet), Probe(node)
    flooder.cast(Puppet.tell, again)
    for n in range(20):
        probe.ref.send(n)
        await trio.lowlevel.checkpoint()
    while len(probe.received) < 20:
        await trio.lowlevel.checkpoint()
    flooder.kill()
    await settle()
    assert not flooder.alive


@conforms("SIG-14")
@hypothesis.given(
    bound=st.integers(1, 6),
    policy=st.sampled_from(POLICIES),
    script=st.lists(
        st.tuples(
            st.integers(0, 2), st.sampled_from(["cast", "send", "cast_wait", "send_wait", "call", "open", "settle"])
        ),
        max_size=40,
    ),
)
@hypothesis.settings(deadline=None, max_examples=60)
def test_order_per_sender_and_receiver(bound: int, policy: Any, script: list[tuple[int, str]]) -> None:
    """SIG-14: whatever the bound, the policy and the mix of ways to send, one sender's messages
    arrive in order and at most once, and a message that was accepted and not dropped arrives.
    """
    trio.run(mixed_ways, bound, policy, script, clock=MockClock())


async def mixed_ways(bound: int, policy: Any, script: list[tuple[int, str]]) -> None:
    class Receiver(Gate):
        @ak.call
        async def asked(self, value: Any) -> None:
            self.seen.append(value)

        @ak.cast
        async def slow(self, value: Any) -> None:
            self.seen.append(value)
            await trio.lowlevel.checkpoint()

    async with ak.open_node() as node:
        made: list[Receiver] = []

        def factory() -> Receiver:
            made.append(Receiver())
            return made[0]

        ref = node.spawn(ak.child(factory).with_(mailbox=bound, overflow=policy))
        ref.cast(Receiver.hold)
        await settle()
        accepted: set[tuple[int, int]] = set()
        dropped: set[Any] = set()

        async def sender(who: int, steps: list[tuple[int, str]]) -> None:
            for n, way in steps:
                value = (who, n)
                try:
                    match way:
                        case "cast":
                            if ref.cast(Receiver.slow, value):
                                accepted.add(value)
                        case "send":
                            if ref.send(value):
                                accepted.add(value)
                        case "cast_wait":
                            await ref.cast_wait(Receiver.note, value)
                            accepted.add(value)
                        case "send_wait":
                            await ref.send_wait(value)
                            accepted.add(value)
                        case "call":
                            await ref.call(Receiver.asked, value)
                            accepted.add(value)
                        case "open":
                            made[0].opened.set()
                        case _:
                            await trio.lowlevel.checkpoint()
                except ak.MailboxFull:
                    dropped.add(value)

        async with node.subscribe(ak.DeadLetter) as events, trio.open_nursery() as nursery:
            for who in range(3):
                nursery.start_soon(sender, who, [(n, way) for n, (w, way) in enumerate(script) if w == who])
            await settle()
            made[0].opened.set()
        await settle()
        for letter in events.drain():
            assert isinstance(letter, ak.DeadLetter)
            dropped.add(letter.args[0])
        seen = made[0].seen
        assert len(seen) == len(set(seen))
        assert accepted - dropped <= set(seen) <= accepted
        for who in range(3):
            own = [n for w, n in seen if w == who]
            assert own == sorted(own)
