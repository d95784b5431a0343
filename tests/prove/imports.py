"""Large packages imported first inside an actor of 8 MiB: ``python -m tests.prove.imports [NAME
…]``.

Each package is imported in a process of its own, in a handler, and used there; an actor beside it
must not notice. What an import allocates is nobody's, so everybody lives. Exit status 0 if so.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import trio
from trio.testing import MockClock

import actorkit as ak

ROOT = Path(__file__).parent.parent.parent
LIMIT = "8 MiB"
PACKAGES = ("numpy", "pandas", "pyarrow", "polars", "lxml.etree", "PIL.Image", "orjson", "msgpack")


def used(name: str) -> Any:
    """Something small, made with the package."""
    package = importlib.import_module(name)
    match name:
        case "numpy":
            return package.arange(1_000).reshape(10, 100).sum(axis=0)
        case "pandas":
            return package.DataFrame({"a": range(100), "b": "text"}).groupby("b")["a"].sum()
        case "pyarrow":
            return package.table({"a": [1, 2, 3]}).to_pylist()
        case "polars":
            return package.DataFrame({"a": [1, 2, 3]}).select(package.col("a").sum())
        case "lxml.etree":
            return package.fromstring("<a><b/></a>").xpath("//b")
        case "PIL.Image":
            return package.new("RGB", (50, 50)).resize((20, 20))
        case "orjson":
            return package.loads(package.dumps([1, 2]))
        case _:
            return package.unpackb(package.packb([1, 2]))


class Importer(ak.Actor):
    """Imports a package when it is told to."""

    def __init__(self) -> None:
        self.kept: Any = None

    @ak.call
    def use(self, name: str) -> None:
        self.kept = used(name)

    @ak.cast
    def use_in_a_message(self, name: str) -> None:
        self.kept = [used(name)]

    @ak.call
    async def use_in_a_thread(self, name: str) -> None:
        self.kept = await ak.to_thread(used, name)

    @ak.call
    def lives(self) -> bool:
        return self.kept is not None


async def main(name: str) -> None:
    async with ak.open_node(max_heap_size=LIMIT) as node:
        first, second, beside = (node.spawn(Importer) for _ in range(3))
        await first.call(Importer.use, name)
        second.cast(Importer.use_in_a_message, name)
        await beside.call(Importer.use_in_a_thread, name)
        await node.engine.budgets.look_at_all()
        assert await first.call(Importer.lives)
        assert await second.call(Importer.lives)
        assert await beside.call(Importer.lives)


def tried(name: str) -> str:
    """The empty string if everybody lives, otherwise what was said."""
    command = [sys.executable, "-m", "tests.prove.imports", "--inside", name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    return "" if done.returncode == 0 else f"exit status {done.returncode}: {done.stderr[-1500:]}"


def installed(name: str) -> bool:
    return find_spec(name.partition(".")[0]) is not None


def run_all(names: list[str]) -> int:
    """Try each of them, and print how it went."""
    bad = 0
    for name in names:
        said = tried(name) if installed(name) else "not installed"
        bad += installed(name) and bool(said)
        print(f"{name:<12} {said or 'everybody lives'}", flush=True)
    return min(bad, 1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        trio.run(main, sys.argv[2], clock=MockClock())
    else:
        sys.exit(run_all(sys.argv[1:] or [*PACKAGES]))
