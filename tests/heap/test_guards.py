"""Imports and what the cyclic collector runs are in nobody's account."""

from __future__ import annotations

import gc
import importlib
import sys
import threading
import traceback
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from actorkit.heap import clock
from actorkit.heap.clock import Account

pytestmark = pytest.mark.skipif(not clock.COUNTS_ALLOCATIONS, reason=f"portable clock: {clock.WHY_PORTABLE}")

BOOTSTRAP: Any = sys.modules["_frozen_importlib"]
THEIRS = BOOTSTRAP._find_and_load

alarms: list[tuple[Account, Account | None]] = []


def alarm(account: Account, activation: int) -> None:
    alarms.append((account, clock.current()))
    account.reset()


@pytest.fixture(autouse=True)
def installed() -> Iterator[None]:
    alarms.clear()
    callbacks = list(gc.callbacks)
    clock.install(alarm)
    try:
        yield
    finally:
        clock.enter(None)
        clock.uninstall()
        assert BOOTSTRAP._find_and_load is THEIRS
        assert gc.callbacks == callbacks


def within(account: Account | None, function: Callable[[], Any]) -> Any:
    previous = clock.enter(account)
    try:
        return function()
    finally:
        clock.enter(previous)


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    monkeypatch.syspath_prepend(str(tmp_path))
    written = []

    def write(name: str, text: str) -> None:
        (tmp_path / f"{name}.py").write_text(text)
        written.append(name)
        importlib.invalidate_caches()

    yield write
    for name in written:
        sys.modules.pop(name, None)


LARGE = "table = [str(number) for number in range(50_000)]\n"


@pytest.mark.parametrize("way", ["statement", "import_module", "__import__", "nested"])
def test_a_module_is_nobody_s(modules: Callable[[str, str], None], way: str) -> None:
    modules("guarded_one", LARGE)
    modules("guarded_two", "import guarded_one\n" + LARGE)
    account = Account()
    account.soft = 100_000
    activations: list[int] = []

    def load() -> None:
        activations.append(account.activation)
        if way == "statement":
            import guarded_one  # noqa: F401
        elif way == "import_module":
            importlib.import_module("guarded_one")
        elif way == "__import__":
            __import__("guarded_one")
        else:
            importlib.import_module("guarded_two")
        activations.append(account.activation)
        assert clock.current() is account

    within(account, load)
    assert len(sys.modules["guarded_one"].table) == 50_000
    assert account.bytes < 50_000
    assert alarms == []
    assert activations[0] == activations[1]  # it is still the same activation


def test_the_alarm_comes_after_an_import(modules: Callable[[str, str], None]) -> None:
    modules("guarded_one", LARGE)
    account = Account()
    account.soft = 1

    def load() -> None:
        import guarded_one  # noqa: F401

        for _ in range(100):
            bytes(100)

    within(account, load)
    assert alarms


def test_an_import_that_fails_gives_the_account_back_and_keeps_its_traceback(
    modules: Callable[[str, str], None],
) -> None:
    modules("guarded_bad", "import guarded_worse\n")
    modules("guarded_worse", LARGE + "1 / 0\n")
    account = Account()

    def load() -> None:
        import guarded_bad  # noqa: F401

    shapes = []
    for guarded in (True, False):
        if not guarded:
            assert account.bytes < 50_000
            clock.uninstall()
        clock.enter(account)
        try:
            load()
        except ZeroDivisionError as error:
            assert clock.current() is account
            clock.enter(None)
            shapes.append([(row.filename, row.lineno, row.name) for row in traceback.extract_tb(error.__traceback__)])
    clock.install(alarm)
    assert shapes[0] == shapes[1]
    assert len(shapes[0]) == 4
    account.reset()
    with pytest.raises(ModuleNotFoundError):
        within(account, lambda: importlib.import_module("guarded_not_there"))
    assert account.bytes < 50_000


def test_an_import_in_a_thread(modules: Callable[[str, str], None]) -> None:
    modules("guarded_one", "import clock_meeting\nclock_meeting.met()\n" + LARGE)
    ours, theirs = Account(), Account()
    meeting: Any = type(sys)("clock_meeting")
    sys.modules["clock_meeting"] = meeting
    inside, go_on = threading.Event(), threading.Event()

    def met() -> None:
        inside.set()
        go_on.wait(60)

    meeting.met = met

    def load() -> None:
        clock.enter(theirs)
        importlib.import_module("guarded_one")
        assert clock.current() is theirs
        clock.enter(None)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        assert inside.wait(60)
        kept = within(ours, lambda: [str(number) for number in range(1000)])
        assert ours.bytes > 1000 * 16
        assert len(kept) == 1000
    finally:
        go_on.set()
        thread.join()
        del sys.modules["clock_meeting"]
    assert theirs.bytes < 100_000


