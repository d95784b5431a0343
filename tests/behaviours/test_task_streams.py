"""Task streams: fetching, time-outs and results proceed without the consumer, and everything ends
with the stream.
"""

from __future__ import annotations

import contextvars
import gc
import math
import signal
import threading
from contextlib import aclosing
from random import Random

import pytest
import trio

import actorkit as ak
from actorkit.runtime.base.trio_internals import Features

from .actors import settled

S = ak.TaskSupervisor

CONSUMERS = ["task", "actor", "process"]
ORDERS = [True, False]


def jobs():
    return ak.named(S, "jobs")


def node_of_jobs(**options):
    return ak.open_node(ak.supervisor(ak.task_supervisor(name="jobs")), **options)


async def running():
    return (await jobs().call(S.count_children)).active


async def double(n):
    return 2 * n


class Runner(ak.Actor):
    """Runs what it is given."""

    @ak.call
    async def run(self, work):
        return await work()


async def consume(node, kind, work):
    """``await work()`` in a trio task, a handler or a process."""
    if kind == "task":
        return await work()
    if kind == "actor":
        return await node.spawn(Runner).within(math.inf).call(Runner.run, work)
    got = []

    async def process(ctx):
        got.append(await work())

    await node.stopped(node.spawn(process))
    return got[0]


def source(kind, numbers):
    """A source of these numbers, sync or async."""

    async def later():
        for n in numbers:
            yield n

    return iter(numbers) if kind == "sync" else later()


async def quiet(*items):
    """Gives these numbers, and then nothing for ever."""
    for item in items:
        yield item
    await trio.sleep_forever()


def counted(fetched, kind="sync"):
    """An endless source that notes which numbers were taken."""

    def numbers():
        n = 0
        while True:
            fetched.append(n)
            yield n
            n += 1

    async def later():
        for n in numbers():
            yield n

    return numbers() if kind == "sync" else later()


async def collected(stream, seconds=math.inf):
    """What the stream gives within so many seconds, with the times."""
    began, got = trio.current_time(), []
    with trio.move_on_after(seconds):
        async for outcome in stream:
            got.append((trio.current_time() - began, outcome))
    return got


# --- Each at its own pace -------------------------------------------------------------------------


@pytest.mark.parametrize("consumer", CONSUMERS)
@pytest.mark.parametrize("ordered", ORDERS)
async def test_ready_outcomes_are_handed_out_while_the_source_is_quiet(autojump_clock, ordered, consumer):
    """A source that gives nothing more does not hold back the outcomes of what it has given."""
    async with node_of_jobs() as node:
        got = await consume(
            node, consumer, lambda: collected(ak.task_stream(jobs(), double, quiet(1, 2), ordered=ordered), 60)
        )
        assert sorted((at, each.value) for at, each in got) == [(0, 2), (0, 4)]
        assert not ordered or [each.index for _, each in got] == [0, 1]
        await settled()
        assert await running() == 0


@pytest.mark.parametrize("consumer", CONSUMERS)
@pytest.mark.parametrize("ordered", ORDERS)
async def test_a_slow_source_holds_back_nothing(autojump_clock, ordered, consumer):
    """An outcome comes as soon as it is there, not when the next item comes."""

    async def slow():
        for n in range(3):
            await trio.sleep(10)
            yield n

    async def work(n):
        await trio.sleep(1)
        return n

    async with node_of_jobs() as node:
        got = await consume(node, consumer, lambda: collected(ak.task_stream(jobs(), work, slow(), ordered=ordered)))
        assert [(round(at), each.value) for at, each in got] == [(11, 0), (21, 1), (31, 2)]


@pytest.mark.parametrize("consumer", CONSUMERS)
@pytest.mark.parametrize("on_timeout", ["raise", "kill_task"])
@pytest.mark.parametrize("ordered", ORDERS)
async def test_time_outs_come_while_the_source_is_quiet(autojump_clock, ordered, on_timeout, consumer):
    """An item times out when its time is up, not when the source gives the next item."""

    async def work():
        stream = ak.task_stream(
            jobs(), trio.sleep, quiet(math.inf), item_timeout=2, on_timeout=on_timeout, ordered=ordered
        )
        began = trio.current_time()
        try:
            async for outcome in stream:
                return trio.current_time() - began, outcome
        except ak.TaskTimeout as error:
            assert on_timeout == "raise"
            return trio.current_time() - began, error

    async with node_of_jobs() as node:
        at, outcome = await consume(node, consumer, work)
        assert isinstance(outcome, ak.TaskTimeout)
        assert at == pytest.approx(2)
        await settled()
        assert await running() == 0


