"""Deaths for the node's sake: who dies along, what such deaths count for, and what a gate learns of
them.
"""

from __future__ import annotations

from typing import Any

import pytest
import trio

import actorkit as ak
from actorkit.governor.radius import below, is_critical, radius_of

PRESSURE = ak.MemoryPressure(ak.MemoryLevel.KILL, 1_000, "a test")


class Leaf(ak.Actor):
    @ak.call
    def here(self) -> ak.Ref[Any]:
        return self.ctx.ref

    @ak.call
    def tie(self, other: ak.Ref[Any]) -> None:
        self.ctx.link(other)

    @ak.call
    def become(self, priority: ak.Priority) -> ak.Priority:
        self.ctx.priority = priority
        return self.ctx.priority


class Trapping(Leaf):
    trap_exit = True


def leaf(name: str, **changes: Any) -> ak.ChildSpec[Leaf]:
    return ak.child(Leaf).with_(name=name, **changes)


async def ref(name: str) -> Any:
    return await ak.named(Leaf, name).call(Leaf.here)


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
async def test_the_radius_follows_the_strategy(strategy: Any) -> None:
    tree = ak.supervisor(leaf("a"), ak.supervisor(leaf("b1")).with_(name="b"), leaf("c"), strategy=strategy)
    async with ak.open_node(tree) as node:
        names = {one: name for name in ("a", "b", "b1", "c") if (one := node.whereis(name))}
        reached = {names[one] for one in radius_of(await ref("a"))}
        assert reached == ({"a"} if strategy == "one_for_one" else {"a", "b", "b1", "c"})
        reached = {names[one] for one in radius_of(await ref("c"))}
        assert reached == ({"a", "b", "b1", "c"} if strategy == "one_for_all" else {"c"})


async def test_the_radius_follows_links_to_those_who_do_not_trap() -> None:
    async with ak.open_node() as node:
        one, two, three = node.spawn(Leaf), node.spawn(Leaf), node.spawn(Leaf)
        stout = node.spawn(Trapping)
        behind = node.spawn(Leaf)
        await one.call(Leaf.tie, two)
        await two.call(Leaf.tie, three)
        await two.call(Leaf.tie, stout)
        await stout.call(Leaf.tie, behind)
        assert set(radius_of(one)) == {one, two, three}  # type: ignore[arg-type]
        node.engine.end_now(one, PRESSURE)  # type: ignore[arg-type]
        assert [r.alive for r in (one, two, three, stout, behind)] == [False, False, False, True, True]


async def test_who_is_below_a_supervisor() -> None:
    inner = ak.supervisor(leaf("x"), leaf("y")).with_(name="inner")
    async with ak.open_node(ak.supervisor(inner, leaf("z")).with_(name="top")) as node:
        names = {one: name for name in ("inner", "x", "y", "z") if (one := node.whereis(name))}
        assert [names[one] for one in below(node.whereis("top"))] == ["inner", "z", "x", "y"]  # type: ignore[arg-type]
        assert is_critical(node.whereis("inner"))  # type: ignore[arg-type]
        assert not is_critical(node.whereis("x"))  # type: ignore[arg-type]


async def test_a_priority_comes_from_the_spec_and_may_change() -> None:
    async with ak.open_node(ak.supervisor(leaf("a", priority=ak.Priority.LOW))):
        one = await ref("a")
        assert one.memory_priority is ak.Priority.LOW
        assert await one.call(Leaf.become, ak.Priority.CRITICAL) is ak.Priority.CRITICAL
        assert is_critical(one)


@pytest.mark.parametrize("kind", ["static", "dynamic"])
async def test_restarts_for_the_nodes_sake_do_not_count(kind: str) -> None:
    """Ten such deaths do not end the supervisor, where three others would; the gate is told that
    the node was the cause.
    """
    told: list[bool] = []

    async with ak.open_node(
        ak.supervisor(leaf("a")) if kind == "static" else ak.dynamic_supervisor().with_(name="many")
    ) as node:
        if kind == "dynamic":
            await ak.named(ak.DynamicSupervisor, "many").call(ak.DynamicSupervisor.start_child, leaf("a"))
        gate = node.restart_gate

        class Listening:
            def hold(self, spec: Any, delay: float, go: Any, counts: bool = True, key: Any = None) -> Any:
                told.append(counts)
                return gate.hold(spec, delay, go, counts, key)

        node.engine.restart_gate = Listening()
        with trio.fail_after(60):
            for _ in range(10):
                async with node.subscribe(ak.ChildRestarted) as restarts:
                    node.engine.end_now(await ref("a"), PRESSURE)
                    await anext(restarts)
            async with node.subscribe(ak.ChildRestarted) as restarts:
                (await ref("a")).kill()
                await anext(restarts)
    assert told == [False] * 10 + [True]


async def test_dynamic_children_that_differ_in_limit_or_priority_only_do_not_share_them() -> None:
    async with ak.open_node(ak.dynamic_supervisor().with_(name="many")) as node:
        many = ak.named(ak.DynamicSupervisor, "many")
        spec = ak.child(Leaf)
        one = await many.call(ak.DynamicSupervisor.start_child, spec.with_(max_heap_size="1 MiB"))
        two = await many.call(
            ak.DynamicSupervisor.start_child, spec.with_(max_heap_size="2 MiB", priority=ak.Priority.LOW)
        )
        sizes = [node.process_info(r).max_heap_size for r in (one, two)]  # type: ignore[union-attr]
        assert sizes == [2**20, 2**21]
        assert two.memory_priority is ak.Priority.LOW


async def test_watching_memory_ends_with_the_actor() -> None:
    class Cache(ak.Actor):
        def init(self) -> None:
            self.ctx.watch_memory()

        @ak.call
        def enough(self) -> None:
            self.ctx.watch_memory(False)

    async with ak.open_node() as node:
        one, two = await node.start(Cache), await node.start(Cache)
        assert list(node.engine.memory_watchers) == [one, two]
        assert one is not None
        assert two is not None
        await one.call(Cache.enough)
        two.kill()
        assert not node.engine.memory_watchers


@pytest.mark.parametrize(
    "changes", [{"memory_quota": "1 MiB"}, {"priority": "low"}, {"memory_quota": 0, "kind": "supervisor"}]
)
def test_specs_that_cannot_be_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ak.InvalidChildSpec, match=next(iter(changes))):
        ak.child(Leaf).with_(**changes)
