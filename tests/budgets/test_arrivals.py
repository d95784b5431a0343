"""A flood is stopped at the sender, by the receiver's overflow policy, before the receiver runs."""

from __future__ import annotations

from typing import Any

import pytest
import trio

import actorkit as ak
from actorkit import named as named_ref
from actorkit.heap import clock, walk

from .conftest import KIB, MIB, Ends

MESSAGES = 4000 if clock.COUNTS_ALLOCATIONS else 600
"""How many messages of 50 KiB: 200 MiB in all, or 30 without the extension, whose looks take
longer.
"""

POLICIES = ["reject", "wait", "drop_oldest", "drop_newest"]


class Slow(ak.Actor):
    """Stays busy until it is told to go on."""

    def __init__(self) -> None:
        self.opened = trio.Event()
        self.seen = 0

    @ak.cast
    async def begin(self) -> None:
        await self.opened.wait()

    @ak.call
    async def take(self, what: object) -> int:
        self.seen += 1
        return self.seen

    def handle_info(self, message: Any) -> None:
        self.seen += 1


async def busy(ends: Ends, policy: Any, **options: Any) -> tuple[ak.Ref[Slow], trio.Event]:
    spec = ak.child(Slow).with_(max_heap_size=MIB, mailbox=10**6, overflow=policy, **options)
    ref = ends.node.spawn(spec)
    made: Any = ref
    opened: trio.Event = made.obj.opened
    ref.cast(Slow.begin)
    await trio.testing.wait_all_tasks_blocked()
    return ref, opened


def held(ends: Ends, ref: ak.Ref[Any]) -> int:
    info = ends.node.process_info(ref, walk=True)
    assert info is not None
    assert info.memory is not None
    return info.memory.charged