@pytest.mark.parametrize("consumer", CONSUMERS)
@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("on_timeout", ["raise", "kill_task"])
@pytest.mark.parametrize("ordered", ORDERS)
async def test_time_outs_come_while_the_consumer_is_busy(autojump_clock, ordered, on_timeout, kind, consumer):
    """A task that is too slow ends when its time is up, and its outcome is TaskTimeout, however
    late the consumer asks for it.
    """
    ended = []

    async def item(n):
        try:
            await trio.sleep(0 if n == 0 else n * 1.5)
        finally:
            ended.append((n, trio.current_time()))
        return n

    async def work():
        got = []
        stream = ak.task_stream(
            jobs(),
            item,
            source(kind, range(4)),
            max_concurrency=4,
            item_timeout=2,
            on_timeout=on_timeout,
            ordered=ordered,
        )
        try:
            async for outcome in stream:
                got.append(outcome)
                await trio.sleep(100)
        except ak.TaskTimeout as error:
            got.append(error)
        return got

    async with node_of_jobs() as node:
        began = trio.current_time()
        got = await consume(node, consumer, work)
        assert [(n, round(at - began, 3)) for n, at in sorted(ended)] == [(0, 0), (1, 1.5), (2, 2), (3, 2)]
        got[2:] = sorted(got[2:], key=lambda each: each.index)
        assert [(type(each), each.index) for each in got] == [
            (ak.TaskResult, 0),
            (ak.TaskResult, 1),
            (ak.TaskTimeout, 2),
            (ak.TaskTimeout, 3),
        ][: 3 if on_timeout == "raise" else 4]


@pytest.mark.parametrize("consumer", CONSUMERS)
@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("ordered", ORDERS)
@pytest.mark.parametrize("concurrency", [1, 3])
async def test_a_busy_consumer_is_waited_for_by_a_bounded_number(autojump_clock, concurrency, ordered, kind, consumer):
    """Fetching goes on while the consumer is busy, until twice max_concurrency outcomes wait to be
    taken; each one taken makes room for another.
    """

    async def work():
        fetched = []
        async with ak.task_stream(
            jobs(), double, counted(fetched, kind), max_concurrency=concurrency, ordered=ordered
        ) as stream:
            assert fetched == []
            for taken in range(1, 8):
                outcome = await anext(stream)
                assert outcome.item == outcome.index
                assert not ordered or outcome.index == taken - 1
                await trio.sleep(1000)
                assert len(fetched) == taken + 2 * concurrency
        return True

    async with node_of_jobs() as node:
        assert await consume(node, consumer, work)
        assert await running() == 0


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_an_ordered_stream_buffers_a_bounded_number_behind_a_slow_item(autojump_clock, kind):
    """While the first item is slow, no more than the bound is fetched, and no more than
    max_concurrency tasks run.
    """
    fetched = []

    async def item(n):
        await trio.sleep(1000 if n == 0 else 1)
        return n

    async with node_of_jobs():
        async with ak.task_stream(
            jobs(), item, counted(fetched, kind), max_concurrency=3, item_timeout=math.inf
        ) as stream:
            with trio.move_on_after(900):
                await anext(stream)
            assert len(fetched) == 6
        stream = ak.task_stream(jobs(), item, source(kind, range(20)), max_concurrency=3, item_timeout=math.inf)
        assert [each.value for _, each in await collected(stream)] == list(range(20))


async def test_an_unordered_stream_is_not_held_up_by_a_slow_item(autojump_clock):
    """The slow item takes one of the running places, and no more."""

    async def item(n):
        await trio.sleep(1000 if n == 0 else 1)
        return n

    async with node_of_jobs():
        stream = ak.task_stream(jobs(), item, range(20), max_concurrency=3, item_timeout=math.inf, ordered=False)
        got = await collected(stream)
        assert sorted(each.value for _, each in got[:-1]) == list(range(1, 20))
        assert got[-1][1].value == 0
        assert round(got[-2][0]) == 10


async def test_nothing_runs_before_the_first_step(autojump_clock):
    """Before the first step neither the source, nor a task, nor a process of the stream runs, even
    if the stream is closed.
    """
    fetched = []
    async with node_of_jobs() as node:
        before = node.statistics().started
        for close in (True, False):
            stream = ak.task_stream(jobs(), double, counted(fetched))
            await trio.sleep(10)
            if close:
                await stream.aclose()
                with pytest.raises(StopAsyncIteration):
                    await anext(stream)
            del stream
            await settled()
        assert fetched == []
        assert node.statistics().started == before


async def test_several_tasks_may_share_a_stream(autojump_clock):
    """Each outcome goes to exactly one of the tasks, and all of them reach the end."""

    async def item(n):
        await trio.sleep(1)
        return n

    got = []

    async def consumer(stream):
        async for outcome in stream:
            got.append(outcome.value)

    async with node_of_jobs():
        stream = ak.task_stream(jobs(), item, range(7), max_concurrency=2)
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(consumer, stream)
        assert sorted(got) == list(range(7))


async def test_a_stream_may_be_closed_while_somebody_waits(autojump_clock):
    """A task that waits for the next outcome reaches the end when the stream is closed."""
    ended = []

    async def consumer(stream):
        ended.append(await collected(stream))

    async with node_of_jobs():
        stream = ak.task_stream(jobs(), double, quiet())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(consumer, stream)
            await settled()
            await stream.aclose()
        assert ended == [[]]


