"""The clock together with other hooks on the allocators: tracemalloc, the debug hooks, plain
malloc; and at the interpreter's end.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator

import pytest

from actorkit.heap import clock
from actorkit.heap.clock import Account

from .alone import ALONE

pytestmark = pytest.mark.skipif(not clock.COUNTS_ALLOCATIONS, reason=f"portable clock: {clock.WHY_PORTABLE}")


def alarm(account: Account, activation: int) -> None:
    account.reset()


@pytest.fixture(autouse=True)
def all_quiet() -> Iterator[None]:
    yield
    tracemalloc.stop()
    while clock.installed():
        clock.uninstall()


def counts_once() -> None:
    """Small requests, large requests and growth are each counted once."""
    account = Account()
    clock.enter(account)
    small = [bytes(100) for _ in range(1000)]
    clock.enter(None)
    assert 133_000 <= account.bytes <= 200_000
    account.reset()
    clock.enter(account)
    large = bytes(100_000)
    clock.enter(None)
    assert 100_000 <= account.bytes <= 105_000
    account.reset()
    grown = bytearray(100_000)
    clock.enter(account)
    grown.extend(b"12345678" * 10_000)
    clock.enter(None)
    assert 160_000 <= account.bytes <= 200_000
    assert len(small) + len(large) + len(grown) == 281_000


@pytest.mark.own_process
def test_tracemalloc_first() -> None:
    tracemalloc.start()
    clock.install(alarm)
    assert clock.verify()
    counts_once()
    assert clock.uninstall()
    before = tracemalloc.get_traced_memory()[0]
    kept = bytes(10_000)
    assert tracemalloc.get_traced_memory()[0] - before >= len(kept)


def test_tracemalloc_later() -> None:
    clock.install(alarm)
    tracemalloc.start()
    assert clock.verify()
    counts_once()
    tracemalloc.stop()
    assert clock.verify()
    counts_once()
    assert clock.uninstall()


def test_uninstall_beneath_tracemalloc_leaves_a_dormant_hook() -> None:
    clock.install(alarm)
    tracemalloc.start()
    assert not clock.uninstall()
    account = Account()
    account.giant = 100_000
    clock.enter(account)
    kept = bytes(200_000)
    clock.enter(None)
    assert account.bytes == 0
    assert account.refused == 0
    assert not clock.verify()
    assert not clock.installed()
    clock.install(alarm)  # the dormant hook wakes
    counts_once()
    tracemalloc.stop()
    counts_once()
    assert clock.uninstall()
    assert len(kept) == 200_000


@pytest.mark.own_process
def test_tracemalloc_stopped_beneath_the_clock_takes_its_hook_away() -> None:
    tracemalloc.start()
    clock.install(alarm)
    tracemalloc.stop()
    assert not clock.verify()
    assert clock.reinstall()
    assert clock.verify()
    counts_once()
    assert clock.reinstall(), "a second time changes nothing"
    counts_once()
    assert clock.uninstall()
    assert not clock.reinstall()


@pytest.mark.own_process
def test_uninstall_when_the_hook_is_lost() -> None:
    tracemalloc.start()
    clock.install(alarm)
    tracemalloc.stop()
    assert clock.uninstall()
    clock.install(alarm)
    counts_once()


def test_layers_on_layers() -> None:
    """Hooks that others have buried stay as they are; in whatever order, each request is counted
    once.
    """
    for _ in range(5):
        tracemalloc.start()
        clock.install(alarm)
        counts_once()
        tracemalloc.stop()
        assert clock.reinstall()
        tracemalloc.start()
        counts_once()
        clock.uninstall()
        tracemalloc.stop()


PROGRAM = """
from actorkit.heap import clock

over = []
def alarm(account, activation):
    over.append(account.bytes)
    raise KeyError

clock.install(alarm)
assert clock.verify()
account = clock.Account()

def run(function):
    account.reset()
    clock.enter(account)
    try:
        return function()
    finally:
        clock.enter(None)

run(lambda: [bytes(100) for _ in range(1000)])
assert 133_000 <= account.bytes <= 250_000, account.bytes
run(lambda: bytes(100_000))
assert 100_000 <= account.bytes <= 105_000, account.bytes

def text():
    grown = ""
    for _ in range(30_000):
        grown += "x"
run(text)
assert 30_000 <= account.bytes <= 3_000_000, account.bytes

kept = bytearray(10_000_000)
def shrink():
    del kept[5_000_000:]
run(shrink)
assert account.bytes < 2000, account.bytes

account.hard = 2_000_000
try:
    run(lambda: list(map(str, range(10**7))))
except MemoryError:
    pass
else:
    raise AssertionError
assert account.refused == 1 and account.bytes < 4_000_000
account.hard = 0

account.soft = 1_000_000
def loop():
    grown = []
    while True:
        grown.append(bytes(1000))
try:
    run(loop)
except KeyError:
    pass
assert 1_000_000 <= over[0] <= 1_100_000

# At exit the clock is installed, an account is entered, and its alarm due.
clock.enter(account)
print("done")
"""


@pytest.mark.parametrize("allocator", ["pymalloc", "malloc", "pymalloc_debug", "malloc_debug"])
def test_whatever_the_allocator(allocator: str) -> None:
    environment = {**os.environ, "PYTHONMALLOC": allocator}
    done = subprocess.run(
        [sys.executable, "-c", ALONE + PROGRAM], env=environment, capture_output=True, text=True, timeout=150
    )
    assert done.stderr == ""
    assert done.stdout == "done\n"
    assert done.returncode == 0


def test_no_subinterpreters() -> None:
    inside = """
try:
    import actorkit.heap.c._clock
except ImportError:
    print("refused")
"""
    program = f"""
try:
    import _xxsubinterpreters as interpreters
except ImportError:
    import _interpreters as interpreters
import actorkit.heap.clock
other = interpreters.create()
interpreters.run_string(other, {ALONE + inside!r})
interpreters.destroy(other)
"""
    done = subprocess.run([sys.executable, "-c", ALONE + program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "refused\n", done.stderr
