"""What the clock knows to be alive: blocks on an account's own pages, its large blocks in a ledger,
and a bound of all that it may hold.
"""

from __future__ import annotations

import ctypes
import gc
import importlib.util
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from actorkit.heap import clock
from actorkit.heap.clock import Account

from .alone import ALONE

pytestmark = pytest.mark.skipif(not clock.COUNTS_ALLOCATIONS, reason=f"portable clock: {clock.WHY_PORTABLE}")

KIB = 1024
MIB = 1024 * 1024
SLACK = 32
"""The C library's block is larger than the request by less than this, the trailer included."""

alarms: list[Account] = []


def alarm(account: Account, activation: int) -> None:
    alarms.append(account)
    account.reset()


@pytest.fixture(autouse=True)
def installed() -> Iterator[None]:
    alarms.clear()
    clock.install(alarm)
    try:
        if not clock.keeps_ledgers():
            pytest.skip("no ledgers under this allocator")
        yield
    finally:
        clock.enter(None)
        clock.uninstall()


def within(account: Account | None, function: Callable[[], Any]) -> Any:
    previous = clock.enter(account)
    try:
        return function()
    finally:
        clock.enter(previous)


def function_of(name: str, *arguments: Any, returns: Any = ctypes.c_void_p, gil: bool = True) -> Any:
    library = ctypes.pythonapi if gil else ctypes.CDLL(None)
    found = library[name]
    found.argtypes, found.restype = arguments, returns
    return found


# --- Large blocks ------------------------------------------------------------------------------


def test_a_large_block_counts_while_it_lives() -> None:
    account = Account()
    kept = within(account, lambda: bytearray(100_000))
    assert 100_000 <= account.large_live <= 100_000 + SLACK + 8
    assert account.held_at_most >= account.large_live
    del kept
    assert account.large_live == 0


def test_it_is_taken_off_in_another_account_and_in_nobody_s() -> None:
    ours, theirs = Account(), Account()
    first, second = within(ours, lambda: (bytearray(5000), bytearray(7000)))
    assert 12_000 <= ours.large_live <= 12_000 + 2 * SLACK
    within(theirs, first.clear)
    assert 7000 <= ours.large_live <= 7000 + SLACK
    second.clear()
    assert (ours.large_live, theirs.large_live) == (0, 0)


def test_who_makes_it_grow_owns_it() -> None:
    ours, theirs = Account(), Account()
    grown = within(ours, lambda: [None] * 1000)
    assert 8000 <= ours.large_live <= 8000 + SLACK
    within(theirs, lambda: grown.extend([None] * 1000))
    assert ours.large_live == 0
    assert 16_000 <= theirs.large_live <= 20_000
    before = theirs.large_live
    within(ours, lambda: grown.__delitem__(slice(800, None)))  # smaller: it stays theirs
    assert ours.large_live == 0
    assert 6400 <= theirs.large_live < before / 2
    grown.extend([None] * 4000)  # nobody makes it grow: it stays theirs
    assert 4800 * 8 <= theirs.large_live <= 6000 * 8
    grown.clear()
    assert theirs.large_live == 0


def test_nobody_s_block_is_whose_who_makes_it_grow() -> None:
    account = Account()
    table = [None] * 1000
    within(account, lambda: table.__delitem__(slice(900, None)))
    assert account.large_live == 0
    within(account, lambda: table.extend([None] * 2000))
    assert account.large_live >= 2900 * 8
    table.clear()
    assert account.large_live == 0


def test_a_block_that_becomes_small_leaves_the_ledger() -> None:
    account = Account()
    kept = within(account, lambda: [None] * 1000)
    within(account, lambda: kept.__delitem__(slice(10, None)))
    assert account.large_live == 0
    assert kept == [None] * 10


def test_a_ledger_outlives_its_account() -> None:
    account = Account()
    kept = within(account, lambda: [bytearray(1000) for _ in range(100)])
    del account
    del kept  # frees the ledger


