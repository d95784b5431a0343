"""What the walk's interface promises, in both implementations."""

from __future__ import annotations

import gc
import importlib
import io
import mmap
import os
import subprocess
import sys
import types
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from actorkit.heap import walk
from actorkit.heap.python import walk as pure_walk
from actorkit.heap.python.type_facts import known_facts
from actorkit.heap.usage import HeapUsage
from tests.heap.alone import ALONE

BIG = 10_000_000
try:
    from actorkit.heap.c import _walk
except ImportError:
    IMPLEMENTATIONS = ["python"]
else:
    IMPLEMENTATIONS = ["c", "python"]


@pytest.fixture(autouse=True, params=IMPLEMENTATIONS)
def implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run each test with either implementation behind the same interface."""
    module = _walk if request.param == "c" else pure_walk
    monkeypatch.setattr(walk, "_in_force", module)
    monkeypatch.setattr(walk, "size_of", module.size_of)
    walk._register()
    return str(request.param)


@pytest.fixture
def registrations() -> Iterator[None]:
    """Remove after a test what the test has registered."""
    stop_types, adapters = walk._stop_types, dict(walk._adapters)
    yield
    walk._stop_types = stop_types
    walk._adapters.clear()
    walk._adapters.update(adapters)
    walk._register()


class Actor:
    """Stands for an actor's state."""


def state(**attributes: Any) -> Any:
    made = Actor()
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


# --- Private and shared ------------------------------------------------------------------------


def test_two_holders_of_one_object() -> None:
    """Neither holder is charged for what both hold; when one lets go, the other is charged."""
    first, second = state(), state()
    first.data = second.data = bytearray(BIG)
    for holder in (first, second):
        usage = walk.measure([holder], cycles=True)
        assert usage.private < 1000
        assert usage.shared >= BIG
    del first.data
    assert walk.measure([first]).private < 1000
    assert walk.measure([second]).private >= BIG
    assert walk.census([([first], []), ([second], [])])[1] >= BIG


def test_both_holders_together() -> None:
    first, second = state(), state()
    first.data = second.data = bytearray(BIG)
    assert walk.measure([first, second]).private >= BIG


def test_mailbox_is_walked_after_the_state() -> None:
    common = bytearray(1000)
    actor, messages = state(common=common), deque([[common], bytearray(5000)])
    del common
    usage = walk.measure([actor], [messages])
    assert usage.private < 1000
    assert usage.mailbox >= 6000
    assert usage.charged == usage.private + usage.mailbox


def test_a_message_sent_to_two_is_judged_by_its_count() -> None:
    """A message that was sent to two counts as shared if the deque is given. If the messages
    themselves were roots, each would count as dropped.
    """
    message = bytearray(BIG)
    first, second = deque([message]), deque([message])
    del message
    assert walk.measure((), [first]).mailbox < 2000
    assert walk.measure((), list(first)).mailbox >= BIG
    second.clear()
    assert walk.measure((), [first]).mailbox >= BIG


def test_private_cycles_only_on_request() -> None:
    loop: list[Any] = [bytearray(100_000)]
    loop.append([loop])
    actor = state(loop=loop)
    del loop
    usage = walk.measure([actor])
    assert (usage.private < 1000, usage.after_gc, usage.shared) == (True, 0, 0)
    usage = walk.measure([actor], cycles=True)
    assert usage.after_gc >= 100_000
    assert usage.shared < 10_000
    assert usage.exact


def test_the_edge_cap() -> None:
    loop: list[Any] = [[0.5 + n] for n in range(1000)]
    loop.append(loop)
    actor = state(loop=loop)
    del loop
    usage = walk.measure([actor], cycles=True, edge_cap=100)
    assert (usage.after_gc, usage.shared, usage.exact) == (0, 0, False)
    assert walk.measure([actor], cycles=True).after_gc > 30_000


# --- Early stop ---------------------------------------------------------------------------------


def test_more_than_the_limit_is_a_proof() -> None:
    actor = state(items=[[0.5 + n] for n in range(1000)])
    whole = walk.measure([actor]).private
    assert walk.measure([actor], limit=whole).charged == whole
    for limit in (0, 1000, whole - 1):
        assert limit < walk.measure([actor], limit=limit).charged <= whole
    usage = walk.measure([actor], limit=2000)
    assert 2000 < usage.charged < whole
    assert not usage.exact


def test_a_negative_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="limit"):
        walk.measure([], limit=-1)


def test_early_stop_spares_the_rest() -> None:
    """One block is enough to pass the limit: a huge list is not even expanded."""
    actor = [None] * 1_000_000
    usage = walk.measure([actor], limit=100_000)
    assert usage.charged > 100_000
    assert usage.objects == 1


# --- What is looked through, and where it stops --------------------------------------------------