async def test_a_stream_may_be_the_source_of_another(autojump_clock):
    """A stream that is the source of another one ends with it."""
    async with node_of_jobs() as node:
        inner = ak.task_stream(jobs(), double, counted([]), max_concurrency=2)

        async def value(outcome):
            return outcome.value

        async with ak.task_stream(jobs(), value, inner, max_concurrency=2) as outer:
            del inner
            assert [(await anext(outer)).value for _ in range(3)] == [0, 2, 4]
        await settled()
        assert await running() == 0
        assert node.statistics().actors == 2


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("ordered", ORDERS)
async def test_whatever_the_paces_each_item_has_one_outcome(autojump_clock, ordered, kind, seed):
    """Whatever the source, the tasks and the consumer do, each item has one outcome, the right one,
    in order if asked for; never too many run or wait; and nothing is left, wherever the consumer
    leaves.
    """
    random = Random(seed)
    concurrency = random.randint(1, 5)
    length = random.randint(0, 25)
    leaves = random.choice([None, None, random.randint(0, 25)])
    way = random.choice(["break", "close", "cancel", "drop"])
    paces = {who: random.choice([0, 0, 0.5, 3, 30]) for who in ("source", "task", "consumer")}
    fetched = now = 0

    async def rest(who):
        if paces[who] and random.random() < 0.7:
            await trio.sleep(random.random() * paces[who])

    async def item(n):
        nonlocal now
        now += 1
        assert now <= concurrency
        try:
            await rest("task")
        finally:
            now -= 1
        if n % 7 == 3:
            raise ValueError(n)
        return -n

    def numbers():
        nonlocal fetched
        for n in range(length):
            fetched += 1
            yield n

    async def later():
        for n in numbers():
            await rest("source")
            yield n

    async def consume(got):
        stream = ak.task_stream(
            jobs(),
            item,
            numbers() if kind == "sync" else later(),
            max_concurrency=concurrency,
            item_timeout=10,
            on_timeout="kill_task",
            ordered=ordered,
        )
        if leaves == 0:
            return
        async for outcome in stream:
            got.append(outcome)
            assert fetched <= len(got) + 2 * concurrency
            await rest("consumer")
            if len(got) == leaves:
                if way == "close":
                    await stream.aclose()
                elif way == "cancel":
                    with trio.move_on_after(0):
                        await anext(stream)
                break

    got = []
    async with node_of_jobs() as node:
        await consume(got)
        await settled()
        assert now == 0
        assert node.statistics().actors == 2
        assert await running() == 0
    indexes = [each.index for each in got]
    assert indexes == sorted(indexes) or not ordered
    assert len(set(indexes)) == len(indexes)
    assert leaves is not None or sorted(indexes) == list(range(length))
    for each in got:
        assert each.item == each.index
        if isinstance(each, ak.TaskResult):
            assert each.value == -each.index
            assert each.index % 7 != 3
        elif not isinstance(each, ak.TaskTimeout):
            assert each.reason == ak.Crash("ValueError", str(each.index))


# --- Which item -----------------------------------------------------------------------------------


@pytest.mark.parametrize("ordered", ORDERS)
async def test_an_outcome_says_which_item_it_belongs_to(autojump_clock, ordered):
    """Results, failures and time-outs carry the item itself and its position."""
    items = [["fine"], ["late"], ["fails"], ["fine too"]]

    async def work(item):
        if item == ["late"]:
            await trio.sleep_forever()
        if item == ["fails"]:
            raise ValueError("told to")
        return len(item)

    async with node_of_jobs():
        stream = ak.task_stream(
            jobs(), work, items, item_timeout=1, on_timeout="kill_task", ordered=ordered, max_concurrency=4
        )
        got = [outcome for _, outcome in await collected(stream)]
        kinds = {0: ak.TaskResult, 1: ak.TaskTimeout, 2: ak.TaskFailed, 3: ak.TaskResult}
        assert {each.index: type(each) for each in got} == kinds
        assert all(each.item is items[each.index] for each in got)
        failed = next(each for each in got if each.index == 2)
        assert "it was for item 2: ['fails']" in str(failed)
        assert str(next(each for each in got if each.index == 1)).endswith("item 1: ['late']")
        assert repr(next(each for each in got if each.index == 0)) == "TaskResult(1, index=0, item=['fine'])"


async def test_a_task_of_its_own_has_no_item():
    """The outcome of a single task has None for item and index, and its repr omits them; they do
    not count in a comparison.
    """
    async with node_of_jobs():
        task = await jobs().call(S.run, double, 2)
        await task.result()
        assert (task.poll().item, task.poll().index) == (None, None)
        assert repr(task.poll()) == "TaskResult(4)"
        assert ak.TaskResult(4, item=object(), index=3) == ak.TaskResult(4)
        assert hash(ak.TaskResult(4, item=[], index=3)) == hash(ak.TaskResult(4))
        match task.poll():
            case ak.TaskResult(value):
                assert value == 4
        task = await jobs().call(S.run, double, {})
        with pytest.raises(ak.TaskFailed) as failed:
            await task.result()
        assert (failed.value.item, failed.value.index) == (None, None)
        assert "item" not in str(failed.value)