def test_threads_exchange_blocks_and_all_ledgers_return_to_zero() -> None:
    """Three threads allocate, resize and free each other's blocks, in accounts changed at random,
    through the raw domain (without the GIL too) and through objects."""
    accounts = [Account() for _ in range(5)]
    with_gil = (
        function_of("PyMem_RawMalloc", ctypes.c_size_t),
        function_of("PyMem_RawRealloc", ctypes.c_void_p, ctypes.c_size_t),
        function_of("PyMem_RawFree", ctypes.c_void_p, returns=None),
        function_of("PyMem_RawCalloc", ctypes.c_size_t, ctypes.c_size_t),
    )
    without = (
        function_of("PyMem_RawMalloc", ctypes.c_size_t, gil=False),
        function_of("PyMem_RawRealloc", ctypes.c_void_p, ctypes.c_size_t, gil=False),
        function_of("PyMem_RawFree", ctypes.c_void_p, returns=None, gil=False),
        function_of("PyMem_RawCalloc", ctypes.c_size_t, ctypes.c_size_t, gil=False),
    )
    pool: list[int] = []
    objects: list[bytearray] = []
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        choose = random.Random(seed)
        try:
            for _ in range(6000):
                malloc, realloc, free, calloc = choose.choice((with_gil, without))
                size = choose.choice((100, 400, 513, 600, 1000, 4096, 20_000, 200_000))
                clock.enter(choose.choice([*accounts, None]))
                match choose.randrange(6):
                    case 0:
                        pool.append(malloc(size))
                    case 1:
                        pool.append(calloc(1, size))
                    case 2 if pool:
                        pool.append(realloc(pool.pop(choose.randrange(len(pool)) - 1 if len(pool) > 3 else 0), size))
                    case 3 if len(pool) > 50:
                        free(pool.pop())
                    case 4:
                        objects.append(bytearray(size))
                    case 5 if objects:
                        kept = objects.pop()
                        kept.extend(bytes(choose.randrange(3000)))
                        if choose.randrange(2):
                            objects.append(kept)
                clock.enter(None)
        except BaseException as error:
            failures.append(error)
        finally:
            clock.enter(None)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    failures = [error for error in failures if not isinstance(error, IndexError)]  # the pool was emptied meanwhile
    assert not failures
    assert any(account.large_live for account in accounts)
    for block in pool:
        with_gil[2](block)
    pool.clear()
    objects.clear()
    assert [account.large_live for account in accounts] == [0] * 5


def test_a_request_that_fails_counts_nothing() -> None:
    account = Account()
    for _ in range(4):
        for function in (lambda: bytearray(2**62), lambda: [None] * 2**58, lambda: bytes(sys.maxsize - 40)):
            with pytest.raises(MemoryError):
                within(account, function)
    assert account.large_live == 0
    assert account.bytes < 100_000
    malloc = function_of("PyMem_RawMalloc", ctypes.c_size_t)
    realloc = function_of("PyMem_RawRealloc", ctypes.c_void_p, ctypes.c_size_t)
    free = function_of("PyMem_RawFree", ctypes.c_void_p, returns=None)
    for size in (sys.maxsize, sys.maxsize - 1, sys.maxsize - 15, sys.maxsize - 16, sys.maxsize - 17):
        assert within(account, lambda size=size: malloc(size)) is None
    block = within(account, lambda: malloc(1000))
    held = account.large_live
    assert within(account, lambda: realloc(block, sys.maxsize - 16)) is None
    assert realloc(block, sys.maxsize - 16) is None
    assert account.large_live == held  # it is sealed as before
    free(block)
    assert account.large_live == 0


def test_no_counter_overflows() -> None:
    account = Account()
    for _ in range(10):
        account.charge(2**63 - 1)
    assert account.bytes <= 2**63
    assert account.held_at_most < 2**64
    account.limit = 2**63 - 1
    account.soft = 1
    account.charge(1)
    kept = within(account, lambda: bytearray(100_000))
    assert len(kept) == 100_000
    account.reset(elsewhere=0)
    assert account.bytes == 0
    assert account.held_at_most < 200_000


# --- The bound ---------------------------------------------------------------------------------


def test_elsewhere_grows_in_gross_and_becomes_what_an_exact_look_finds() -> None:
    account = Account()
    for _ in range(10):
        within(account, lambda: [object() for _ in range(100)])
    assert account.own_live == 0
    assert account.elsewhere >= 10 * 100 * 16
    account.charge(5000)
    account.reset()
    assert account.elsewhere >= 10 * 100 * 16 + 5000  # that was not exact
    account.reset(elsewhere=700)
    assert account.elsewhere == 700
    account.charge(50)
    assert account.elsewhere == 750
    with pytest.raises(ValueError, match="must not be negative"):
        account.reset(elsewhere=-1)


