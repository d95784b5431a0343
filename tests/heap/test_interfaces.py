"""The C extensions have what their Python twins have: the same names, the same parameters and the
same types.
"""

from __future__ import annotations

import inspect
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import actorkit as ak
from actorkit.heap import clock, walk
from actorkit.heap.python import clock as portable_clock
from actorkit.heap.python import walk as pure_walk

c_clock = pytest.importorskip("actorkit.heap.c._clock", reason="the extension is not built")
c_walk = pytest.importorskip("actorkit.heap.c._walk", reason="the extension is not built")

TWINS = [(c_clock, portable_clock), (c_walk, pure_walk)]
MAILBOX = "inbox", "outbox"
by_name = pytest.mark.parametrize(("in_c", "pure"), TWINS, ids=["clock", "walk"])


def public(module: Any) -> set[str]:
    return {name for name in vars(module) if not name.startswith("_")}


@by_name
def test_both_have_the_same_names(in_c: ModuleType, pure: Any) -> None:
    assert public(in_c) == set(pure.__all__)


def test_the_door_has_them_all() -> None:
    assert set(clock.__all__) == {*portable_clock.__all__, "WHY_PORTABLE"}
    assert all(hasattr(clock, name) for name in clock.__all__)


def parameters(function: Any) -> list[tuple[str, Any, bool]]:
    found = inspect.signature(function).parameters.values()
    return [(p.name, p.kind, p.default is p.empty) for p in found]


@by_name
def test_functions_take_the_same_parameters(in_c: ModuleType, pure: Any) -> None:
    for name in pure.__all__:
        if inspect.isroutine(getattr(pure, name)):
            assert parameters(getattr(in_c, name)) == parameters(getattr(pure, name)), name


@by_name
def test_constants_have_the_same_types(in_c: ModuleType, pure: Any) -> None:
    for name in pure.__all__:
        if not callable(getattr(pure, name)):
            assert type(getattr(in_c, name)) is type(getattr(pure, name)), name
    assert pure is not portable_clock or in_c.ENVELOPE == pure.ENVELOPE
    assert pure is not portable_clock or in_c.REFUSABLE == pure.REFUSABLE
    assert pure is not portable_clock or in_c.REARM_STEP == pure.REARM_STEP


def test_accounts_have_the_same_members() -> None:
    # What the portable account keeps in slots, the other one shows as members.
    names = {name for name in vars(c_clock.Account) if not name.startswith("_")}
    assert names == {name for name in vars(portable_clock.Account) if not name.startswith("_")}
    for name in names:
        in_c, pure = getattr(c_clock.Account, name), getattr(portable_clock.Account, name)
        assert inspect.isroutine(in_c) == inspect.isfunction(pure), name
        if inspect.isfunction(pure):
            assert parameters(in_c)[1:] == parameters(pure)[1:], name


def test_what_can_be_set_is_the_same() -> None:
    for name, value in vars(portable_clock.Account).items():
        if isinstance(value, property):
            for account in (c_clock.Account(), portable_clock.Account()):
                writable = True
                try:
                    setattr(account, name, 1)
                except AttributeError:
                    writable = False
                assert writable == (value.fset is not None), name


class Named:
    __slots__ = ("account", "came", "goes")

    def __init__(self, account: Any) -> None:
        self.account = account
        self.came = self.goes = None


@pytest.mark.parametrize("each", [c_clock, portable_clock], ids=["c", "pure"])
def test_the_mailbox_says_where_it_is(each: Any) -> None:
    account = each.Account()
    record = Named(account)
    if clock.WHY_PORTABLE is not None:  # then nobody has given C its sizing function
        each.size_with(walk.size_of)
    each.deliver_to("came", "goes")
    try:
        assert account.accept(record, len, ((),)) is None
        assert record.came == [(len, ((),), None)]
        assert account.accept(record, len, ("1",)) is True
        assert len(record.came) == 2
    finally:
        each.deliver_to(*MAILBOX)


class Counter(ak.Actor):
    def __init__(self) -> None:
        self.count = 0

    @ak.cast
    def add(self, n: int) -> None:
        self.count += n


async def test_accept_queues_what_a_cast_queues() -> None:
    """``accept``, which is in C, queues a message of the same shape as ``Record.cast`` does."""
    async with ak.open_node() as node:
        plain, budgeted = node.spawn(Counter), node.spawn(ak.child(Counter).with_(max_heap_size="10 MiB"))
        for ref in (plain, budgeted):
            assert ref.cast(Counter.add, 1)
            assert ref.cast(Counter.add, 2)
        queued = [record.inbox for record in map(node.engine.resolve, (plain, budgeted)) if record is not None]
        assert queued[0] is not None
        assert queued[0] == queued[1]
        assert {type(message) for queue in queued if queue for message in queue} == {tuple}


def test_the_wheel_has_neither_sources_nor_the_fault_injector() -> None:
    root = Path(__file__).parent.parent.parent
    setuptools = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert setuptools["include-package-data"] is False
    assert setuptools["package-data"] == {"actorkit": ["py.typed", "heap/c/*.pyi"]}
    assert {path.name for path in (root / "actorkit").rglob("*.c")} == {"_clock.c", "_walk.c"}
