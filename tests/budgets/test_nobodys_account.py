"""An actor is charged only for its own data: not for modules that it is the first to import, for
finalisers of others that the collector runs in its turn, nor for caches that it fills for all."""

from __future__ import annotations

import functools
import gc
import importlib
import logging
import logging.handlers
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import actorkit as ak
from actorkit.heap import clock

from .conftest import KIB, MIB, Ends, needs_the_extension

ROOT = Path(__file__).parents[2]


class Doer(ak.Actor):
    def __init__(self) -> None:
        self.kept: Any = None

    @ak.call
    def do(self, what: Callable[[], Any]) -> Any:
        return what()

    @ak.call
    async def await_it(self, what: Callable[[], Any]) -> Any:
        return await what()

    @ak.call
    def keep(self, what: Any) -> None:
        self.kept = what

    @ak.call
    def keep_what_it_makes(self, size: int) -> None:
        self.kept = bytes(size)


def doer(ends: Ends, limit: int) -> Any:
    return ends.node.spawn(ak.child(Doer).with_(max_heap_size=ak.HeapLimit(limit, log=False)))


async def still_works(ref: Any) -> None:
    """It lives, its budget is in force, and others' code still runs in order."""
    assert ref.alive
    assert await ref.call(Doer.do, lambda: 1) == 1
    if not clock.COUNTS_ALLOCATIONS:
        return  # it is looked at some time later
    limit = ref.max_heap_size.size
    with pytest.raises(ak.CalleeDied):
        await ref.call(Doer.keep_what_it_makes, 2 * limit)


# --- imports --------------------------------------------------------------------------------------


@pytest.fixture
def large_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that nobody has imported yet, and a package with parts: 4 MB in small objects and in
    large ones."""
    monkeypatch.syspath_prepend(str(tmp_path))
    package = tmp_path / "large_for_a_test"
    package.mkdir()
    (package / "__init__.py").write_text("from . import small, large\n")
    (package / "small.py").write_text("TABLE = {n: str(n) * 5 for n in range(20_000)}\n")
    (package / "large.py").write_text("TABLE = [bytes(100_000) for _ in range(20)]\nclass C:\n    pass\n")
    importlib.invalidate_caches()
    return package.name


def by_statement(name: str) -> Any:
    scope: dict[str, Any] = {}
    exec(f"import {name} as found", scope)
    return scope["found"]


def by_parts(name: str) -> Any:
    scope: dict[str, Any] = {}
    exec(f"from {name}.large import C\nimport {name} as found", scope)
    return scope["found"]


@pytest.mark.parametrize("way", [by_statement, by_parts, importlib.import_module])
@pytest.mark.parametrize("size", [64 * KIB, 256 * KIB])
async def test_whoever_imports_first_is_not_charged(ends: Ends, large_module: str, way: Any, size: int) -> None:
    """A module of 4 MB is imported by an actor of 64 KiB: it lives, and its own data count as
    before."""
    ref = doer(ends, size)
    found = await ref.call(Doer.do, lambda: way(large_module))
    assert len(found.small.TABLE) == 20_000
    assert len(found.large.TABLE) == 20
    await still_works(ref)


async def test_an_import_that_fails_gives_the_account_back(ends: Ends, tmp_path: Path) -> None:
    """After an ImportError, and after an error in the module, the actor is charged again."""

    def fails() -> str:
        for name in ("no_such_module_for_a_test", "broken_for_a_test"):
            with pytest.raises((ImportError, ZeroDivisionError)):
                importlib.import_module(name)
        return "went on"

    (tmp_path / "broken_for_a_test.py").write_text("TABLE = [bytes(100_000) for _ in range(20)]\n1 / 0\n")
    sys.path.insert(0, str(tmp_path))
    try:
        ref = doer(ends, 64 * KIB)
        assert await ref.call(Doer.do, fails) == "went on"
        await still_works(ref)
    finally:
        sys.path.remove(str(tmp_path))


PROGRAM = """
import trio, actorkit as ak

class A(ak.Actor):
    @ak.call
    def use(self):
        import asyncio, unittest.mock, sqlite3, xml.dom.minidom, http.client
        return asyncio.Queue.__name__

    @ak.call
    def alive(self):
        return True