def test_own_pages_count_live() -> None:
    if not clock.own_heaps():
        pytest.skip("no heaps of their own here")
    account = Account()
    account.own_heap = True
    if not account.own_heap:
        pytest.skip("no heap could be had")
    kept = within(account, lambda: [float(number) for number in range(10_000)])
    assert 240_000 <= account.own_live <= 330_000
    assert account.own_live == account.live
    account.charge(1000)
    assert 1000 <= account.elsewhere <= 1000 + 64
    for _ in range(100):
        within(account, lambda: [float(number) for number in range(1000)])
    assert account.held_at_most <= 550_000  # 2.4 MB were allocated meanwhile
    own = account.own_live
    account.own_heap = False  # it rests: small blocks lie elsewhere, and the old ones still count
    assert account.own_live == own
    more = within(account, lambda: [float(number) for number in range(1000)])
    assert account.own_live == own
    assert account.elsewhere >= 1000 + 24_000
    del kept, more
    assert account.own_live < 5000  # the interpreter keeps some floats


def test_the_bound_holds_for_random_programs() -> None:
    """Whatever an account allocates and keeps, its bound is at least what that takes: with and
    without pages of its own, between them, and after exact looks."""
    choose = random.Random(7)
    for seed in range(30):
        account = Account()
        if seed % 2:
            account.settle(0)
        kept: list[tuple[int, Any]] = []

        def step(kept: list[tuple[int, Any]] = kept) -> None:
            for _ in range(choose.randrange(200)):
                match choose.randrange(5):
                    case 0:
                        size = choose.randrange(1, 5000)
                        kept.append((size, bytes(size)))
                    case 1:
                        kept.append((32, "".join(["a", str(choose.random())])))
                    case 2:
                        kept.append((24, choose.random()))
                    case 3:
                        kept.append((64 + 8 * 50, [None] * 50))
                    case 4 if kept:
                        del kept[choose.randrange(len(kept))]

        for _ in range(20):
            within(account, step)
            held = sum(size for size, _ in kept)
            assert account.held_at_most >= held
            if not choose.randrange(4):
                small = sum(size for size, _ in kept if size <= 512)
                account.settle(held)
                account.reset(elsewhere=small)  # more than an exact look would find there
                assert account.held_at_most >= held
        gc.collect()


# --- The alarm ---------------------------------------------------------------------------------


def churn(rounds: int) -> None:
    for _ in range(rounds):
        bytearray(100_000)


def test_who_churns_below_its_limit_calls_nobody() -> None:
    if not clock.own_heaps():
        pytest.skip("no heaps of their own here")
    boundaries: list[Account] = []
    account = Account()
    account.settle(0)
    account.limit = MIB
    account.soft = MIB + 1

    class Record:
        pass

    record: Any = Record()
    record.account = account
    clock.uninstall()
    clock.install(alarm, boundaries.append)
    clock.switch(record)
    kept = [bytearray(8000) for _ in range(100)]
    kept_small = [float(number) for number in range(2000)]
    for _ in range(200):
        churn(10)
        [float(number) for number in range(2000)]
        clock.switch(None)
        assert not account.due
        clock.switch(record)
    clock.switch(None)
    assert account.total > 200 * MIB
    assert account.held_at_most <= MIB
    assert (alarms, boundaries) == ([], [])
    clock.switch(record)
    kept += [bytearray(8000) for _ in range(100)]  # now it does hold more
    for _ in range(10):
        churn(1)
    clock.switch(None)
    assert alarms or boundaries
    del kept, kept_small


def test_a_verdict_stands_whatever_is_alive() -> None:
    account = Account()
    account.limit = 10 * MIB
    account.verdict = "over"
    account.soft = MIB
    within(account, lambda: churn(30))
    assert alarms


