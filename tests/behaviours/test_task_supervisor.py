"""Task supervisors and streams of tasks, against what Elixir's Task suites assert (TASK)."""

from __future__ import annotations

import functools
import gc
import math
import weakref
from contextlib import aclosing

import pytest
import trio

import actorkit as ak
from tests.conformance.marks import conforms

from .actors import Notes, settled

S = ak.TaskSupervisor


async def double(n):
    return 2 * n


async def slowly(n, seconds=1.0):
    await trio.sleep(seconds)
    return n


async def fail(text="told to"):
    raise ValueError(text)


def jobs():
    return ak.named(S, "jobs")


def tree(**options):
    return ak.task_supervisor(name="jobs", **options)


async def running():
    return (await jobs().call(S.count_children)).active


# --- Results --------------------------------------------------------------------------------------


@conforms("TASK")
async def test_a_task_gives_its_result():
    """TASK: a task gives its result to anyone who asks, as often as asked; arguments are passed by
    position and by name.
    """
    async with ak.open_node(tree()):
        task = await jobs().call(S.run, slowly, 7, seconds=0)
        assert await task.result() == 7
        assert await task.result() == 7
        assert task.done
        assert task.poll() == ak.TaskResult(7)
        assert not task.ref.alive
        assert await running() == 0


@conforms("TASK")
async def test_a_running_task_has_no_outcome_yet(autojump_clock):
    """TASK: for a running task, poll is None and done is False; giving up the wait leaves the task
    running.
    """
    async with ak.open_node(tree()):
        task = await jobs().call(S.run, slowly, 1, 10)
        assert not task.done
        assert task.poll() is None
        with trio.move_on_after(1) as scope:
            await task.result()
        assert scope.cancelled_caught
        assert await running() == 1
        assert await task.result() == 1


@conforms("TASK")
async def test_a_failing_task_tells_its_reason():
    """TASK: result raises TaskFailed with the Crash; supervisor and siblings go on, and nothing is
    restarted.
    """
    async with ak.open_node(tree()) as node:
        task = await jobs().call(S.run, fail)
        with pytest.raises(ak.TaskFailed) as caught:
            await task.result()
        assert caught.value.reason == ak.Crash("ValueError", "told to")
        assert "fail" in str(caught.value)
        assert isinstance(task.poll(), ak.TaskFailed)
        assert node.statistics().restarts == 0
        assert await (await jobs().call(S.run, double, 2)).result() == 4


@conforms("TASK")
async def test_a_killed_task_has_no_result():
    """TASK: a killed task has no result, even if its function swallows the cancellation and
    returns.
    """

    async def stubborn():
        try:
            await trio.sleep_forever()
        finally:
            return 1  # noqa: B012

    async with ak.open_node(tree()):
        for function in (trio.sleep_forever, stubborn):
            task = await jobs().call(S.run, function)
            await settled()
            task.ref.kill()
            with pytest.raises(ak.TaskFailed) as caught:
                await task.result()
            assert caught.value.reason == ak.KILLED


async def test_what_is_no_async_function_fails_in_the_task():
    """A function that is not async fails the task, not the supervisor."""
    async with ak.open_node(tree()) as node:
        task = await jobs().call(S.run, len, "abc")
        with pytest.raises(ak.TaskFailed) as caught:
            await task.result()
        assert caught.value.reason.type == "TypeError"
        assert node.whereis("jobs") is not None


async def test_partials_and_closures_run():
    """Anything that returns an awaitable when it is called can be run."""
    three = 3

    async def closure():
        return three

    async with ak.open_node(tree()):
        for function, args in ((functools.partial(double, 2), ()), (closure, ()), (lambda n: double(n), (5,))):
            task = await jobs().call(S.run, function, *args)
            assert await task.result() in (4, 3, 10)


async def test_reports_name_the_function():
    """A task is labelled with its function's name."""
    async with ak.open_node(tree()) as node:
        task = await jobs().call(S.run, trio.sleep_forever)
        assert node.process_info(task.ref).kind == "sleep_forever"


@conforms("TASK")
async def test_start_gives_a_ref_and_no_result():
    """TASK: start_child runs a function for its effect only; its end is silent."""
    done = trio.Event()

    async def effect():
        done.set()

    async with ak.open_node(tree()) as node:
        ref = await jobs().call(S.start, effect)
        await done.wait()
        await node.stopped(ref)
        assert await running() == 0


