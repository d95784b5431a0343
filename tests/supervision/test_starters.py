"""Each child gets its own options, and the starters that are kept for later children hold nothing
that was made for an earlier one.
"""

from __future__ import annotations

import functools
import gc
import math
import weakref
from collections.abc import Callable
from typing import Any

import attrs
import pytest
import trio

import actorkit as ak
from actorkit.policy.supervision.actor_options import ActorOptions
from actorkit.policy.supervision.child_spec import ChildSpecChanges
from actorkit.runtime.life.starter_cache import GENERATION, StarterCache
from tests.effort import times

from .kit import D, S

T = ak.TaskSupervisor


class Plain(ak.Actor):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.given = (args, kwargs)


class Other(Plain):
    pass


OPTIONS: dict[str, tuple[Any, Any]] = {
    "id": ("one", "two"),
    "kind": ("worker", "supervisor"),
    "name": ("first", "second"),
    "init_timeout": (1.0, 2.0),
    "scheduling": ("low", "high"),
    "mailbox": (5, math.inf),
    "overflow": ("wait", "drop_oldest"),
    "max_heap_size": ("1 MiB", "2 MiB"),
    "priority": (ak.Priority.LOW, ak.Priority.HIGH),
    "memory_quota": ("64 MiB", None),
    "options": ({"x": 1}, {"x": 2}),
}
"""Two values of each option that a running actor has."""

OF_THE_SUPERVISOR: dict[str, tuple[Any, Any]] = {
    "start": (Plain, Other),
    "args": ((1,), (2,)),
    "kwargs": ({"a": 1}, {"a": 2}),
    "restart": ("transient", "temporary"),
    "shutdown": (1.0, 2.0),
    "significant": (True, False),
    "backoff": (ak.Backoff(first=1.0), None),
}
"""Two values of each of the other fields of a spec."""


def two_specs(field: str, values: tuple[Any, Any], **more: Any) -> list[ak.ChildSpec[Any]]:
    more = {"restart": "temporary", **more}
    if field == "memory_quota":
        more["kind"] = "supervisor"
    return [ak.child(Plain).with_(**{**more, field: value}) for value in values]


def test_no_field_is_forgotten_here() -> None:
    """A new option needs two values above, so that the tests below try it."""
    assert set(OPTIONS) == {field.name for field in attrs.fields(ActorOptions)}
    fields = {field.name for field in attrs.fields(ak.ChildSpec) if field.init}
    assert set(OPTIONS) | set(OF_THE_SUPERVISOR) == fields == set(ChildSpecChanges.__annotations__)


@pytest.mark.parametrize("how", ["dynamic", "static", "spawn", "start"])
@pytest.mark.parametrize("field", [field.name for field in attrs.fields(ActorOptions)])
async def test_each_child_has_its_own_options(field: str, how: str) -> None:
    """Two children of one class, under one supervisor or one node, differ in one option."""
    specs = two_specs(field, OPTIONS[field])
    if how == "static" and field != "id":
        specs = [spec.with_(id=number) for number, spec in enumerate(specs)]
    tree = ak.supervisor(ak.dynamic_supervisor().with_(name="dynamic"))
    async with ak.open_node(tree.with_(name="static")) as node:
        refs: list[Any] = []
        for spec in [*specs, *([] if field == "name" or how == "static" else specs)]:
            match how:
                case "dynamic":
                    refs.append(await ak.named(D, "dynamic").call(D.start_child, spec))
                case "static":
                    refs.append(await ak.named(S, "static").call(S.start_child, spec))
                case "spawn":
                    refs.append(node.spawn(spec))
                case "start":
                    refs.append(await node.start(spec))
        for spec, ref in zip([*specs, *specs], refs, strict=False):
            assert getattr(ref.kind.options, field) == getattr(spec, field)
            assert ref.kind.options == spec.actor_options()
        assert len({id(ref.kind) for ref in refs}) >= 2


@pytest.mark.parametrize("field", sorted(OF_THE_SUPERVISOR))
async def test_each_child_has_its_own_treatment(field: str) -> None:
    """Two children of one supervisor differ in what the supervisor does with them."""
    values = OF_THE_SUPERVISOR[field]
    specs = [
        ak.child(Plain).with_(**{"restart": "transient", "id": number, field: value})
        for number, value in enumerate(values)
    ]
    tree = ak.supervisor(ak.dynamic_supervisor(), auto_shutdown="any_significant")
    async with ak.open_node(tree.with_(name="static")):
        top = ak.named(S, "static")
        for spec in specs:
            ref: Any = await top.call(S.start_child, spec)
            assert await top.call(S.get_childspec, spec.id) == spec
            assert type(ref.obj) is spec.start
            assert ref.obj.given == (spec.args, dict(spec.kwargs))


