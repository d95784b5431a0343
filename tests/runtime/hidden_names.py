"""A trio without the private names that actorkit knows: they are renamed while trio is imported.
Run as a program, with the names to hide, it goes through every door of a node.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import re
import sys
from types import ModuleType
from typing import Any

NAMES = (
    "_cancel_status",
    "_child_nurseries",
    "_children",
    "_closed",
    "_finalize_one",
    "_nested_child_finished",
    "_next_send_fn",
    "_parent_task",
    "_pending_excs",
    "_abort_func",
    "_schedule_points",
    "GLOBAL_PARKING_LOT_BREAKER",
    "GLOBAL_RUN_CONTEXT",
    "unrolled_run",
)


class Hiding(importlib.abc.MetaPathFinder):
    """Finds trio's modules, with other names in their source."""

    def __init__(self, names: list[str]) -> None:
        self.pattern = re.compile(rf"(?<![\w])({'|'.join(map(re.escape, names))})(?!\w)")

    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> Any:
        if fullname.split(".")[0] != "trio":
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or not isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            return spec
        spec.loader = Renaming(fullname, spec.loader.path, self.pattern)
        return spec


class Renaming(importlib.machinery.SourceFileLoader):
    def __init__(self, fullname: str, path: str, pattern: re.Pattern[str]) -> None:
        super().__init__(fullname, path)
        self.pattern = pattern

    def get_code(self, fullname: str) -> Any:
        source = self.get_data(self.path).decode()
        return self.source_to_code(self.pattern.sub(r"\1_of_old", source).encode(), self.path)


def hide(names: list[str]) -> None:
    assert "trio" not in sys.modules
    assert names
    sys.meta_path.insert(0, Hiding(names))


async def all_doors() -> None:
    import trio
    import trio.testing

    import actorkit as ak

    async def leaves_scope(_: Any) -> None:
        trio.CancelScope().__enter__()

    async def leaves_nursery(_: Any) -> None:
        nursery = await trio.open_nursery().__aenter__()
        nursery.start_soon(trio.sleep_forever)

    async def leaves_lock(_: Any) -> None:
        await trio.Lock().acquire()

    class All(ak.Actor):
        def __init__(self) -> None:
            self.seen: list[Any] = []

        async def init(self) -> None:
            await trio.lowlevel.checkpoint()

        def handle_info(self, message: Any) -> None:
            self.seen.append(message)

        @ak.call
        def inline(self, n: int) -> int:
            return n

        @ak.call
        async def awaits(self, n: int) -> int:
            await trio.lowlevel.checkpoint()
            return n

        @ak.cast
        def told(self, what: Any) -> None:
            self.seen.append(what)

        @ak.call
        async def nursery(self) -> int:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.task)
            return len(self.seen)

        async def task(self) -> None:
            await trio.lowlevel.checkpoint()
            assert self.ctx.alive
            self.ctx.continue_with(All.told, "continued")
            self.seen.append("task")

        @ak.call
        async def misuse(self, how: Any) -> None:
            await how(self)

        @ak.call
        async def ask(self, other: Any) -> int:
            return await other.call(All.inline, 1) + await other.within(5).call(All.awaits, 2)

        async def terminate(self, reason: ak.ExitReason) -> None:
            await trio.lowlevel.checkpoint()

    async def process(ctx: ak.ProcessContext) -> None:
        async for to in ctx:
            to.send("answer")

    async def job() -> int:
        await trio.lowlevel.checkpoint()
        return 7

    class Echo(ak.StreamActor):
        def received(self, line: bytes) -> None:
            self.write(line + b"\n")

    tree = ak.supervisor(
        ak.child(All).with_(name="kept"),
        ak.tcp_listener(Echo, port=0, max_line=100).with_(name="listener"),
        ak.task_supervisor(name="jobs"),
    )
    async with ak.open_node(tree) as node:
        a: Any = node.spawn(All)
        b: Any = node.spawn(ak.child(All).with_(max_heap_size="1 MiB", mailbox=2, overflow="wait"))
        assert await a.call(All.inline, 1) == await b.call(All.inline, 1) == 1
        assert await a.call(All.awaits, 2) == await b.call(All.awaits, 2) == 2
        assert await a.call(All.ask, b) == await b.call(All.ask, a) == 3
        for ref in (a, b):
            ref.cast(All.told, 1)
            ref.send(2)
            await ref.cast_wait(All.told, 3)
            await ref.send_wait(4)
            node.send_after(0, ref, 5)
            assert await ref.call(All.nursery) >= 4
        p: Any = node.spawn(process)
        p.send(a)
        await trio.testing.wait_all_tasks_blocked()
        assert a.obj.seen.count("answer") == 1
        assert "continued" in a.obj.seen
        jobs = ak.named(ak.TaskSupervisor, "jobs")
        assert await (await jobs.call(ak.TaskSupervisor.run, job)).result() == 7
        where = (await ak.named(ak.Listener, "listener").call(ak.Listener.addresses))[0]
        async with await trio.open_tcp_stream(*where[:2]) as stream:
            await stream.send_all(b"hello\n")
            assert await stream.receive_some() == b"hello\n"
        for how in (leaves_nursery, leaves_scope, leaves_lock):
            bad: Any = node.spawn(All)
            with trio.move_on_after(5) as scope:
                try:
                    await bad.call(All.misuse, how)
                except ak.CalleeDied:
                    pass
            assert not scope.cancelled_caught
            assert await a.call(All.awaits, 1) == 1
            bad.stop()
            await node.stopped(bad)
        with trio.move_on_after(0.01) as scope:
            await a.call(All.misuse, lambda _: trio.sleep_forever())
        assert scope.cancelled_caught
        with trio.CancelScope() as scope:
            scope.cancel()
            await b.call(All.inline, 1)
        assert scope.cancelled_caught
        a.kill()
        await node.stopped(a)
        door = node.from_thread
        assert await trio.to_thread.run_sync(lambda: door.call(b, All.inline, 3)) == 3
        try:
            await trio.to_thread.run_sync(b.stop)
        except RuntimeError as error:
            assert "from_thread" in str(error)
        else:
            raise AssertionError("stopped from a thread")


def main(names: list[str]) -> None:
    hide(names)
    import trio

    from actorkit.runtime.base.trio_internals import FEATURES

    trio.run(all_doors)
    print(FEATURES)


if __name__ == "__main__":
    main(sys.argv[1:])