@conforms("TASK")
async def test_results_do_not_leak():
    """TASK: a result that nobody asks for is freed with its handle, the arguments when the task has
    ended; no label keeps a closure alive.
    """

    class Big:
        pass

    async def echo(big):
        return big

    async with ak.open_node(tree()):
        big = Big()
        alive = weakref.ref(big)
        task = await jobs().call(S.run, echo, big)
        unasked = await jobs().call(S.run, functools.partial(echo, big))
        del big
        await task.result()
        await settled()
        assert alive() is not None
        del task, unasked
        gc.collect()
        assert alive() is None


# --- Limits and ends ----------------------------------------------------------------------------


@conforms("TASK")
async def test_a_full_supervisor_refuses():
    """TASK: run and start raise MaxChildrenReached; there is room again when a task has ended."""
    async with ak.open_node(tree(max_children=1)):
        task = await jobs().call(S.run, trio.sleep_forever)
        for method in (S.run, S.start):
            with pytest.raises(ak.MaxChildrenReached):
                await jobs().call(method, double, 1)
        with pytest.raises(ak.MaxChildrenReached):
            await jobs().call(S.run_linked, jobs(), double, 1)
        assert await task.shutdown() is None
        assert await (await jobs().call(S.run, double, 1)).result() == 2


@conforms("TASK")
async def test_shutdown_ends_a_task():
    """TASK: shutdown cancels a task where it awaits and runs its finally blocks; for a task that
    has ended it returns the outcome.
    """
    cleaned = []

    async def tidy():
        try:
            await trio.sleep_forever()
        finally:
            cleaned.append(True)

    async with ak.open_node(tree()):
        task = await jobs().call(S.run, tidy)
        await settled()
        assert await task.shutdown() is None
        assert cleaned == [True]
        assert task.poll().reason == ak.SHUTDOWN
        task = await jobs().call(S.run, trio.sleep_forever)
        assert await task.shutdown(0) is None
        assert task.poll().reason == ak.KILLED
        task = await jobs().call(S.run, double, 2)
        await task.result()
        assert await task.shutdown() == ak.TaskResult(4)
        task = await jobs().call(S.run, fail)
        await settled()
        assert (await task.shutdown()).reason.type == "ValueError"


@conforms("TASK")
async def test_shutdown_waits_for_a_shield(autojump_clock):
    """TASK: shutdown waits for what cannot be cancelled."""

    async def shielded():
        with trio.CancelScope(shield=True):
            await trio.sleep(3)

    async with ak.open_node(tree()):
        task = await jobs().call(S.run, shielded)
        await settled()
        start = trio.current_time()
        assert await task.shutdown(1) is None
        assert trio.current_time() - start == pytest.approx(3)


@conforms("TASK")
async def test_tasks_end_with_their_supervisor(autojump_clock):
    """TASK: the supervisor's shutdown ends its tasks; anyone who waits for one gets TaskFailed."""
    async with ak.open_node(ak.supervisor(tree())) as node:
        task = await jobs().call(S.run, trio.sleep_forever)
        await settled()
        jobs().stop(ak.SHUTDOWN)
        with pytest.raises(ak.TaskFailed) as caught:
            await task.result()
        assert caught.value.reason == ak.SHUTDOWN
        await settled()
        task = await jobs().call(S.run, trio.sleep_forever)
        node.whereis("jobs").kill()
        with pytest.raises(ak.TaskFailed):
            await task.result()


# --- Links ----------------------------------------------------------------------------------------


class Owner(Notes):
    """Runs tasks of its own."""

    @ak.call
    async def own(self, function, *args):
        return await jobs().call(S.run_linked, self.ctx.ref, function, *args)


class Trapping(Owner):
    trap_exit = True


@conforms("TASK")
async def test_a_linked_task_takes_its_owner_along():
    """TASK: async: the owner dies of the task's failure, but not of its normal end."""
    async with ak.open_node(tree()) as node:
        owner = node.spawn(Owner)
        assert await (await owner.call(Owner.own, double, 1)).result() == 2
        assert owner.alive
        answered = trio.Event()

        async def fail_then():
            await answered.wait()  # or the owner would not be there to answer
            await fail()

        task = await owner.call(Owner.own, fail_then)
        answered.set()
        assert await node.stopped(owner) == ak.Crash("ValueError", "told to")
        assert task.done
        assert not owner.alive


@conforms("TASK")
async def test_a_linked_task_ends_with_its_owner():
    """TASK: async: the task dies when its owner ends."""
    async with ak.open_node(tree()) as node:
        owner = node.spawn(Owner)
        task = await owner.call(Owner.own, trio.sleep_forever)
        owner.kill()
        with pytest.raises(ak.TaskFailed) as caught:
            await task.result()
        assert caught.value.reason == ak.KILLED