def test_an_arrival_that_gross_bytes_do_not_admit_fits_if_little_is_alive() -> None:
    account = Account()
    account.limit = MIB
    account.soft = MIB
    within(account, lambda: churn(9))
    assert account.bytes > 900_000
    assert account.fits(MIB // 2)
    assert not account.fits(MIB // 2)
    account.limit = 0
    assert not account.fits(MIB)


def test_refusals_go_by_what_is_alive() -> None:
    account = Account()
    account.hard = account.giant = MIB
    kept = within(account, lambda: bytearray(700_000))
    within(account, lambda: [bytearray(200_000) for _ in range(1)] * 3)
    for _ in range(50):
        within(account, lambda: bytearray(200_000))
    assert account.refused == 0
    with pytest.raises(MemoryError):
        within(account, lambda: bytearray(400_000))
    with pytest.raises(MemoryError):
        within(account, lambda: bytearray(2**62))
    assert account.refused == 2
    del kept
    within(account, lambda: bytearray(400_000))


HOG = """
def hog(size):
    return bytearray(size)

def through_c(size):
    return list(map(bytearray, [size]))
"""


@pytest.mark.parametrize(
    ("file", "refused"),
    [
        ("actorkit/runtime/life/made_up.py", False),
        ("actorkit/testing/made_up.py", True),
        ("trio/_core/made_up.py", False),
        ("<frozen importlib._bootstrap>", False),
        ("<frozen importlib._bootstrap_external>", False),
        ("/home/user/actorkit/mine.py", True),
        ("/home/üser/€.py", True),
    ],
)
@pytest.mark.parametrize("name", ["hog", "through_c"])
def test_code_of_the_runtime_is_never_refused(file: str, refused: bool, name: str) -> None:
    package, _, rest = file.partition("/")
    if package in ("actorkit", "trio"):
        spec = importlib.util.find_spec(package)
        assert spec is not None
        assert spec.submodule_search_locations
        file = os.path.join(spec.submodule_search_locations[0], rest)
    names: dict[str, Any] = {}
    exec(compile(HOG, file, "exec"), names)
    account = Account()
    account.hard = account.giant = MIB
    if refused:
        with pytest.raises(MemoryError):
            within(account, lambda: names[name](2 * MIB))
    else:
        within(account, lambda: names[name](2 * MIB))
    assert account.refused == refused
    with pytest.raises(MemoryError):
        within(account, lambda: bytearray(2 * MIB))


# --- Other allocators --------------------------------------------------------------------------

PROGRAM = """
import sys, tracemalloc
if "tracemalloc-before" in sys.argv:
    tracemalloc.start()
from actorkit.heap import clock
clock.install(lambda account, activation: account.reset())
if "tracemalloc-after" in sys.argv:
    tracemalloc.start()
assert clock.verify()
account = clock.Account()
clock.enter(account)
kept = [bytearray(3000) for _ in range(100)]
grown = "x" * 1000
for _ in range(2000):
    grown += "y"
shrunk = [None] * 1000
del shrunk[20:]
clock.enter(None)
assert account.held_at_most >= 300_000, account.held_at_most
assert (account.large_live >= 300_000) == clock.keeps_ledgers(), account.large_live
print(clock.keeps_ledgers())
del kept, grown, shrunk
if clock.keeps_ledgers():
    assert account.large_live == 0, account.large_live
account.reset(elsewhere=0)
assert account.held_at_most == 0, account.held_at_most
if "tracemalloc-after" in sys.argv:
    tracemalloc.stop()
clock.enter(account)
late = bytearray(10_000)
clock.enter(None)
clock.uninstall()
del late
if clock.keeps_ledgers():
    assert account.large_live == 0, account.large_live  # the hook stayed while it was needed
"""


@pytest.mark.parametrize(
    ("arguments", "environment", "ledgers"),
    [
        ((), {}, True),
        (("tracemalloc-before",), {}, True),
        (("tracemalloc-after",), {}, True),
        ((), {"PYTHONMALLOC": "malloc"}, True),
        ((), {"PYTHONMALLOC": "debug"}, False),
        ((), {"PYTHONMALLOC": "malloc_debug"}, False),
        ((), {"PYTHONDEVMODE": "1"}, False),
    ],
)
def test_whatever_the_allocator(arguments: tuple[str, ...], environment: dict[str, str], ledgers: bool) -> None:
    plain = {name: value for name, value in os.environ.items() if name not in ("PYTHONMALLOC", "PYTHONDEVMODE")}
    done = subprocess.run(
        [sys.executable, "-c", ALONE + PROGRAM, *arguments],
        env={**plain, **environment},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout == f"{ledgers}\n"
    assert done.returncode == 0
