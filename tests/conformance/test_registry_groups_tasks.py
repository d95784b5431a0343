"""Elixir's registry, partition_supervisor, task and task/supervisor tests, and OTP's pg_SUITE (REG,
PART, TASK, PG): what tests/behaviours does not assert, and where ours differs.
"""

from __future__ import annotations

import gc

import pytest
import trio

import actorkit as ak
from tests.behaviours.actors import Idle, Notes, settled
from tests.conformance.marks import conforms, differs

R = ak.Registry
G = ak.ProcessGroups
P = ak.PartitionSupervisor
T = ak.TaskSupervisor
DIED = ak.Failure("died")


def registry():
    return ak.named(R, "r")


def groups():
    return ak.named(G, "g")


def jobs():
    return ak.named(T, "jobs")


# --- Registry -------------------------------------------------------------------------------------


@conforms("REG-U")
@differs("REG-U")
async def test_a_unique_registry():
    """No key is reserved. Matches are counted by the result's length, and unregistered one by one.
    A registered actor is not linked. A registry that does not exist is NoProc, where Elixir raises
    ArgumentError.
    """
    async with ak.open_node(ak.registry(name="r")) as node:
        one, two = node.spawn(Idle), node.spawn(Idle)
        reserved = ["_", "$1", None, ..., ("_", "$1"), "registry"]
        for n, key in enumerate(reserved):
            await registry().call(R.register, one, key, n)
        for n, key in enumerate(reserved):
            assert await registry().call(R.lookup, key) == [(one, n)]
        matched = await registry().call(R.match, lambda key, who, value: who is one and value % 2)
        assert [(key, value) for key, _, value in matched] == [("$1", 1), (..., 3), ("registry", 5)]
        for key, who, _ in matched:
            await registry().call(R.unregister, who, key)
        assert await registry().call(R.count) == 3
        for bad in (lambda: 1, lambda key: key, None):
            with pytest.raises(ak.CallbackFailed):
                await registry().call(R.match, bad)
        assert node.process_info(one).links == ()
        got = []
        await R.dispatch(registry(), "_", got.extend)
        assert got == [(one, 0)]
        one.kill()
        await registry().call(R.register, two, "_", "at once")
        assert await registry().call(R.lookup, "_") == [(two, "at once")]
        with pytest.raises(ak.CalleeDied) as died:
            await ak.named(R, "nowhere").call(R.lookup, "_")
        assert died.value.reason == ak.NOPROC


@conforms("REG-D")
@differs("REG-D")
@pytest.mark.parametrize("keys", [("duplicate", "x"), "duplicates", 7])
async def test_a_duplicate_registry(keys):
    """Dispatch gets all entries of a key at once; it is never parallel. Unknown kinds are
    refused.
    """
    with pytest.raises(ak.InvalidChildSpec):
        ak.registry(keys, name="r")
    async with ak.open_node(ak.registry("duplicate", name="r")) as node:
        refs = [node.spawn(Idle) for _ in range(3)]
        for n, ref in enumerate([*refs, *refs]):
            await registry().call(R.register, ref, "key", n)
            await registry().call(R.register, ref, "other", n)
        calls = []
        await R.dispatch(registry(), "key", calls.append)
        ((entries),) = calls
        assert sorted(entries, key=lambda entry: entry[1]) == [(refs[n % 3], n) for n in range(6)]
        with pytest.raises(KeyError):
            await R.dispatch(registry(), "key", lambda entries: {}["missing"])
        refs[0].kill()
        assert await registry().call(R.count) == 8


@conforms("REG-L")
@differs("REG-L")
async def test_what_a_lock_would_do():
    """There is no lock: a call to the registry is one step, so calls of update_value and register
    on one key come one after the other. A call that raises and a holder that ends leave nothing
    locked.
    """
    async with ak.open_node(ak.registry(name="r")) as node:
        one = node.spawn(Idle)
        await registry().call(R.register, one, "key", 0)

        async def add():
            await registry().call(R.update_value, one, "key", lambda value: value + 1)

        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(add)
        assert await registry().call(R.values, one, "key") == [100]
        with pytest.raises(ak.CallbackFailed):
            await registry().call(R.update_value, one, "key", lambda value: 1 / 0)
        await add()
        assert await registry().call(R.values, one, "key") == [101]
        winners = []

        async def claim(ref):
            try:
                await registry().call(R.register, ref, "claimed")
            except ak.AlreadyRegistered:
                return
            winners.append(ref)

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(claim, node.spawn(Idle))
        assert len(winners) == 1
        winners[0].cast(Idle.crash)
        await settled()
        assert await registry().call(R.lookup, "claimed") == []
        await registry().call(R.register, one, "claimed")


# --- pg -------------------------------------------------------------------------------------------