async def test_each_supervisor_has_its_own_quota() -> None:
    """Each supervisor has its own quota. Fault: the quota of the first child was that of all."""
    async with ak.open_node(ak.supervisor(ak.dynamic_supervisor().with_(name="top"))) as node:
        quotas = ("64 MiB", "1 MiB", None)
        specs = [ak.dynamic_supervisor().with_(memory_quota=quota) for quota in quotas]
        refs = [await ak.named(D, "top").call(D.start_child, spec) for spec in specs]
        assert [ref.kind.options.memory_quota for ref in refs] == [64 << 20, 1 << 20, None]  # type: ignore[union-attr]
        assert [node.quotas.get(ref) for ref in refs] == [64 << 20, 1 << 20, None]  # type: ignore[arg-type]


# --- what is kept ---------------------------------------------------------------------------------


class Big:
    """The large object that a closure holds."""


class Alive:
    """Counts the large objects that are still alive."""

    def __init__(self) -> None:
        self.references: list[weakref.ref[Any]] = []

    def big(self) -> Big:
        big = Big()
        self.references.append(weakref.ref(big))
        return big

    def left(self) -> int:
        gc.collect()
        return sum(reference() is not None for reference in self.references)


def closure(alive: Alive) -> Any:
    big = alive.big()

    async def process(ctx: Any) -> None:
        assert big

    return process


def with_default(alive: Alive) -> Any:
    async def process(ctx: Any, big: Any = None) -> None:
        assert big

    process.__defaults__ = (alive.big(),)
    return process


async def module_process(ctx: Any, big: Any = None) -> None: ...


def a_partial(alive: Alive) -> Any:
    return ak.ChildSpec(functools.partial(module_process, big=alive.big()), id="partial", restart="temporary")


class Holder:
    def __init__(self, big: Any) -> None:
        self.big = big

    async def process(self, ctx: Any) -> None: ...

    def __call__(self) -> Plain:
        return Plain()


def bound_method(alive: Alive) -> Any:
    return Holder(alive.big()).process


def named_like_a_modules(alive: Alive) -> Any:
    """A wrapper that claims to be ``module_process``."""
    big = alive.big()

    @functools.wraps(module_process)
    async def wrapper(ctx: Any) -> None:
        assert big

    return wrapper


class OddId:
    def __init__(self, big: Any) -> None:
        self.big = big


def odd_id(alive: Alive) -> Any:
    return ak.child(module_process).with_(id=OddId(alive.big()), restart="temporary")


def odd_options(alive: Alive) -> Any:
    return ak.child(module_process).with_(options={"x": alive.big()}, restart="temporary")


SHAPES = [closure, with_default, a_partial, bound_method, named_like_a_modules, odd_id, odd_options]
DOORS = ["spawn", "start", "ctx.spawn", "dynamic", "transient", "static", "tasks"]


def as_spec(start: Any) -> ak.ChildSpec[Any]:
    return start if isinstance(start, ak.ChildSpec) else ak.child(start)


async def begin(door: str, node: ak.Node, start: Any, number: int) -> Any:
    match door:
        case "spawn":
            return node.spawn(start)
        case "start":
            return await node.start(start)
        case "ctx.spawn":
            return await ak.named(Spawner, "spawner").call(Spawner.begin, start)
        case "dynamic":
            return await ak.named(D, "dynamic").call(D.start_child, as_spec(start).with_(restart="temporary"))
        case "transient":
            return await ak.named(D, "dynamic").call(D.start_child, as_spec(start).with_(restart="transient"))
        case "static":
            spec = as_spec(start).with_(restart="temporary")
            if not isinstance(spec.id, OddId):
                spec = spec.with_(id=number)
            return await ak.named(S, "top").call(S.start_child, spec)
        case "tasks":
            return (await ak.named(T, "tasks").call(T.run, functools.partial(start, None))).ref


class Spawner(ak.Actor):
    @ak.call
    def begin(self, start: Any) -> Any:
        return self.ctx.spawn(start)


def tree_of_all() -> ak.ChildSpec[Any]:
    return ak.supervisor(
        ak.dynamic_supervisor().with_(name="dynamic"),
        ak.task_supervisor(name="tasks"),
        ak.child(Spawner).with_(name="spawner"),
        max_restarts=1_000_000,
    ).with_(name="top")


async def spawn_many(door: str, shape: Callable[[Alive], Any], count: int, batch: int = 250) -> Alive:
    alive = Alive()
    async with ak.open_node(tree_of_all()) as node:
        for first in range(0, count, batch):
            refs = [await begin(door, node, shape(alive), first + number) for number in range(batch)]
            for ref in refs:
                await node.stopped(ref)
            del refs
        await trio.testing.wait_all_tasks_blocked()
        assert alive.left() <= 1, f"{alive.left()} of {count} are still held"
    return alive