@pytest.mark.parametrize("held_by_sender", [False, True])
@pytest.mark.parametrize("policy", POLICIES)
async def test_a_flood_does_not_fit_into_one_mib(ends: Ends, policy: str, held_by_sender: bool) -> None:
    """After casts and sends of many MiB the mailbox holds less than the budget, and what did not
    fit is counted. The receiver lives. It makes no difference that the sender still holds the last
    message in a variable.
    """

    ref, opened = await busy(ends, policy)
    accepted = 0
    for number in range(MESSAGES // 2):
        if held_by_sender:
            block = bytes(50 * KIB)
            accepted += ref.cast(Slow.take, block)
            block = bytes(50 * KIB)
            accepted += ref.send(block)
            del block
        else:
            accepted += ref.cast(Slow.take, bytes(50 * KIB)) + ref.send(bytes(50 * KIB))
        if not number % 200:
            assert held(ends, ref) <= MIB
    assert held(ends, ref) <= MIB
    waiting = ends.node.process_info(ref).mailbox  # type: ignore[union-attr]
    assert 15 <= waiting <= 20
    assert ends.node.statistics().dead_letters == MESSAGES - waiting
    if policy.startswith("drop"):
        assert accepted == MESSAGES
    else:
        assert accepted == waiting
    opened.set()
    await trio.testing.wait_all_tasks_blocked()
    assert ref.alive
    assert await ref.call(Slow.take, b"") == waiting + 1


async def test_a_flood_is_not_measured_message_by_message(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as the receiver has not run and nothing has left its mailbox, a message as large as
    the last refused one is refused without a look.
    """
    looks = 0
    measure = walk.measure

    def counted(*args: Any, **options: Any) -> Any:
        nonlocal looks
        looks += 1
        return measure(*args, **options)

    ref, opened = await busy(ends, "reject")
    while ref.send(bytes(50 * KIB)):
        pass
    monkeypatch.setattr(walk, "measure", counted)
    assert not any(ref.send(bytes(size * KIB)) for size in (50, 51, 500))
    assert looks == 0
    assert not ref.send(bytes(49 * KIB))
    assert looks > 0
    assert ref.send(bytes(KIB))
    looks = 0
    assert not ref.send(bytes(50 * KIB))
    assert looks > 0
    opened.set()
    await trio.testing.wait_all_tasks_blocked()
    assert ref.send(bytes(50 * KIB))


async def test_who_waits_gets_in_later(ends: Ends) -> None:
    """``send_wait`` waits for bytes as it waits for places; everything arrives, in order."""
    ref, opened = await busy(ends, "wait")
    sent = 0

    async def send() -> None:
        nonlocal sent
        for _ in range(60):
            await ref.send_wait(bytes(50 * KIB))
            sent += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await trio.testing.wait_all_tasks_blocked()
        assert 15 <= sent <= 20
        assert held(ends, ref) <= MIB
        opened.set()
    assert sent == 60
    assert await ref.call(Slow.take, b"") == 61


@pytest.mark.parametrize("policy", POLICIES)
async def test_calls(ends: Ends, policy: str) -> None:
    """A call that does not fit fails at once with the numbers, or waits, or replaces the oldest
    message.
    """
    ref, opened = await busy(ends, policy)
    while held(ends, ref) < MIB - 60 * KIB:
        ref.send(bytes(50 * KIB))
    answers: list[object] = []

    async def ask() -> None:
        try:
            answers.append(await ref.call(Slow.take, bytes(100 * KIB)))
        except ak.MailboxFull as error:
            answers.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        assert held(ends, ref) <= MIB
        opened.set()
    if policy in ("wait", "drop_oldest"):
        assert isinstance(answers[0], int)
    else:
        assert isinstance(answers[0], ak.MailboxFull)
        assert "1,048,576 B" in str(answers[0])
    assert ref.alive


HALF = 500_000


async def by_call(ref: ak.Ref[Slow]) -> None:
    await ref.call(Slow.take, bytes(HALF))


async def by_keyword(ref: ak.Ref[Slow]) -> None:
    await ref.call(Slow.take, what=bytes(HALF))


async def by_call_with_a_deadline(ref: ak.Ref[Slow]) -> None:
    await ref.within(3600).call(Slow.take, what=bytes(HALF))


async def by_send_wait(ref: ak.Ref[Slow]) -> None:
    await ref.send_wait(bytes(HALF))


async def by_cast_wait(ref: ak.Ref[Slow]) -> None:
    await ref.cast_wait(Slow.take, what=bytes(HALF))


async def by_keyword_cast(ref: ak.Ref[Slow]) -> None:
    ref.cast(Slow.take, what=bytes(HALF))


WAYS = [by_call, by_keyword, by_call_with_a_deadline, by_send_wait, by_cast_wait, by_keyword_cast]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("policy", "named"), [*((policy, False) for policy in POLICIES), ("wait", True)])
async def test_200_mb_from_many_senders(ends: Ends, policy: str, named: bool, way: Any) -> None:
    """400 tasks send 500 kB each, by calls and by sends that wait: the mailbox never holds more
    than the budget. It makes no difference whether a task still waits for its answer or for its
    turn.
    """
    ref, opened = await busy(ends, policy, name="slow")
    to = named_ref(Slow, "slow") if named else ref
    refused = 0

    async def send() -> None:
        nonlocal refused
        try:
            await way(to)
        except ak.MailboxFull:
            refused += 1

    async with trio.open_nursery() as nursery:
        for _ in range(400):
            nursery.start_soon(send)
        await trio.testing.wait_all_tasks_blocked()
        info = ends.node.process_info(ref, walk=True)
        assert info is not None
        assert info.memory is not None
        assert 1 <= info.mailbox <= 2
        assert HALF <= info.memory.mailbox <= MIB
        await ends.node.engine.budgets.look_at_all()
        assert ref.alive
        opened.set()
    waits = way in (by_send_wait, by_cast_wait) or (policy == "wait" and way is not by_keyword_cast)
    if waits:
        assert refused == 0
    if way in (by_call, by_keyword, by_call_with_a_deadline) and not waits:
        assert refused >= 397
    await trio.testing.wait_all_tasks_blocked()
    assert ref.alive


async def test_what_waits_to_be_sent_is_the_sender_s(ends: Ends) -> None:
    """Messages that an actor's tasks cannot send yet are charged to the actor, since they end with
    it.
    """
    slow, _ = await busy(ends, "wait")
    while slow.send(bytes(50 * KIB)):
        pass

    class Sender(ak.Actor):
        @ak.cast
        async def go(self) -> None:
            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(slow.send_wait, bytes(HALF))
                    await trio.testing.wait_all_tasks_blocked()

    sender = ends.node.spawn(ak.child(Sender).with_(max_heap_size=MIB))
    sender.cast(Sender.go)
    assert isinstance(await ends.of(sender), ak.MemoryLimit)
    assert slow.alive


async def test_what_a_timer_holds(ends: Ends) -> None:
    """A message that a timer will deliver ends with its receiver, so it is charged to the
    receiver.
    """

    class Patient(ak.Actor):
        @ak.cast
        async def begin(self) -> None:
            while True:
                self.ctx.send_after(3600, self.ctx.ref, bytes(100 * KIB))
                await trio.lowlevel.checkpoint()

    ref = ends.node.spawn(ak.child(Patient).with_(max_heap_size=MIB))
    ref.cast(Patient.begin)
    reason = await ends.of(ref)
    assert isinstance(reason, ak.MemoryLimit)
    assert ends.node.statistics().timers < 20


async def test_the_arguments_of_a_process(ends: Ends) -> None:
    """The arguments of a process are charged to it as long as it runs."""

    async def sleeper(ctx: ak.ProcessContext, large: bytes) -> None:
        await trio.sleep_forever()

    ref = ends.node.spawn(sleeper, bytes(3 * MIB))
    await trio.testing.wait_all_tasks_blocked()
    assert held(ends, ref) > 3 * MIB
    small = ends.node.spawn(ak.child(sleeper, bytes(3 * MIB)).with_(max_heap_size=MIB))
    assert isinstance(await ends.of(small), ak.MemoryLimit)


async def test_what_can_never_fit(ends: Ends) -> None:
    """A message larger than the budget is refused, even if its sender would wait; nothing hangs."""
    ref, opened = await busy(ends, "wait")
    opened.set()
    await trio.testing.wait_all_tasks_blocked()
    accepted = ref.send(bytes(2 * MIB))
    assert not accepted
    with trio.fail_after(10):
        with pytest.raises(ak.MailboxFull):
            await ref.send_wait(bytes(2 * MIB))
        with pytest.raises(ak.MailboxFull):
            await ref.call(Slow.take, bytes(2 * MIB))
    assert ref.alive


async def test_what_the_sender_holds_is_not_the_receiver_s(ends: Ends) -> None:
    """A table larger than the budget may be sent while others hold it. Once they let go of it, a
    look finds it.
    """
    ref, _ = await busy(ends, "reject")
    table = bytes(3 * MIB)
    assert ref.send(table)
    await ends.node.engine.budgets.look_at_all()
    assert ref.alive
    del table
    await ends.node.engine.budgets.look_at_all()
    assert isinstance(await ends.of(ref), ak.MemoryLimit)


async def test_answers_are_charged(ends: Ends) -> None:
    """The answer to a call is charged to the caller when it comes, inline or not."""

    class Source(ak.Actor):
        @ak.call
        def at_once(self) -> bytes:
            return bytes(300 * KIB)

        @ak.call
        async def later(self) -> bytes:
            await trio.lowlevel.checkpoint()
            return bytes(300 * KIB)

    source = ends.node.spawn(Source)

    class Asker(ak.Actor):
        def __init__(self) -> None:
            self.held: list[bytes] = []

        @ak.cast
        async def ask(self, how: Any) -> None:
            while True:
                self.held.append(await source.call(how))

    for how in (Source.at_once, Source.later):
        asker = ends.node.spawn(ak.child(Asker).with_(max_heap_size=MIB))
        asker.cast(Asker.ask, how)
        reason = await ends.of(asker)
        assert isinstance(reason, ak.MemoryLimit)
        assert reason.usage.charged <= 2 * MIB


async def test_a_process_that_waits_is_woken(ends: Ends) -> None:
    got: list[object] = []

    async def reader(ctx: ak.ProcessContext) -> None:
        while len(got) < 3:
            got.append(await ctx.receive())

    ref = ends.node.spawn(ak.child(reader).with_(max_heap_size=MIB))
    for number in range(3):
        await trio.testing.wait_all_tasks_blocked()
        assert ref.send(number)
    assert await ends.of(ref) == ak.Normal()
    assert got == [0, 1, 2]


async def test_keyword_arguments_count(ends: Ends) -> None:
    """Keyword arguments count as positional ones do, whether the sender still holds them or not,
    even if they are larger than the budget.
    """
    ref, _ = await busy(ends, "reject")
    for _ in range(2):
        block = bytes(400 * KIB)
        assert ref.cast(Slow.take, what=block)
    block = bytes(400 * KIB)
    assert not ref.cast(Slow.take, what=block)
    with pytest.raises(ak.MailboxFull):
        await ref.call(Slow.take, what=block)
    accepted = ref.cast(Slow.take, what=bytes(3 * MIB))  # an assert would hold the message
    assert not accepted
    assert held(ends, ref) <= MIB


async def test_a_call_that_does_not_fit_may_not_close_a_cycle(ends: Ends) -> None:
    """A caller gets CallCycle if it would wait for room in the mailbox of an actor that waits for
    its answer.
    """
    errors: list[BaseException] = []

    class First(ak.Actor):
        second: ak.Ref[Second]

        @ak.call
        async def ask(self) -> None:
            await self.second.call(Second.ask_back)

        @ak.call
        async def take(self, what: bytes) -> None:
            pass

    class Second(ak.Actor):
        first: ak.Ref[First]

        @ak.call
        async def ask_back(self) -> None:
            with trio.fail_after(50):
                try:
                    await self.first.call(First.take, bytes(2 * MIB))
                except ak.CallError as error:
                    errors.append(error)

    spec = ak.child(First).with_(max_heap_size=MIB, overflow="wait")
    first, second = ends.node.spawn(spec), ends.node.spawn(Second)
    one: Any = first
    other: Any = second
    one.obj.second, other.obj.first = second, first
    await first.call(First.ask)
    assert [type(error) for error in errors] == [ak.CallCycle]


async def test_shared_messages_are_refused_with_include_shared(ends: Ends) -> None:
    """With include_shared, a message that others hold too counts when it arrives."""
    limit = ak.HeapLimit(MIB, include_shared=True)
    ref = ends.node.spawn(ak.child(Slow).with_(max_heap_size=limit, mailbox=10**6))
    ref.cast(Slow.begin)
    await trio.testing.wait_all_tasks_blocked()
    shared = bytes(300 * KIB)
    tables = [[shared], [bytes(300 * KIB)], [bytes(300 * KIB)], [bytes(300 * KIB)]]
    assert [ref.send(table) for table in tables] == [True, True, True, False]
    accepted = ref.send([bytes(3 * MIB)])
    assert not accepted
    assert ref.send("short")
    assert ref.alive


async def test_the_last_actor_s_budget_is_gone(ends: Ends) -> None:
    """Sending to an actor that is dead, or no longer has a limit, is like sending to any other."""

    class Free(ak.Actor):
        @ak.call
        def lift(self) -> None:
            self.ctx.max_heap_size = None

        @ak.cast
        def take(self, what: bytes) -> None:
            pass

    ref = ends.node.spawn(ak.child(Free).with_(max_heap_size=MIB))
    accepted = ref.send(bytes(2 * MIB))
    assert not accepted
    await ref.call(Free.lift)
    assert ref.cast(Free.take, bytes(2 * MIB))
    ref.kill()
    await ends.of(ref)
    assert not ref.cast(Free.take, b"")
    assert not ref.send(b"")


async def test_a_process_s_mailbox(ends: Ends) -> None:
    """A process, too, is charged for what arrives in its mailbox."""

    async def sleeper(ctx: ak.ProcessContext) -> None:
        await trio.sleep_forever()

    ref = ends.node.spawn(ak.child(sleeper).with_(max_heap_size=MIB, mailbox=10**6))
    await trio.testing.wait_all_tasks_blocked()
    accepted = sum(ref.send(bytes(50 * KIB)) for _ in range(200))
    assert 15 <= accepted <= 20
    assert held(ends, ref) <= MIB


async def by_plain_cast(ref: ak.Ref[Slow], size: int) -> bool:
    return ref.cast(Slow.take, bytes(size))


async def by_plain_send(ref: ak.Ref[Slow], size: int) -> bool:
    return ref.send(bytes(size))


async def by_plain_call(ref: ak.Ref[Slow], size: int) -> bool:
    try:
        await ref.within(20).call(Slow.take, bytes(size))
    except ak.MailboxFull:
        return False
    return True


async def by_waiting_cast(ref: ak.Ref[Slow], size: int) -> bool:
    try:
        await ref.cast_wait(Slow.take, bytes(size))
    except ak.MailboxFull:
        return False
    return True


async def by_waiting_send(ref: ak.Ref[Slow], size: int) -> bool:
    try:
        await ref.send_wait(bytes(size))
    except ak.MailboxFull:
        return False
    return True


EVERY_WAY = [by_plain_cast, by_plain_send, by_plain_call, by_waiting_cast, by_waiting_send]


@pytest.mark.parametrize("waiting", [0, 1, 20])
@pytest.mark.parametrize("how", ["runnable", "busy", "suspended"])
@pytest.mark.parametrize("way", EVERY_WAY)
async def test_nothing_is_dropped_for_what_can_never_fit(ends: Ends, way: Any, how: str, waiting: int) -> None:
    """With ``drop_oldest``, a message that is larger than the whole budget is refused before
    anything is dropped, whether its receiver is queued, in a message, or suspended. The receiver
    lives and handles what waits."""
    ref = ends.node.spawn(ak.child(Slow).with_(max_heap_size=MIB, overflow="drop_oldest"))
    record: Any = ref
    made: Slow = record.obj
    if how == "busy":
        ref.cast(Slow.begin)
        await trio.testing.wait_all_tasks_blocked()
    elif how == "suspended":
        await ak.sys.suspend(ref)
    for number in range(waiting):
        assert ref.send(number)
    outcomes: list[bool] = []

    async def send() -> None:
        outcomes.append(await way(ref, 2 * MIB))

    async with trio.open_nursery() as nursery:
        at_once = way in (by_plain_cast, by_plain_send)
        if at_once:
            await send()
        else:
            nursery.start_soon(send)
            if how != "runnable":
                await trio.testing.wait_all_tasks_blocked()
        record.validate_mailbox()
        if at_once or how != "runnable":
            assert record.mailbox_length == waiting
        made.opened.set()
        if how == "suspended":
            await ak.sys.resume(ref)
    await trio.testing.wait_all_tasks_blocked()
    record.validate_mailbox()
    assert outcomes == [False]
    assert ref.alive
    assert made.seen == waiting
    assert await ref.call(Slow.take, b"") == waiting + 1


@pytest.mark.parametrize("how", ["runnable", "busy", "suspended"])
@pytest.mark.parametrize("way", [by_plain_cast, by_plain_send, by_plain_call])
async def test_the_only_message_is_dropped_for_a_new_one(ends: Ends, way: Any, how: str) -> None:
    """The mailbox is empty in between, and neither the old nor the new message is larger than the
    budget: the new one comes in."""
    ref = ends.node.spawn(ak.child(Slow).with_(max_heap_size=MIB, overflow="drop_oldest"))
    record: Any = ref
    made: Slow = record.obj
    if how == "busy":
        ref.cast(Slow.begin)
        await trio.testing.wait_all_tasks_blocked()
    elif how == "suspended":
        await ak.sys.suspend(ref)
    assert ref.send(bytes(600 * KIB))
    outcomes: list[bool] = []

    async def send() -> None:
        outcomes.append(await way(ref, 700 * KIB))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        if how != "runnable":
            await trio.testing.wait_all_tasks_blocked()
            assert record.mailbox_length == 1
        record.validate_mailbox()
        made.opened.set()
        if how == "suspended":
            await ak.sys.resume(ref)
    await trio.testing.wait_all_tasks_blocked()
    record.validate_mailbox()
    assert outcomes == [True]
    assert ref.alive
    assert made.seen >= 1


async def test_all_is_dropped_and_the_rest_is_enough(ends: Ends) -> None:
    """What waits is less than the new message, and with what was free there is room for it."""
    ref, opened = await busy(ends, "drop_oldest")
    assert ref.send(bytes(300 * KIB))
    assert ref.send(bytes(300 * KIB))
    assert ref.send(bytes(900 * KIB))
    record: Any = ref
    record.validate_mailbox()
    assert record.mailbox_length == 1
    opened.set()
    await trio.testing.wait_all_tasks_blocked()
    assert ref.alive


async def test_a_watched_actor_takes_the_largest(ends: Ends) -> None:
    """With ``kill=False`` the limit refuses nothing."""
    limit = ak.HeapLimit(MIB, kill=False)
    ref = ends.node.spawn(ak.child(Slow).with_(max_heap_size=limit, overflow="drop_oldest", mailbox=3))
    record: Any = ref
    made: Slow = record.obj
    ref.cast(Slow.begin)
    await trio.testing.wait_all_tasks_blocked()
    for _ in range(5):
        assert ref.send(bytes(2 * MIB))
        record.validate_mailbox()
    assert record.mailbox_length == 3
    made.opened.set()
    await trio.testing.wait_all_tasks_blocked()
    assert made.seen == 3
    assert ref.alive