@conforms("PG")
async def test_leaving_and_ending_at_once():
    """A leave of a member that ends meanwhile either works or raises NotJoined; in the end the
    group is empty.
    """
    async with ak.open_node(ak.process_groups(name="g")) as node:
        for n in range(50):
            one = node.spawn(Idle)
            await groups().call(G.join, "a", one)
            one.cast(Idle.crash) if n % 2 else one.kill()
            try:
                await groups().call(G.leave, "a", one)
            except ak.NotJoined:
                pass
            await settled()
            assert await groups().call(G.members, "a") == []
        assert await groups().call(G.which_groups) == []


@conforms("PG")
async def test_a_thundering_herd():
    """A thousand actors join and leave many groups at once: the memberships add up, and nothing is
    left at the end.
    """

    class Member(ak.Actor):
        @ak.cast
        async def come_and_go(self, number):
            for group in range(number % 5 + 1):
                await groups().call(G.join, group, self.ctx.ref)
            if number % 2:
                await groups().call(G.leave, 0, self.ctx.ref)

    async with ak.open_node(ak.process_groups(name="g")) as node:
        members = [node.spawn(Member) for _ in range(1000)]
        for n, ref in enumerate(members):
            ref.cast(Member.come_and_go, n)
        await settled()
        sizes = [len(await groups().call(G.members, group)) for group in range(5)]
        assert sizes == [500, 800, 600, 400, 200]
        for ref in members[::2]:
            ref.stop()
        await settled()
        assert await groups().call(G.members, 0) == []
        for ref in members[1::2]:
            ref.kill()
        assert await groups().call(G.which_groups) == []
        assert node.statistics().crashes == 0


# --- PartitionSupervisor --------------------------------------------------------------------------


@conforms("PART")
@differs("PART")
async def test_a_partition_supervisor():
    """A partition supervisor's id is its name. It never shuts itself down, so it has no flag for
    that. It can be stopped, and then it is gone. It cannot be resized.
    """
    spec = ak.partition_supervisor(ak.child(Idle), name="cells", partitions=2)
    assert (spec.id, spec.kind) == ("cells", "supervisor")
    with pytest.raises(TypeError):
        ak.partition_supervisor(ak.child(Idle), name="cells", auto_shutdown="any_significant")
    with pytest.raises(TypeError):
        ak.partition_supervisor(name="cells")
    with pytest.raises(ak.InvalidChildSpec):
        ak.partition_supervisor(ak.child(Idle), name="")
    with pytest.raises(ak.InvalidChildSpec):
        ak.partition_supervisor(ak.child(Idle).with_(restart="transient", significant=True), name="cells")
    assert not hasattr(P, "resize")
    async with ak.open_node(ak.supervisor(spec.with_(restart="temporary"))) as node:
        ref = node.whereis("cells")
        registry_ref = await node.start(ak.registry(name="r"))
        await registry_ref.call(R.register, ref, "cells")
        assert await ak.via(P, "r", "cells").call(P.partitions) == 2
        ref.stop(ak.SHUTDOWN)
        await node.stopped(ref)
        for call in (ak.named(P, "cells").call(P.partitions), ak.partitioned(Idle, "cells", 0).call(Idle.number)):
            with pytest.raises(ak.CalleeDied) as died:
                await call
            assert died.value.reason == ak.NOPROC


# --- Task -----------------------------------------------------------------------------------------


async def ends(how):
    if how == "reply":
        return "reply"
    if how == "error":
        raise RuntimeError("oops")
    await trio.sleep_forever()
    return None


@conforms("TASK")
@differs("TASK")
async def test_await(autojump_clock):
    """A wait with a deadline leaves the task as it is and leaves nothing behind. Anybody may wait
    again; in Elixir only the owner may wait, and once. Errors are reasons with their text.
    """
    async with ak.open_node(ak.task_supervisor(name="jobs")) as node:
        watcher = node.spawn(Notes)
        task = await jobs().call(T.run, ends, "never")
        for _ in range(3):
            with pytest.raises(trio.TooSlowError), trio.fail_after(5):
                await task.result()
        assert await watcher.call(Notes.taken) == []
        assert node.process_info(task.ref).monitored_by == node.process_info(task.ref).links == ()
        assert node.statistics().pending_calls == 0
        got = []

        class Other(ak.Actor):
            @ak.call
            async def wait(self, task):
                with pytest.raises(ak.TaskFailed) as failed:
                    await task.result()
                got.append(failed.value.reason)

        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(node.spawn(Other).call, Other.wait, task)
            await settled()
            task.ref.exit(DIED)
        assert got == [DIED, DIED]
        task = await jobs().call(T.run, ends, "error")
        with pytest.raises(ak.TaskFailed, match="oops") as failed:
            await task.result()
        assert failed.value.reason == ak.Crash("RuntimeError", "oops")