@pytest.mark.parametrize("item", ["x" * 100_000, "hostile"])
async def test_an_item_is_shown_within_bounds(item):
    """The item belongs to the caller, so its text is bounded, however large it is and whatever its
    repr does.
    """

    class Hostile:
        def __repr__(self):
            raise RuntimeError("no")

    async def fail(item):
        raise ValueError

    shown = Hostile() if item == "hostile" else item
    async with node_of_jobs():
        [(_, failed)] = await collected(ak.task_stream(jobs(), fail, [shown]))
        assert failed.item is shown
        assert len(str(failed)) < 1_000
        assert len(repr(ak.TaskResult(1, item=shown, index=0))) < 500


# --- Errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("consumer", CONSUMERS)
@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("ordered", ORDERS)
async def test_what_the_source_raises_comes_out_of_the_loop(autojump_clock, ordered, kind, consumer):
    """What the source raises comes after the outcomes that are ready, as the very same exception;
    tasks that still run are killed.
    """
    raised = KeyError("item")

    def items():
        yield 0
        yield 1
        raise raised

    async def later():
        for n in items():
            yield n

    async def work():
        got = []
        stream = ak.task_stream(
            jobs(),
            trio.sleep,
            (2 if n == 0 else 100 for n in items()) if kind == "sync" else later_seconds(),
            max_concurrency=2,
            item_timeout=math.inf,
            ordered=ordered,
        )
        with pytest.raises(KeyError) as caught:
            async for outcome in stream:
                got.append(outcome)
                await trio.sleep(10)
        assert await collected(stream) == []
        return got, caught.value

    async def later_seconds():
        async for n in later():
            yield 2 if n == 0 else 100

    async with node_of_jobs() as node:
        got, error = await consume(node, consumer, work)
        assert error is raised
        assert [each.index for each in got] == [0]
        await settled()
        assert await running() == 0


@pytest.mark.parametrize("consumer", CONSUMERS)
async def test_a_full_supervisor_ends_a_stream_in_order(autojump_clock, consumer):
    """MaxChildrenReached comes out of the loop after what is ready; tasks that had been started are
    killed.
    """

    async def work():
        with pytest.raises(ak.MaxChildrenReached):
            await collected(ak.task_stream(jobs(), trio.sleep, [100] * 3, max_concurrency=3))
        return True

    async with ak.open_node(ak.task_supervisor(name="jobs", max_children=2)) as node:
        assert await consume(node, consumer, work)
        await settled()
        assert await running() == 0


@pytest.mark.parametrize("consumer", CONSUMERS)
@pytest.mark.parametrize("waits", ["for the source", "for a task", "for nothing"])
@pytest.mark.parametrize("ordered", ORDERS)
async def test_a_supervisor_that_dies_ends_a_stream(autojump_clock, ordered, waits, consumer):
    """CalleeDied comes once each started task has its outcome, even if the source is quiet or the
    consumer busy.
    """

    async def item(n):
        if n or waits == "for a task":
            await trio.sleep(50)
        return n

    async with node_of_jobs() as node:
        supervisor = node.whereis("jobs")

        async def work():
            items = quiet(0, 1) if waits == "for the source" else counted([])
            stream = ak.task_stream(supervisor, item, items, max_concurrency=2, item_timeout=math.inf, ordered=ordered)
            got = []
            try:
                async for outcome in stream:
                    got.append(outcome)
                    if waits == "for nothing":
                        await trio.sleep(100)
            except ak.CalleeDied:
                return got

        async def kill():
            await trio.sleep(10)
            supervisor.kill()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(kill)
            began = trio.current_time()
            got = await consume(node, consumer, work)
        failed = {"for a task": 2, "for the source": 1, "for nothing": 2}[waits]
        assert [type(each) for each in got[-failed:]] == [ak.TaskFailed] * failed
        assert [each.index for each in got[:-failed]] == ([] if waits == "for a task" else [0])
        assert trio.current_time() - began == pytest.approx(300 if waits == "for nothing" else 10)
        await settled()
        assert node.statistics().actors - (consumer == "actor") == 2


async def test_a_named_supervisor_may_come_back(autojump_clock):
    """Running tasks fail with the supervisor, and the stream goes on with its successor."""

    async def item(n):
        await trio.sleep(1)
        return n

    async def slow():
        for n in range(4):
            yield n
            await trio.sleep(10)

    async with node_of_jobs() as node:
        got = []
        async for outcome in ak.task_stream(jobs(), item, slow(), max_concurrency=2):
            got.append(outcome)
            if outcome.index == 1:
                node.whereis("jobs").kill()
        assert [each.value for each in got] == [0, 1, 2, 3]


async def test_a_supervisor_that_does_not_answer_leaves_no_task_behind(autojump_clock):
    """The call times out in the consumer's loop; a task that is started later nevertheless is ended
    at once.
    """
    begun = []

    async def item(n):
        begun.append(n)
        await trio.sleep_forever()

    async with node_of_jobs() as node:
        supervisor = node.whereis("jobs")
        await ak.sys.suspend(supervisor)
        stream = ak.task_stream(jobs(), item, range(3))
        with pytest.raises(ak.CallTimeout):
            await anext(stream)
        await ak.sys.resume(supervisor)
        await settled()
        assert await running() == 0
        assert begun == []