async def main():
    async with ak.open_node() as node:
        small = node.spawn(ak.child(A).with_(max_heap_size="64 KiB"))
        assert await small.call(A.use) == "Queue"
        assert await small.call(A.alive)
        assert await node.spawn(A).call(A.use) == "Queue"

trio.run(main)
"""


def test_large_modules_of_the_standard_library() -> None:
    """asyncio, sqlite3 and others, first imported by an actor of 64 KiB, in a process of their
    own."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


# --- finalisers -----------------------------------------------------------------------------------


class Finalised:
    """Garbage of somebody else, which allocates much when it goes, and counts that it has."""

    done = 0

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        kept = [bytes(1000) for _ in range(1000)]
        large = bytes(MIB)
        Finalised.done += bool(kept) and bool(large)


@needs_the_extension
async def test_finalisers_of_others(ends: Ends) -> None:
    """The collector runs them in the turn of a small actor: neither is cut off."""
    gc.collect()
    Finalised.done = 0
    for _ in range(5):
        Finalised()
    ref = doer(ends, 64 * KIB)
    await ref.call(Doer.do, gc.collect)
    assert Finalised.done == 5
    await still_works(ref)


async def test_what_ends_in_its_turn(ends: Ends) -> None:
    """An actor that kills another one runs what that one has at its end, and is not charged."""

    class Heavy(ak.Actor):
        def __init__(self) -> None:
            self.held = Finalised()
            self.held.itself = None  # type: ignore[assignment]

    Finalised.done = 0
    heavy = ends.node.spawn(Heavy)
    ref = doer(ends, 64 * KIB)
    await ref.call(Doer.do, heavy.kill)
    assert Finalised.done == 1
    await still_works(ref)


# --- caches ---------------------------------------------------------------------------------------


@functools.cache
def cached(number: int) -> list[int]:
    return list(range(1000 + number, 1060 + number))


CACHE: dict[int, Any] = {}
REGISTRY: dict[Any, Any] = {}
HANDLER = logging.handlers.MemoryHandler(10**6, flushLevel=logging.CRITICAL + 1)
LOG = logging.getLogger("of a test of budgets")


def an_lru_cache(part: int) -> None:
    for number in range(30):
        cached(30 * part + number)


def a_table_of_the_module(part: int) -> None:
    for number in range(30):
        CACHE[30 * part + number] = [bytes(400) for _ in range(5)]


def large_blocks_of_the_module(part: int) -> None:
    CACHE[part] = bytes(40 * KIB)


def a_logging_handler(part: int) -> None:
    for number in range(100):
        LOG.warning("it is %d", number)


def a_registry_of_warnings(part: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        for number in range(100 * part, 100 * part + 100):
            warnings.warn_explicit(f"number {number}", UserWarning, "x.py", number, registry=REGISTRY)


FILLED = [
    an_lru_cache,
    a_table_of_the_module,
    large_blocks_of_the_module,
    a_logging_handler,
    a_registry_of_warnings,
]


@pytest.fixture
def caches() -> Any:
    LOG.addHandler(HANDLER)
    LOG.propagate = False
    yield
    LOG.removeHandler(HANDLER)
    HANDLER.buffer.clear()
    cached.cache_clear()
    CACHE.clear()
    REGISTRY.clear()


@needs_the_extension
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("fill", FILLED)
@pytest.mark.parametrize("messages", [1, 20])
async def test_a_cache_that_all_use(ends: Ends, fill: Any, caches: Any, messages: int) -> None:
    """An actor of 128 KiB fills a cache of the program's with several times that, and lives: what
    the cache holds is not its own. What it has allocated and does not hold is told."""

    def parts(first: int) -> None:
        for part in range(first, first + 20 // messages):
            fill(part)

    ref = doer(ends, 128 * KIB)
    for number in range(messages):
        await ref.call(Doer.do, functools.partial(parts, number * (20 // messages)))
    info = ends.node.process_info(ref, walk=True)
    assert info is not None
    assert info.memory is not None
    assert info.memory.charged < 16 * KIB
    assert info.memory.unseen > 64 * KIB
    await still_works(ref)