@conforms("TASK")
async def test_an_owner_that_traps_exits_gets_them_as_messages():
    """TASK: async: an owner that traps exits gets Exit with Normal or with the failure."""
    async with ak.open_node(tree()) as node:
        owner = node.spawn(Trapping)
        good = await owner.call(Owner.own, double, 1)
        await settled()
        bad = await owner.call(Owner.own, fail)
        await settled()
        exits = await owner.call(Notes.taken)
        assert [(e.source, type(e.reason)) for e in exits] == [(good.ref, ak.Normal), (bad.ref, ak.Crash)]


@conforms("TASK")
async def test_shutdown_of_a_linked_task_spares_its_owner():
    """TASK: shutdown unlinks the owner first."""
    async with ak.open_node(tree()) as node:
        owner, trapping = node.spawn(Owner), node.spawn(Trapping)
        for who in (owner, trapping):
            task = await who.call(Owner.own, trio.sleep_forever)
            assert await task.shutdown() is None
            assert who.alive
        assert await trapping.call(Notes.taken) == []


@conforms("TASK")
async def test_a_dead_owner_is_refused():
    """TASK: async: no task is started for a dead owner."""
    async with ak.open_node(tree()) as node:
        owner = node.spawn(Owner)
        owner.kill()
        with pytest.raises(ak.NotAlive):
            await jobs().call(S.run_linked, owner, double, 1)
        assert node.statistics().actors == 1


# --- Streams --------------------------------------------------------------------------------------


async def values(stream):
    return [each.value if isinstance(each, ak.TaskResult) else each async for each in stream]


@conforms("TASK")
async def test_a_stream_gives_outcomes_in_order(autojump_clock):
    """TASK: async_stream: outcomes come in the order of the items, however long each takes."""

    async def backwards(n):
        await trio.sleep(1 - n / 10)
        return n

    async with ak.open_node(tree()):
        assert await values(ak.task_stream(jobs(), backwards, range(8), max_concurrency=3)) == list(range(8))
        assert await values(ak.task_stream(jobs(), double, [])) == []


@conforms("TASK")
async def test_an_unordered_stream_gives_them_as_they_come(autojump_clock):
    """TASK: async_stream, ordered: false: outcomes come in the order in which tasks end."""

    async def backwards(n):
        await trio.sleep(1 - n / 10)
        return n

    async with ak.open_node(tree()):
        stream = ak.task_stream(jobs(), backwards, range(4), max_concurrency=4, ordered=False)
        assert await values(stream) == [3, 2, 1, 0]


@conforms("TASK")
@pytest.mark.parametrize("ordered", [True, False])
async def test_so_many_run_at_a_time(autojump_clock, ordered):
    """TASK: async_stream: exactly max_concurrency tasks run at a time, as long as there are
    items.
    """
    now = most = 0

    async def counted(n):
        nonlocal now, most
        now += 1
        most = max(most, now)
        await trio.sleep(1 + n % 2)
        now -= 1
        return n

    async with ak.open_node(tree()):
        start = trio.current_time()
        got = await values(ak.task_stream(jobs(), counted, range(12), max_concurrency=3, ordered=ordered))
        assert sorted(got) == list(range(12))
        assert most == 3
        assert trio.current_time() - start <= 7


@conforms("TASK")
async def test_failures_are_outcomes():
    """TASK: async_stream_nolink: a failed item has its outcome in its place, and the others
    go on.
    """

    async def odd(n):
        if n % 2:
            raise ValueError(n)
        return n

    async with ak.open_node(tree()):
        got = await values(ak.task_stream(jobs(), odd, range(4), max_concurrency=2))
        assert (got[0], got[2]) == (0, 2)
        assert [got[n].reason.message for n in (1, 3)] == ["1", "3"]


async def test_items_may_be_async_and_endless(autojump_clock):
    """Items are taken as there is room; leaving the loop kills the tasks that run."""
    taken = []

    async def numbers():
        n = 0
        while True:
            taken.append(n)
            yield n
            n += 1

    async with ak.open_node(tree()):
        async with aclosing(numbers()) as source, ak.task_stream(jobs(), slowly, source, max_concurrency=2) as stream:
            async for outcome in stream:
                if outcome.value == 3:
                    break
        assert len(taken) <= 6
        assert await running() == 0


@conforms("TASK")
@pytest.mark.parametrize("ordered", [True, False])
async def test_a_slow_item_raises(autojump_clock, ordered):
    """TASK: async_stream, timeout: TaskTimeout comes out of the loop, and all running tasks are
    killed.
    """
    async with ak.open_node(tree()):
        stream = ak.task_stream(jobs(), slowly, [9, 8, 7], max_concurrency=3, item_timeout=0.5, ordered=ordered)
        with pytest.raises(ak.TaskTimeout) as caught:
            await values(stream)
        assert caught.value.seconds == 0.5
        await settled()
        assert await running() == 0
        assert await values(stream) == []