@pytest.mark.parametrize("ordered", ORDERS)
async def test_a_stream_whose_feeder_is_killed_ends(autojump_clock, ordered):
    """The process that feeds a stream can be killed like any other actor."""
    async with node_of_jobs() as node:
        stream = ak.task_stream(jobs(), double, quiet(1), ordered=ordered)
        assert (await anext(stream)).value == 2
        [feeder] = [ref for ref in node.processes() if node.process_info(ref).kind == "task_stream"]
        feeder.kill()
        with pytest.raises(ak.CalleeDied, match="task_stream"):
            await anext(stream)


class Flushing(ak.Actor):
    """Streams what is left when it ends."""

    trap_exit = True

    def __init__(self, told):
        self.told = told

    async def terminate(self, reason):
        try:
            self.told += [each.value async for each in ak.task_stream(jobs(), double, source("async", range(3)))]
        except ak.CalleeDied as error:
            self.told.append(type(error))


@pytest.mark.parametrize("in_the_tree", [True, False])
async def test_an_actor_may_stream_in_its_last_message(autojump_clock, in_the_tree):
    """An actor may stream as long as the supervisor lives, even while the node stops."""
    told = []
    flushing = ak.child(Flushing, told)
    tree = ak.supervisor(ak.task_supervisor(name="jobs"), *([flushing] if in_the_tree else []))
    async with ak.open_node(tree) as node:
        if not in_the_tree:
            node.spawn(flushing)
    assert told == ([0, 2, 4] if in_the_tree else [ak.CalleeDied])
    assert node.statistics().actors == 0


async def test_a_node_that_has_stopped_starts_no_stream():
    """The first step raises NodeStopped."""
    async with node_of_jobs() as node:
        supervisor = node.whereis("jobs")
    with pytest.raises(ak.NodeStopped):
        await collected(ak.task_stream(supervisor, double, [1]))


# --- The source -----------------------------------------------------------------------------------


class Orders(ak.Actor):
    """Streams what comes out of its own state."""

    def __init__(self):
        self.seen = []

    async def items(self):
        for n in range(3):
            self.seen.append(self.ctx.node.statistics().actors > 0)
            await self.ctx.spawn(Runner).call(Runner.run, trio.lowlevel.checkpoint)
            yield n

    def plain(self):
        for n in range(3):
            self.ctx.spawn(Runner).kill()
            yield n

    async def leaves(self):
        yield 0
        self.ctx.exit_now(ak.Shutdown("from the source"))

    @ak.call
    async def stream(self, how):
        return [each.value async for each in ak.task_stream(jobs(), double, getattr(self, how)())]


@pytest.mark.parametrize("features", ["all", "degraded"])
@pytest.mark.parametrize("how", ["items", "plain"])
async def test_the_source_runs_as_its_consumer(how, features):
    """The source may do what the actor may: ``self.ctx``, calls, its nursery."""
    options = {} if features == "all" else {"features": Features.degraded()}
    async with node_of_jobs(**options) as node:
        orders = node.spawn(Orders)
        assert await orders.call(Orders.stream, how) == [0, 2, 4]
        await settled()
        assert node.process_info(orders).tasks == 0


async def test_a_source_that_ends_its_actor_does():
    """``ctx.exit_now`` in the source ends the consumer."""
    async with node_of_jobs() as node:
        orders = node.spawn(Orders)
        with pytest.raises(ak.CalleeDied) as died:
            await orders.call(Orders.stream, "leaves")
        assert died.value.reason == ak.Shutdown("from the source")
        await settled()
        assert await running() == 0


@pytest.mark.parametrize("consumer", CONSUMERS)
async def test_the_source_has_the_context_variables_of_its_consumer(consumer):
    """The source sees the context variables as they are at the first step."""
    variable = contextvars.ContextVar("variable", default="nobody's")
    seen = []

    async def items():
        seen.append(variable.get())
        yield 1

    def plain():
        seen.append(variable.get())
        yield 1

    async def work():
        stream = ak.task_stream(jobs(), double, items())
        variable.set("mine")
        await collected(stream)
        await collected(ak.task_stream(jobs(), double, plain()))
        return True

    async with node_of_jobs() as node:
        assert await consume(node, consumer, work)
        assert seen == ["mine", "mine"]


async def test_a_mailbox_may_be_a_source(autojump_clock):
    """A process may stream the messages it receives. If it is killed while it waits for more, it
    stays dead.
    """
    got = []

    async def process(ctx):
        async for outcome in ak.task_stream(jobs(), double, ctx):
            got.append(outcome.value)

    async with node_of_jobs() as node:
        ref = node.spawn(process)
        for n in range(3):
            ref.send(n)
        await settled()
        assert got == [0, 2, 4]
        ref.kill()
        await settled()
        assert not ref.alive
        assert not ref.send(4)
        assert node.process_info(ref) is None
        assert node.statistics().actors == 2