def test_functions_are_looked_through() -> None:
    def make() -> Any:
        captured, default = bytearray(50_000), bytearray(50_000)

        def inner(argument: object = default) -> object:
            return captured, argument

        return inner

    function = make()
    function.attribute = bytearray(50_000)
    usage = walk.measure([[function]])
    assert usage.private < 1000  # ``function`` is held by this frame
    actor = [function]
    del function
    usage = walk.measure([actor])
    assert 150_000 < usage.private < 160_000  # not this module's globals


def test_namespaces_modules_and_types_are_not_entered() -> None:
    module = types.ModuleType("made")
    module.data = bytearray(BIG)  # type: ignore[attr-defined]
    namespace: dict[str, Any] = {"__builtins__": {}, "data": bytearray(BIG)}
    keeper = [namespace]
    made = type("Made", (), {"data": bytearray(BIG)})
    actor = [module, namespace, made, globals(), sys.modules[__name__]]
    del module, namespace, made
    usage = walk.measure([actor], cycles=True)
    assert usage.charged < 1000
    assert usage.shared == usage.after_gc == 0
    assert keeper


def test_roots_that_never_count() -> None:
    for root in (None, True, ..., NotImplemented, sys, int, Actor, test_roots_that_never_count.__code__):
        assert walk.measure([root]).charged == 0


def test_a_weak_reference_does_not_count() -> None:
    target = state(data=bytearray(BIG))
    assert walk.measure([[weakref.ref(target)]]).private < 1000
    assert walk.measure([[weakref.ref(target), target]]).private < 1000
    actor = [weakref.ref(target), target]
    del target
    assert walk.measure([actor]).private >= BIG


def test_a_suspended_coroutine() -> None:
    @types.coroutine
    def suspend() -> Iterator[None]:
        yield

    async def handler() -> None:
        data = bytearray(BIG)
        for _ in [bytearray(1_000_000)]:
            await suspend()
        del data

    coroutine = handler()
    coroutine.send(None)
    assert walk.measure([coroutine]).private >= BIG + 1_000_000
    coroutine.close()
    assert walk.measure([coroutine]).private < 1000


def test_stop_types(registrations: None) -> None:
    class Handle:
        def __init__(self) -> None:
            self.data = bytearray(BIG)

    class Special(Handle):
        pass

    actor = [Handle(), Special()]
    assert walk.measure([actor]).private >= 2 * BIG
    walk.stop_at(Handle)
    walk.stop_at(Handle)
    assert walk._stop_types.count(Handle) == 1
    assert walk.measure([actor], cycles=True) == HeapUsage(walk.size_of([None] * 2), 0, 0, 1, True)
    assert walk.measure([actor[0]]).private >= BIG  # a root is never a stop


def test_a_million_objects_on_another_allocator(implementation: str) -> None:
    """The guard against traversals that lie does not end an honest walk where nobody counts the
    blocks.
    """
    if implementation != "c":
        pytest.skip("the pure walk has no guard")
    code = "from actorkit.heap import walk; print(walk.measure([list(map(float, range(1_050_000)))]))"
    environment = dict(os.environ, PYTHONMALLOC="malloc", ACTORKIT_PURE="0")
    done = subprocess.run(
        [sys.executable, "-c", ALONE + code], env=environment, capture_output=True, text=True, check=True
    )
    assert "objects=1050001, exact=True" in done.stdout


def test_roots_may_be_any_sequence() -> None:
    actor = state(data=bytearray(1000))
    kinds: list[Sequence[object]] = [[actor], (actor,), deque([actor]), (actor, actor)]
    assert len({walk.measure(roots).private for roots in kinds}) == 1


def test_size_of() -> None:
    # Small numbers are immortal from 3.12 on: nobody owns them.
    assert walk.size_of(5) == (0 if sys.version_info >= (3, 12) else 32)
    assert walk.size_of("x" * 100) > 140
    payload = {"text": "x" * len(IMPLEMENTATIONS) * 1000}
    assert walk.size_of(payload) > 1000
    shared = bytearray(BIG)
    assert walk.size_of((1, shared)) < 200
    assert walk.size_of((1, bytearray(BIG))) > BIG
    assert walk.size_of() == 0


# --- Adapters ------------------------------------------------------------------------------------


def test_shipped_adapters() -> None:
    text, binary = io.StringIO(), io.BytesIO()
    text.write("x" * 1_000_000)
    binary.write(b"x" * 1_000_000)
    mapped = mmap.mmap(-1, 1_000_000)
    for held in (text, binary, mapped):
        actor = [held]
        assert walk.size_of(held) >= 1_000_000
        assert walk.size_of(held) < 1_400_000 or held is text
        assert walk.measure([actor]).private < 1000
    mapped.close()
    assert walk.size_of(mapped) < 1000
    text.close()
    assert walk.size_of(text) < 1000