@conforms("TASK")
@pytest.mark.parametrize("ordered", [True, False])
async def test_a_slow_item_is_killed(autojump_clock, ordered):
    """TASK: async_stream, on_timeout: :kill_task: TaskTimeout is the outcome in its place, and the
    others go on.
    """

    async def item(n):
        await trio.sleep(math.inf if n == 1 else 0.1)
        return n

    async with ak.open_node(tree()):
        got = await values(
            ak.task_stream(
                jobs(), item, range(4), max_concurrency=2, item_timeout=1, on_timeout="kill_task", ordered=ordered
            )
        )
        assert [each for each in got if not isinstance(each, ak.TaskTimeout)] == [0, 2, 3]
        assert isinstance(got[1 if ordered else 3], ak.TaskTimeout)
        await settled()
        assert await running() == 0


async def test_a_shielded_item_does_not_hold_up_the_others(autojump_clock):
    """A task that timed out and cannot be killed keeps its running place, and holds up nothing
    else.
    """

    async def item(n):
        with trio.CancelScope(shield=n == 0):
            await trio.sleep(20 if n == 0 else 0.1)
        return n

    async with ak.open_node(tree()):
        for concurrency in (1, 2):
            got = await values(
                ak.task_stream(
                    jobs(), item, range(3), max_concurrency=concurrency, item_timeout=1, on_timeout="kill_task"
                )
            )
            assert isinstance(got[0], ak.TaskTimeout)
            assert got[1:] == [1, 2]


@conforms("TASK")
@pytest.mark.parametrize("way", ["break", "raise", "cancel", "aclose", "drop", "context"])
async def test_leaving_a_stream_kills_what_runs(way):
    """TASK: async_stream: leaving a stream, in whatever way, kills its unused tasks without a
    warning.
    """

    async def item(n):
        if n:
            await trio.sleep_forever()
        return n

    async with ak.open_node(tree()):
        stream = ak.task_stream(jobs(), item, range(3), max_concurrency=3)
        if way == "break":
            async for _ in stream:
                break
        elif way == "raise":
            with pytest.raises(ZeroDivisionError):
                async for _ in stream:
                    1 / 0  # noqa: B018
        elif way == "cancel":
            with trio.CancelScope() as scope:
                async for _ in stream:
                    scope.cancel()
        elif way == "context":
            async with stream:
                async for _ in stream:
                    break
        else:
            assert await anext(stream) == ak.TaskResult(0)
            if way == "aclose":
                await stream.aclose()
                assert await running() == 0
                await stream.aclose()
        del stream
        gc.collect()
        await settled()
        assert await running() == 0


@conforms("TASK")
async def test_a_stream_in_an_actor_ends_with_it():
    """TASK: the tasks of a stream are killed with the actor that streams."""

    class Consumer(ak.Actor):
        @ak.cast
        async def consume(self):
            async for _ in ak.task_stream(jobs(), slowly, range(3), max_concurrency=3, item_timeout=math.inf):
                pass

    async with ak.open_node(tree()) as node:
        consumer = node.spawn(Consumer)
        consumer.cast(Consumer.consume)
        await settled()
        assert await running() == 3
        consumer.kill()
        await settled()
        assert await running() == 0


@conforms("TASK")
async def test_a_full_supervisor_ends_a_stream():
    """TASK: async_stream: MaxChildrenReached comes out of the loop, and tasks that had been started
    are killed.
    """
    async with ak.open_node(tree(max_children=2)):
        with pytest.raises(ak.MaxChildrenReached):
            await values(ak.task_stream(jobs(), slowly, range(3), max_concurrency=3))
        await settled()
        assert await running() == 0


async def test_items_that_raise_end_a_stream():
    """An exception from iterating over the items comes out of the loop, and started tasks are
    killed.
    """

    def items():
        yield 1
        raise KeyError("item")

    async with ak.open_node(tree()):
        with pytest.raises(KeyError):
            await values(ak.task_stream(jobs(), slowly, items(), max_concurrency=3))
        await settled()
        assert await running() == 0


@pytest.mark.parametrize(
    "options",
    [{"max_concurrency": 0}, {"max_concurrency": 1.5}, {"item_timeout": 0}, {"on_timeout": "exit"}],
)
def test_bad_options_of_a_stream(options):
    """Bad options of a stream are refused at once."""
    with pytest.raises(ValueError, match=next(iter(options))):
        ak.task_stream(jobs(), double, [], **options)