def test_other_tools_in_the_same_place(modules: Callable[[str, str], None]) -> None:
    """One wraps the guard, and another throws it away: the clock neither breaks nor stays."""
    calls = []
    guard = BOOTSTRAP._find_and_load

    def wrapper(*arguments: Any) -> Any:
        calls.append(arguments[0])
        return guard(*arguments)

    BOOTSTRAP._find_and_load = wrapper
    try:
        modules("guarded_one", LARGE)
        account = Account()
        within(account, lambda: importlib.import_module("guarded_one"))
        assert calls == ["guarded_one"]
        assert account.bytes < 50_000
        clock.uninstall()
        assert BOOTSTRAP._find_and_load is wrapper  # it is somebody else's
        modules("guarded_two", "")
        importlib.import_module("guarded_two")
        clock.install(alarm)  # a guard above the wrapper
        assert BOOTSTRAP._find_and_load is not wrapper
        clock.uninstall()
        assert BOOTSTRAP._find_and_load is wrapper
        clock.install(alarm)
    finally:
        BOOTSTRAP._find_and_load = THEIRS  # it throws the guard away
    assert clock.guard_imports()
    assert BOOTSTRAP._find_and_load is not THEIRS
    again = BOOTSTRAP._find_and_load
    assert clock.guard_imports()
    assert BOOTSTRAP._find_and_load is again
    clock.install(alarm)
    assert not clock.uninstall()  # one of two users
    assert BOOTSTRAP._find_and_load is again


def test_without_the_clock_nothing_is_guarded() -> None:
    clock.uninstall()
    assert not clock.guard_imports()
    assert BOOTSTRAP._find_and_load is THEIRS
    clock.install(alarm)


# --- Collections -------------------------------------------------------------------------------


class Knot:
    """A cycle whose finaliser allocates much."""

    finalised: list[Account | None]
    made: list[Any]

    def __init__(self) -> None:
        self.me = self

    def __del__(self) -> None:
        Knot.finalised.append(clock.current())
        Knot.made.append([str(number) for number in range(5000)])


@pytest.mark.parametrize("way", ["collect", "allocation"])
def test_finalisers_and_callbacks_are_nobody_s(way: str) -> None:
    Knot.finalised, Knot.made = [], []
    called: list[Account | None] = []
    gc.collect()
    knots = [Knot() for _ in range(3)]
    watched = weakref.ref(knots[0], lambda _: called.append(clock.current()))
    del knots
    account = Account()
    account.soft = 60_000

    def turn() -> None:
        before = account.activation
        if way == "collect":
            gc.collect()
        else:
            kept = []
            while not Knot.finalised:
                kept.append([])
                if len(kept) > 1_000_000:
                    raise AssertionError("no collection came")
                if len(kept) % 100 == 0:
                    account.reset()
        assert clock.current() is account
        assert account.activation == before

    within(account, turn)
    assert Knot.finalised == [None] * 3
    assert called == [None]
    assert watched() is None
    assert all(current is None for _, current in alarms)
    if way == "collect":
        assert account.bytes < 60_000


def test_a_finaliser_that_enters_an_account_and_one_that_collects() -> None:
    other, account = Account(), Account()

    class Entering:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            clock.enter(other)
            gc.collect()

    Entering()

    def turn() -> None:
        gc.collect()
        assert clock.current() is account

    within(account, turn)
    assert other.activation == 1


def test_a_collection_that_releases_the_gil_leaves_other_threads_alone() -> None:
    ours, theirs = Account(), Account()
    inside, go_on = threading.Event(), threading.Event()

    class Waiting:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            inside.set()
            go_on.wait(60)

    Waiting()

    def collect() -> None:
        clock.enter(theirs)
        gc.collect()
        found.append(clock.current())
        clock.enter(None)

    found: list[Account | None] = []
    thread = threading.Thread(target=collect)
    thread.start()
    try:
        assert inside.wait(60)
        clock.enter(ours)
        gc.collect()  # one runs: this does nothing
        assert clock.current() is ours
        clock.enter(None)
    finally:
        go_on.set()
        thread.join()
    assert found == [theirs]


def test_uninstalled_by_a_finaliser() -> None:
    account = Account()

    class Leaving:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            clock.uninstall()

    Leaving()
    clock.enter(account)
    gc.collect()
    assert clock.current() is account
    assert not clock.installed()
    clock.install(alarm)
    gc.collect()
    assert clock.current() is account
    clock.enter(None)