@conforms("TASK")
async def test_many_tasks(autojump_clock):
    """Waiting for many tasks gives their results in the order of the tasks; after a deadline, poll
    gives those that are ready.
    """

    async def takes(seconds):
        await trio.sleep(seconds)
        return seconds

    async with ak.open_node(ak.task_supervisor(name="jobs")):
        tasks = [await jobs().call(T.run, takes, seconds) for seconds in (3, 1, 2)]
        began = trio.current_time()
        assert [await task.result() for task in tasks] == [3, 1, 2]
        assert trio.current_time() - began == pytest.approx(3)
        tasks = [await jobs().call(T.run, takes, seconds) for seconds in (1, 9, 2)]
        await trio.sleep(5)
        assert [task.poll() for task in tasks] == [ak.TaskResult(1), None, ak.TaskResult(2)]
        assert [await task.shutdown(0) for task in tasks] == [ak.TaskResult(1), None, ak.TaskResult(2)]
        assert tasks[1].poll().reason == ak.KILLED


@conforms("TASK")
@pytest.mark.parametrize("seconds", [5.0, 0, 0.1])
@pytest.mark.parametrize("before", ["running", "reply", "error", "exit", "killed", "shutdown"])
async def test_shutdown_of_a_task(autojump_clock, seconds, before):
    """shutdown of a task that has ended returns its outcome. A running task is shut down, or killed
    if it has no time. A second shutdown answers the same.
    """
    async with ak.open_node(ak.task_supervisor(name="jobs")):
        task = await jobs().call(T.run, ends, before)
        await settled()
        for way, act in (
            ("exit", lambda: task.ref.exit(DIED)),
            ("killed", lambda: task.ref.kill()),
            ("shutdown", lambda: task.ref.exit(ak.SHUTDOWN)),
        ):
            if before == way:
                act()
        await settled()
        outcome = await task.shutdown(seconds)
        if before == "reply":
            assert outcome == ak.TaskResult("reply")
        elif before == "running":
            assert outcome is None
            assert task.poll().reason == (ak.KILLED if seconds == 0 else ak.SHUTDOWN)
        else:
            expected = {"exit": DIED, "killed": ak.KILLED, "shutdown": ak.SHUTDOWN}.get(before)
            assert outcome.reason == (expected or ak.Crash("RuntimeError", "oops"))
        assert repr(await task.shutdown(seconds)) in (repr(outcome), repr(task.poll()), "None")
        assert task.done


@conforms("TASK")
@differs("TASK")
async def test_children_of_a_task_supervisor(autojump_clock):
    """Tasks are temporary and have five seconds to end. None is restarted: restarting children
    belong to a dynamic supervisor. The parent takes the place of $callers and $ancestors.
    """
    ended = []

    async def tidy(seconds):
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(seconds)
            ended.append(seconds)

    async with ak.open_node(ak.supervisor(ak.task_supervisor(name="jobs").with_(restart="temporary"))) as node:
        ref = node.whereis("jobs")
        quick = await jobs().call(T.start, tidy, 1)
        task = await jobs().call(T.run, tidy, 2)
        assert {info.restart for info in await jobs().call(T.which_children)} == {"temporary"}
        assert node.process_info(quick).parent == node.process_info(task.ref).parent == ref.pid
        await settled()
        began = trio.current_time()
        ref.stop(ak.SHUTDOWN)
        await node.stopped(ref)
        assert sorted(ended) == [1, 2]
        assert trio.current_time() - began == pytest.approx(2)


@conforms("TASK")
async def test_streams_leave_nothing_behind(autojump_clock):
    """No task, no message in any mailbox and no timer is left, whether the stream ended, was left
    early, or failed.
    """

    async def item(n):
        await trio.sleep(n)
        return n

    class Consumer(Notes):
        @ak.call
        async def consume(self, take, **options):
            got = []
            async with ak.task_stream(jobs(), item, range(6), **options) as stream:
                async for outcome in stream:
                    got.append(outcome)
                    if len(got) == take:
                        break
            return got

    async with ak.open_node(ak.task_supervisor(name="jobs")) as node:
        consumer = node.spawn(Consumer)
        long = consumer.within(100)
        assert [r.value for r in await long.call(Consumer.consume, 99, max_concurrency=3, item_timeout=9)] == [
            0,
            1,
            2,
            3,
            4,
            5,
        ]
        assert [r.value for r in await long.call(Consumer.consume, 2, max_concurrency=6, item_timeout=9)] == [0, 1]
        killed = await long.call(Consumer.consume, 99, max_concurrency=6, item_timeout=2.5, on_timeout="kill_task")
        assert [isinstance(each, ak.TaskTimeout) for each in killed] == [False] * 3 + [True] * 3
        with pytest.raises(ak.CalleeDied) as died:
            await long.call(Consumer.consume, 99, max_concurrency=6, item_timeout=2.5)
        assert "TaskTimeout" in died.value.reason.type
        await settled()
        gc.collect()
        assert (await jobs().call(T.count_children)).active == 0
        assert node.statistics().actors == 1
        assert node.statistics().timers == 0
        assert node.statistics().dead_letters == 0