async def test_what_a_source_still_does_after_the_death_of_its_consumer_is_not_that_actors():
    """What the source still does after its consumer's death is not attributed to the dead actor."""
    seen = []

    class Consumer(ak.Actor):
        async def items(self, ctx):
            try:
                seen.append(ctx.node.engine.current is ctx)
                yield 0
                await trio.sleep_forever()
            finally:
                seen.append(ctx.node.engine.current is ctx)

        @ak.cast
        async def consume(self):
            await collected(ak.task_stream(jobs(), double, self.items(self.ctx)))

    async with node_of_jobs() as node:
        consumer = node.spawn(Consumer)
        consumer.cast(Consumer.consume)
        await settled()
        consumer.kill()
        await settled()
        assert seen == [True, False]


@pytest.mark.parametrize("ordered", ORDERS)
async def test_no_more_is_fetched_when_a_time_out_will_be_raised(autojump_clock, ordered):
    """Once a time-out is bound to be raised nothing more is fetched: new tasks would only be
    killed.
    """
    fetched = []

    async def item(n):
        await trio.sleep(math.inf if n == 1 else 4)

    async with node_of_jobs():
        stream = ak.task_stream(jobs(), item, counted(fetched), max_concurrency=2, item_timeout=5, ordered=ordered)
        assert (await anext(stream)).index == 0
        await trio.sleep(0.5)
        assert len(fetched) == 3
        await trio.sleep(1000)
        assert len(fetched) == 3
        with pytest.raises(ak.TaskTimeout):
            await anext(stream)


async def test_a_process_that_returns_while_its_source_is_receiving_is_dead(autojump_clock):
    """The process is dead, and anyone who still holds its stream finds the end of it."""
    kept = []

    async def process(ctx):
        kept.append(ak.task_stream(jobs(), double, ctx))
        assert (await anext(kept[0])).value == 2

    async with node_of_jobs() as node:
        ref = node.spawn(process)
        ref.send(1)
        await settled()
        assert not ref.alive
        assert not ref.send(2)
        assert await collected(kept[0]) == []
        await settled()
        assert not ref.alive
        assert node.statistics().actors == 2


@pytest.mark.parametrize("end", ["exhausted", "closed", "dropped", "cancelled", "failed"])
async def test_an_async_generator_is_closed_at_the_end(autojump_clock, end):
    """However the stream ends, the generator is closed, and it is closed once aclose returns."""
    closed = []

    async def items():
        try:
            for n in range(3):
                yield n
            if end == "failed":
                raise KeyError(3)
            if end != "exhausted":
                await trio.sleep_forever()
        finally:
            closed.append(True)

    async with node_of_jobs():
        stream = ak.task_stream(jobs(), double, items(), max_concurrency=1)
        await anext(stream)
        if end == "closed":
            await stream.aclose()
            assert closed == [True]
        elif end in ("exhausted", "cancelled"):
            await collected(stream, 10)
        elif end == "failed":
            with pytest.raises(KeyError):
                await collected(stream)
        del stream
        await settled()
        assert closed == [True]


async def test_the_rest_of_a_source_may_be_used_afterwards(autojump_clock):
    """A stream that was left through ``async with`` no longer uses its source, if the source is not
    a generator.
    """
    send, receive = trio.open_memory_channel(10)
    for n in range(3):
        send.send_nowait(n)
    async with node_of_jobs():
        async with ak.task_stream(jobs(), double, receive, max_concurrency=1) as stream:
            assert (await anext(stream)).value == 0
            await trio.sleep(1)
        send.send_nowait("more")
        assert receive.receive_nowait() == "more"


@pytest.mark.own_process
async def test_what_waits_is_on_the_account_of_its_consumer(autojump_clock):
    """Outcomes that have not been taken are charged to the actor that streams."""

    class Hoarder(ak.Actor):
        @ak.cast
        async def hoard(self):
            async def item(n):
                return bytearray(1_000_000)

            async for _ in ak.task_stream(jobs(), item, counted([]), max_concurrency=4):
                await trio.sleep_forever()

    async with node_of_jobs() as node:
        hoarder = node.spawn(Hoarder)
        hoarder.cast(Hoarder.hoard)
        await trio.sleep(5)
        assert 8_000_000 < node.process_info(hoarder, walk=True).memory.charged < 10_000_000
        spared = node.spawn(ak.child(Hoarder).with_(max_heap_size="5 MB"))
        spared.cast(Hoarder.hoard)
        await trio.sleep(5)
        assert not spared.alive


@pytest.mark.own_process
async def test_what_the_source_holds_is_on_the_account_of_its_consumer(autojump_clock):
    """What the source holds is charged to the consumer; over its limit, the consumer is killed with
    its stream.
    """

    class Reader(ak.Actor):
        async def items(self):
            kept = []
            while True:
                kept.append(bytearray(100_000))
                await trio.sleep(1)
                yield len(kept)

        @ak.cast
        async def read(self):
            async for _ in ak.task_stream(jobs(), double, self.items()):
                pass

    async with node_of_jobs() as node:
        reader = node.spawn(ak.child(Reader).with_(max_heap_size="1 MB"))
        reader.cast(Reader.read)
        await trio.sleep(7)
        assert 400_000 < node.process_info(reader, walk=True).memory.charged < 1_000_000
        await trio.sleep(10)
        assert not reader.alive
        await settled()
        assert node.statistics().actors == 2