def cases() -> list[Any]:
    """Each shape at each door; a task is started from a function, not from a spec."""
    no_functions = (a_partial, odd_id, odd_options)
    pairs = [(door, shape) for door in DOORS for shape in SHAPES if door != "tasks" or shape not in no_functions]
    return [pytest.param(door, shape, id=f"{door}-{shape.__name__}") for door, shape in pairs]


@pytest.mark.parametrize(("door", "shape"), cases())
async def test_nothing_that_was_made_for_one_start_is_kept(door: str, shape: Callable[[Alive], Any]) -> None:
    """When its actor has ended, nothing that a start holds is kept, nor its id."""
    await spawn_many(door, shape, 40, batch=20)


@pytest.mark.parametrize("door", DOORS)
async def test_many_closures_leave_nothing_behind(door: str) -> None:
    """Closures leave nothing behind at any door that starts an actor: 10,000 of them under
    ``prove``.
    """
    alive = await spawn_many(door, closure, times(500))
    assert len(alive.references) == times(500)


def local_class(alive: Alive) -> type[ak.Actor]:
    big = alive.big()

    class Local(ak.Actor):
        def __init__(self) -> None:
            assert big

    return Local


@pytest.mark.parametrize("door", ["spawn", "dynamic"])
async def test_what_is_kept_is_bounded(door: str) -> None:
    """At most two generations of classes are kept; a class that is in use stays."""
    alive = Alive()
    async with ak.open_node(tree_of_all()) as node:
        kinds = set()
        for number in range(4 * GENERATION):
            ref = await begin(door, node, local_class(alive), number)
            ref.kill()
            await node.stopped(ref)
            del ref
            used: Any = await begin(door, node, Plain, number)
            kinds.add(id(used.kind))
            used.kill()
            await node.stopped(used)
        assert len(kinds) == 1
        assert GENERATION <= alive.left() <= 2 * GENERATION + 1
        assert len(node.engine.starters) <= 2 * GENERATION
        assert len(node.engine.kinds) <= 2 * GENERATION


async def test_a_class_a_generic_and_a_modules_function_share_their_kinds() -> None:
    """These are there for good, so the second start finds what the first has made."""

    async with ak.open_node() as node:
        for start in (Plain, module_process, Generic[int], Static.process, Meta):
            one, two, three = node.spawn(start), node.spawn(start), node.spawn(ak.child(start))
            assert one.kind is two.kind  # type: ignore[attr-defined]
            assert three.kind is node.spawn(ak.child(start)).kind  # type: ignore[attr-defined]
        assert node.spawn(Generic[int]).kind is node.spawn(Generic[str]).kind  # type: ignore[attr-defined]


class Generic(ak.Actor):
    def __class_getitem__(cls, item: Any) -> Any:
        import types

        return types.GenericAlias(cls, item)


class Static:
    @staticmethod
    async def process(ctx: Any) -> None: ...


class MetaType(type):
    """A metaclass without a hash of its own."""


class Meta(ak.Actor, metaclass=MetaType):
    pass


class HostileType(type):
    """A metaclass whose classes cannot be looked up."""

    def __hash__(cls) -> int:
        raise RuntimeError("no hash")

    def __eq__(cls, other: object) -> bool:
        raise RuntimeError("no equality")


async def test_no_code_of_a_start_runs_to_find_its_starter() -> None:
    """Neither the code of a start nor that of an id runs."""

    class Hostile:
        ran = 0

        def __hash__(self) -> int:
            Hostile.ran += 1
            return 1

        def __eq__(self, other: object) -> bool:
            Hostile.ran += 1
            return False

        def __call__(self) -> Plain:
            return Plain()

    hostile = Hostile()
    async with ak.open_node(tree_of_all()) as node:
        spec = ak.ChildSpec(hostile, id=hostile, restart="temporary")
        before = Hostile.ran
        for _ in range(3):
            node.spawn(spec)
        assert Hostile.ran == before
        assert type(await ak.named(D, "dynamic").call(D.start_child, spec)).__name__ == "Context"
        assert Hostile.ran == before


def test_a_cache_finds_what_was_put_and_forgets_the_oldest() -> None:
    """A cache keeps to its rule without a node too."""
    cache = StarterCache(lambda spec: pytest.fail("nothing is made"))
    starters: list[Any] = [object() for _ in range(3 * GENERATION)]
    for number, starter in enumerate(starters):
        assert cache.put(str(number), starter) is starter
        assert cache.get("0") is starters[0]  # it is in use
        assert len(cache) <= 2 * GENERATION
    assert cache.get(str(3 * GENERATION - 1)) is starters[-1]
    assert cache.get("1") is None
