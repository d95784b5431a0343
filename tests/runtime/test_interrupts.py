"""Which code Ctrl-C may stop: users' code anywhere, the runtime's code nowhere. (What comes of it:
tests/signals.)
"""

from __future__ import annotations

import ast
import functools
import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest
import trio
from trio.lowlevel import currently_ki_protected

import actorkit as ak
from actorkit.runtime.base.interrupts import codes_of, interruptible, is_own_module
from tests.net.helpers import serving

from .conftest import OpenNode


def modules() -> Iterator[Any]:
    for found in pkgutil.walk_packages(ak.__path__, "actorkit."):
        if is_own_module(found.name):
            yield importlib.import_module(found.name)


def is_protected(code: CodeType) -> bool:
    """What trio would say in a frame of this code whose callers are not protected."""
    from trio._core import _ki

    try:
        return _ki._CODE_KI_PROTECTION_STATUS_WMAP[code]
    except KeyError:
        return False


def test_all_of_the_runtime_is_protected() -> None:
    """Every function, method and nested function of the package is protected, except for those in
    which users' programs run.
    """
    codes = [code for module in modules() for code in codes_of(module)]
    assert len(codes) > 1_500
    assert [f"{code.co_filename}:{code.co_firstlineno}" for code in codes if not is_protected(code)] == []


def functions(tree: ast.AST) -> Iterator[str]:
    """The names of all functions that exist when the module has been imported."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            if any(ast.unparse(decorator) == "overload" for decorator in node.decorator_list):
                continue
            yield node.name
        yield from functions(node)


def test_nothing_is_overlooked() -> None:
    """All functions in the sources are found."""
    for module in modules():
        if module.__file__.endswith(".py"):
            source = Path(module.__file__).read_text()
            found = {code.co_name for code in codes_of(module)}
            assert set(functions(ast.parse(source))) - found == set(), module.__name__


class Says(ak.StreamActor):
    """Notes in each of its callbacks whether that callback is protected."""

    def __init__(self, seen: list[tuple[str, bool]]) -> None:
        self.seen = seen
        self.note("constructor")

    def note(self, door: str) -> None:
        self.seen.append((door, currently_ki_protected()))

    def init(self) -> None:
        self.note("init")
        self.ctx.continue_with(Says.go_on)

    def go_on(self) -> None:
        self.note("continue")

    def connected(self) -> None:
        self.note("connected")

    def received(self, line: bytes) -> None:
        self.note("received")
        self.write(line + b"\n")

    def handle_info(self, message: Any) -> None:
        self.note(str(message))

    def terminate(self, reason: Any) -> None:
        self.note("terminate")

    @ak.call
    def plain(self) -> None:
        self.note("inline call")

    @ak.call
    async def coroutine(self) -> None:
        self.note("async call")
        await trio.lowlevel.checkpoint()
        self.note("async call, later")

    @ak.call
    async def nursery(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.child)

    async def child(self) -> None:
        self.note("nursery child")
        await trio.lowlevel.checkpoint()
        self.note("nursery child, later")

    @ak.cast
    def tell(self) -> None:
        self.note("cast")


async def test_users_code_can_be_interrupted_through_every_door(opened: OpenNode) -> None:
    """Each callback is users' code; the code around it is not."""
    seen: list[tuple[str, bool]] = []

    def note(door: str) -> Any:
        seen.append((door, currently_ki_protected()))

    async def process(ctx: ak.ProcessContext) -> None:
        note("process")
        await ctx.receive()
        note("process, later")

    async def task(door: str) -> None:
        note(door)

    def factory() -> Says:
        note("factory")
        return Says(seen)

    tree = ak.supervisor(ak.task_supervisor(name="jobs"))
    async with opened(tree=tree) as node:
        note("body")
        ref = node.spawn(Says, seen)
        ref.cast(Says.tell)
        ref.send("info")
        await ref.call(Says.coroutine)
        await ref.call(Says.plain)
        await ref.call(Says.nursery)
        node.send_after(0, ref, "timer")
        other = node.spawn(process)
        await trio.testing.wait_all_tasks_blocked()
        other.send("go on")
        jobs = ak.named(ak.TaskSupervisor, "jobs")
        await (await jobs.call(ak.TaskSupervisor.run, task, "task supervisor")).result()
        await (await jobs.call(ak.TaskSupervisor.run, functools.partial(task, "partial"))).result()
        node.spawn(ak.child(factory))
        await ak.sys.replace_state(ref, lambda state: note("replace_state") or state)
        await ak.sys.trace(ref, lambda traced: note("trace"))
        ref.cast(Says.tell)
        await trio.testing.wait_all_tasks_blocked()
    async with serving(ak.tcp_listener(Says, seen, port=0, max_line=10)) as server, server.client() as client:
        await client.send(b"x\n")
        await client.line()
    doors = {door for door, _ in seen}
    assert doors == {
        "body", "constructor", "init", "continue", "connected", "received", "info", "timer", "terminate", "inline call",
        "async call", "async call, later", "nursery child", "nursery child, later", "cast", "process", "process, later",
        "task supervisor", "partial", "factory", "replace_state", "trace",
    }  # fmt: skip
    assert {door for door, protected in seen if protected} == set()


class _Called:
    def __call__(self) -> bool:
        return currently_ki_protected()

    def method(self) -> bool:
        return currently_ki_protected()


def _function() -> bool:
    return currently_ki_protected()


@pytest.mark.parametrize("shape", [_function, _Called(), _Called().method, functools.partial(_function)])
def test_every_kind_of_callable_can_be_interrupted(shape: Callable[[], bool]) -> None:
    """Functions, methods, objects with __call__ and partials of them can be interrupted."""
    from trio.lowlevel import enable_ki_protection

    @enable_ki_protection
    def runtime() -> bool:
        return shape()

    interruptible(shape)
    assert not runtime()


def test_the_runtimes_own_actors_stay_protected() -> None:
    """A supervisor or a registry is not cut off in the middle of its table."""
    interruptible(ak.Registry.register)
    register: Any = ak.Registry.register
    assert isinstance(register, FunctionType)
    assert is_protected(register.__code__)
    assert "actorkit.runtime.budgets.budgeted_record" in sys.modules