# --- The end of a stream --------------------------------------------------------------------------


async def forever(n):
    await trio.sleep(math.inf if n else 0)
    return n


SOURCES = {
    "sync": lambda: range(6),
    "quiet": lambda: quiet(*range(4)),
    "exhausted": lambda: range(4),
}


async def begun(source="sync"):
    """A stream that has given one outcome, and whose tasks run."""
    stream = ak.task_stream(jobs(), forever, SOURCES[source](), max_concurrency=3, item_timeout=math.inf)
    assert (await anext(stream)).value == 0
    await settled()
    assert await running() == 3
    return stream


def in_thread(function):
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


class Knot:
    """Garbage in a cycle."""

    def __init__(self, held):
        self.me = self
        self.held = held


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("where", ["by count", "by the collector", "in a thread", "in trio's thread"])
async def test_a_stream_that_is_dropped_ends_its_tasks(where, source):
    """A stream dropped by its last reference or by the collector, in any thread, ends its tasks,
    its feeder and its source.
    """
    async with node_of_jobs() as node:
        gc.disable()
        try:
            knot = Knot(await begun(source))
            if where == "by count":
                knot.held = None
            del knot
            if where == "in a thread":
                in_thread(gc.collect)
            elif where == "in trio's thread":
                await trio.to_thread.run_sync(gc.collect)
            elif where == "by the collector":
                gc.collect()
        finally:
            gc.enable()
        await settled()
        assert await running() == 0
        assert node.statistics().actors == 2
        assert node.statistics().timers == 0


async def test_streams_may_be_collected_while_others_run():
    """Streams may be collected by a thread that runs the collector all the time."""
    over = threading.Event()

    def collect():
        while not over.is_set():
            gc.collect(0)
            gc.collect(1)

    thread = threading.Thread(target=collect)
    async with node_of_jobs() as node:
        thread.start()
        try:
            with trio.fail_after(100):
                for n in range(60):
                    Knot(await anext_of(n))
                    assert [each.value for _, each in await collected(squares())] == [0, 1, 4, 9]
                while await running():
                    gc.collect()
                    await settled()
        finally:
            over.set()
            thread.join()
        assert node.statistics().actors == 2
        assert node.statistics().timers == 0


def squares():
    async def square(n):
        return n * n

    return ak.task_stream(jobs(), square, range(4), max_concurrency=2)


async def anext_of(n):
    """A stream that has begun, and whose tasks would run for ever."""
    items = quiet(0, 1, 2) if n % 2 else counted([])
    stream = ak.task_stream(jobs(), forever, items, max_concurrency=2, item_timeout=math.inf)
    await anext(stream)
    return stream


async def test_a_finaliser_runs_no_code_of_the_runtime():
    """A finaliser may interrupt the runtime anywhere, so all it does is to ask trio for a call."""
    async with node_of_jobs():
        stream = await begun()
        pump = stream._pump
        del stream
        assert not pump.closed
        assert len(pump.alive) == 3
        await settled()
        assert pump.closed
        assert not pump.alive


async def test_a_finaliser_that_cannot_ask_is_found_out(autojump_clock, monkeypatch):
    """If there is no memory to ask trio, the next thing that happens in the stream ends it."""
    monkeypatch.setattr("actorkit.otp.stream_pump.Pump.dropped", lambda self: None)
    async with node_of_jobs():
        for item_timeout, ends in ((5, False), (math.inf, True)):
            stream = ak.task_stream(
                jobs(),
                trio.sleep,
                [0, 3 if ends else math.inf, *[math.inf] * 9],
                max_concurrency=3,
                item_timeout=item_timeout,
                on_timeout="kill_task",
            )
            await anext(stream)
            del stream
            await trio.sleep(10)
            assert await running() == 0


@pytest.mark.parametrize("when", ["the node has closed", "trio has ended", "the node stops"])
@pytest.mark.parametrize("thread", [False, True])
def test_a_stream_may_be_dropped_when_all_is_over(when, thread):
    """A stream dropped after the end leaves nothing to do: nothing is raised in any thread, and
    nothing hangs.
    """
    kept = []

    def drop():
        kept.clear()
        gc.collect()

    async def main():
        async with node_of_jobs() as node:
            kept.append(Knot(await begun("quiet")))
            if when == "the node stops":
                node.engine.stop.before.append(lambda: in_thread(drop) if thread else drop())
        if when == "the node has closed":
            in_thread(drop) if thread else drop()
            await settled()

    trio.run(main)
    in_thread(drop) if thread else drop()