class Hiding:
    """Has memory that no traversal shows."""

    hidden: Sequence[object] = ()
    error: type[BaseException] | None = None
    calls = 0


def tell(obj: Any) -> tuple[int, Sequence[object]]:
    Hiding.calls += 1
    if Hiding.error is not None:
        raise Hiding.error  # a new one each time: a traceback would hold ``obj``
    return 1000, Hiding.hidden


def test_adapter(registrations: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hiding, "calls", 0)
    walk.adapter(Hiding, tell)
    actor = [Hiding(), Hiding()]
    bare = walk.measure([[], []]).private
    usage = walk.measure([actor])
    assert Hiding.calls == 2
    assert usage.private > 2000 + bare // 2
    assert usage.exact
    loop: list[Any] = [Hiding()]
    loop.append(loop)
    holder = [loop]
    del loop
    usage = walk.measure([holder], cycles=True)
    assert usage.after_gc > 1000


def test_an_adapter_that_fails(registrations: None, monkeypatch: pytest.MonkeyPatch) -> None:
    walk.adapter(Hiding, tell)
    actor = [Hiding(), bytearray(10_000)]
    monkeypatch.setattr(Hiding, "error", ValueError)
    usage = walk.measure([actor])
    assert usage.private > 10_000
    assert not usage.exact
    assert walk.census([([actor], [])])[0] == usage.private
    monkeypatch.setattr(Hiding, "error", KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        walk.measure([actor])
    with pytest.raises(KeyboardInterrupt):
        walk.census([([actor], [])])
    with pytest.raises(KeyboardInterrupt):
        walk.size_of(actor)
    monkeypatch.setattr(Hiding, "error", None)
    for wrong in (None, 7, (1,), (-1, ()), ("x", ()), (1, 7)):
        walk.adapter(Hiding, lambda obj, wrong=wrong: wrong)
        assert not walk.measure([actor]).exact


def test_an_adapter_that_walks_and_changes_the_graph(registrations: None) -> None:
    """A walk within a walk, and a graph that falls apart meanwhile, break nothing."""
    actor: list[Any] = []

    def upset(obj: Any) -> tuple[int, Sequence[object]]:
        walk.measure([[0.5]], cycles=True)
        actor.clear()
        gc.collect(0)
        return 100, [bytearray(100), [obj], [0.5 + n for n in range(100)]]

    walk.adapter(Hiding, upset)
    for cycles in (False, True):
        for _ in range(5):
            loop: list[Any] = [Hiding()]
            loop.append(loop)
            actor += [Hiding(), [Hiding(), bytearray(100)], loop, {"a": [Hiding()] * 2}]
            del loop
            walk.measure([actor], [[actor]], cycles=cycles)


# --- What is known of a type ---------------------------------------------------------------------


@pytest.mark.parametrize("base", [object, list, dict, tuple, str, bytes, int, set, deque, Exception, io.BytesIO])
def test_a_type_is_forgotten_when_it_ends(base: type) -> None:
    """What the pure walk knows of a type neither keeps the type alive nor outlives it, since
    another type will get its address.
    """
    for _ in range(3):
        made = type("Made", (base,), {})
        gone, address = weakref.ref(made), id(made)
        assert walk.size_of([made()]) > walk.size_of([])
        del made
        gc.collect()
        assert gone() is None
        assert address not in known_facts


def test_registering_changes_what_is_known_of_a_type(registrations: None) -> None:
    class Handle:
        def __init__(self) -> None:
            self.held = bytes(1000)

    assert walk.size_of([Handle()]) > 1000
    walk.stop_at(Handle)
    assert walk.size_of([Handle()]) < 100


# --- The choice of implementation ----------------------------------------------------------------


@pytest.mark.parametrize("forced", ["0", "1"])
def test_the_environment_forces_the_pure_one(forced: str, implementation: str) -> None:
    if implementation != IMPLEMENTATIONS[0]:
        pytest.skip("once is enough")
    code = "from actorkit.heap import walk; print(walk.IMPLEMENTATION, walk.measure([[1.5]]).private > 0)"
    environment = dict(os.environ, ACTORKIT_PURE=forced)
    root = Path(__file__).parent.parent.parent
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["python" if forced == "1" else IMPLEMENTATIONS[0], "True"]


def test_without_the_extension(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the module is loaded anew with the extension hidden, there is no error, and the pure
    walk is used.
    """
    monkeypatch.setitem(sys.modules, "actorkit.heap.c._walk", None)
    monkeypatch.delattr("actorkit.heap.c._walk", raising=False)
    monkeypatch.delenv("ACTORKIT_PURE", raising=False)
    spec = importlib.util.find_spec("actorkit.heap.walk")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.IMPLEMENTATION == "python"
    assert module.measure([[1.5]]).private == walk.measure([[1.5]]).private