@pytest.mark.parametrize("source", SOURCES)
async def test_a_node_stops_with_streams_that_nobody_reads(source):
    """Streams that nobody reads do not delay the stop of a node."""
    kept = []
    async with node_of_jobs() as node:
        kept.append(await begun(source))
    assert node.statistics().actors == 0
    if source == "exhausted":
        assert [type(each) for _, each in await collected(kept[0])] == [ak.TaskFailed] * 3
    else:
        with pytest.raises(ak.CalleeDied):
            await collected(kept[0])


@pytest.mark.parametrize("consumer", ["actor", "process"])
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("busy", [True, False])
async def test_a_stream_ends_with_its_actor(source, consumer, busy):
    """A stream ends with its actor even if somebody else still holds it; anyone who then reads it
    finds its end.
    """
    kept = []

    async def work():
        kept.append(await begun(source))
        if busy:
            await trio.sleep_forever()
        await collected(kept[0])

    async with node_of_jobs() as node:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(consume_and_die, node, consumer, work)
            await settled()
            while not kept:
                await settled()
            await settled()
            [victim] = [
                r for r in node.processes() if node.process_info(r).kind in ("Runner", "consume.<locals>.process")
            ]
            victim.kill()
        await settled()
        assert await running() == 0
        assert node.statistics().actors == 2
        assert await collected(kept[0]) == []


async def consume_and_die(node, consumer, work):
    with pytest.raises((ak.CalleeDied, IndexError)):
        await consume(node, consumer, work)


async def test_a_stream_that_an_actor_keeps_goes_on_between_its_messages(autojump_clock):
    """An actor may take the first step in one message, and later steps in others."""

    class Keeper(ak.Actor):
        def __init__(self):
            self.fetched = []
            self.stream = ak.task_stream(jobs(), double, counted(self.fetched, "async"), max_concurrency=2)

        @ak.call
        async def step(self):
            return (await anext(self.stream)).value

        @ak.call
        def length(self):
            return len(self.fetched)

    async with node_of_jobs() as node:
        keeper = node.spawn(Keeper)
        for n in range(5):
            assert await keeper.call(Keeper.step) == 2 * n
            await trio.sleep(10)
            assert await keeper.call(Keeper.length) == n + 5
        keeper.stop()
        await settled()
        assert node.statistics().actors == 2
        assert node.statistics().timers == 0


async def test_many_streams_leave_nothing_behind(autojump_clock):
    """Nothing is left in the consuming actor or in the supervisor, however the streams end."""

    class Consumer(ak.Actor):
        @ak.call
        async def many(self, supervisor):
            for n in range(10):
                async for _ in ak.task_stream(supervisor, double, range(3)):
                    if n % 2:
                        break

    async with node_of_jobs() as node:
        supervisor = node.whereis("jobs")
        consumer = node.spawn(Consumer)
        await consumer.within(100).call(Consumer.many, supervisor)
        await settled()
        assert not consumer.relations.at_exit
        assert len(supervisor.relations.at_exit) == 1  # its own
        assert not consumer.relations.kids
        assert node.statistics().timers == 0
        assert node.statistics().actors == 3


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_ctrl_c_in_a_source_is_its_consumers(kind):
    """KeyboardInterrupt in a source comes out of the consumer's loop, if the loop is waiting just
    then.
    """

    def items():
        raise KeyboardInterrupt
        yield

    async def later():
        for n in items():
            yield n

    async with node_of_jobs():
        with pytest.raises(KeyboardInterrupt):
            await collected(ak.task_stream(jobs(), forever, items() if kind == "sync" else later()))


@pytest.mark.parametrize("consumer", CONSUMERS)
@pytest.mark.parametrize("shape", ["generator", "async generator", "iterator", "async iterator", "iter"])
def test_ctrl_c_may_interrupt_the_source(shape, consumer):
    """The source is users' code, of whatever shape: an endless loop in it can be interrupted."""
    there = []

    def signalled():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            there.append(shape)
            raise

    def generator():
        signalled()
        yield 0

    async def async_generator():
        signalled()
        yield 0

    class Iterator:
        def __iter__(self):
            if shape == "iter":
                signalled()
            return self

        def __next__(self):
            signalled()

    class AsyncIterator:
        def __aiter__(self):
            return self

        async def __anext__(self):
            signalled()

    make = {"generator": generator, "async generator": async_generator, "async iterator": AsyncIterator}

    async def main():
        async with node_of_jobs() as node:
            await consume(
                node, consumer, lambda: collected(ak.task_stream(jobs(), double, make.get(shape, Iterator)()))
            )

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
    assert there == [shape]


@pytest.mark.parametrize("fatal", [KeyboardInterrupt, SystemExit])
def test_ctrl_c_in_a_source_is_not_lost(fatal):
    """If the consumer is busy, KeyboardInterrupt in its source ends the node and comes out
    of it.
    """

    async def main():
        busy = trio.Event()

        async def items():
            yield 0
            await busy.wait()
            raise fatal

        async with node_of_jobs():
            async with aclosing(ak.task_stream(jobs(), double, items())) as stream:
                await anext(stream)
                busy.set()
                await trio.sleep_forever()

    with pytest.raises(fatal):
        trio.run(main)
