"""The allocation clock: what it counts, for which account, whom it interrupts, and what it
refuses.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from itertools import pairwise
from types import FrameType
from typing import Any, cast

import pytest

from actorkit.heap import clock, walk
from actorkit.heap.clock import REARM_STEP, REFUSABLE, Account
from actorkit.heap.threads import in_account

pytestmark = pytest.mark.skipif(not clock.COUNTS_ALLOCATIONS, reason=f"portable clock: {clock.WHY_PORTABLE}")

MIB = 1024 * 1024


class Alarm:
    """The callback that ``install`` is given: it remembers its calls and calls ``then``."""

    def __init__(self) -> None:
        self.calls: list[tuple[Account, int, FrameType | None]] = []
        self.then: Callable[[Account], object] = Account.reset

    def __call__(self, account: Account, activation: int) -> None:
        frame = sys._getframe(1)
        self.calls.append((account, activation, frame))
        self.then(account)


@pytest.fixture
def alarm() -> Iterator[Alarm]:
    function = Alarm()
    clock.install(function)
    try:
        yield function
    finally:
        clock.enter(None)
        assert clock.uninstall()
        assert not clock.installed()


def allocated(function: Callable[[], object]) -> int:
    """The bytes that are charged to an account while the function runs."""
    account = Account()
    previous = clock.enter(account)
    try:
        function()
    finally:
        clock.enter(previous)
    return account.bytes


# --- Counting ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("alarm")
def test_small_requests_count() -> None:
    def small() -> list[bytes]:
        return [bytes(100) for _ in range(10_000)]

    assert 10_000 * 144 <= allocated(small) <= 10_000 * 144 + 500_000


KINDS: dict[str, Callable[[int], Any]] = {
    "int": lambda i: 10**9 + i,
    "float": lambda i: i + 0.5,
    "str": lambda i: f"{i:03}",
    "bytes": lambda i: bytes(1 + i % 16),
    "large": lambda i: bytes(513 + i),
    "tuple": lambda i: (i,) * 21,  # the freelists serve shorter ones, by the thousand
    "dict": lambda i: {i: None},
    "set": lambda i: {i},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("alarm")
def test_no_less_is_counted_than_a_walk_finds(kind: str) -> None:
    """The clock counts blocks, as the walk does, not the bytes asked for: 24 bytes take 32.
    Otherwise an actor could pass its limit while its clock says that it has not. (The interpreter's
    freelists are not counted: they hold some objects of each type.)
    """
    make = KINDS[kind]
    numbers = list(range(1000, 6000))
    made: list[Any] = []
    assert allocated(lambda: made.extend(map(make, numbers))) + 20_000 >= walk.size_of(made)


@pytest.mark.parametrize("size", [500, 1000, 100_000, 50 * MIB])
@pytest.mark.usefixtures("alarm")
def test_a_large_request_counts_once(size: int) -> None:
    def large() -> bytes:
        return bytes(size)

    assert size + 33 <= allocated(large) <= size + 2 * 4096


@pytest.mark.usefixtures("alarm")
def test_a_realloc_counts_by_its_growth() -> None:
    def text() -> None:
        grown = ""
        for _ in range(100_000):
            grown += "x"

    def append() -> None:
        grown: list[None] = []
        for _ in range(1_000_000):
            grown.append(None)

    assert 100_000 <= allocated(text) <= 5 * MIB  # counted in full it would be 5 GB
    assert 7 * MIB <= allocated(append) <= 60 * MIB


@pytest.mark.usefixtures("alarm")
def test_growth_by_single_bytes_is_not_missed() -> None:
    """The C library rounds large blocks up to pages; the count follows its blocks, not the
    requests.
    """
    grown = bytearray(10 * MIB)
    step = bytes(1)

    def grow() -> None:
        for _ in range(2 * MIB):
            grown.extend(step)

    assert allocated(grow) >= 2 * MIB - 5000


@pytest.mark.usefixtures("alarm")
def test_shrinking_counts_nothing() -> None:
    grown = bytearray(10 * MIB)

    def shrink() -> None:
        del grown[5 * MIB :]

    assert allocated(shrink) < 2000


@pytest.mark.usefixtures("alarm")
def test_to_whom() -> None:
    outer, inner = Account("outer"), Account("inner")
    assert clock.enter(outer) is None
    kept = [bytes(10_000)]
    assert clock.enter(inner) is outer
    kept.append(bytes(30_000))
    assert clock.current() is inner
    assert clock.enter(outer) is inner
    kept.append(bytes(10_000))
    assert clock.enter(None) is outer
    kept.append(bytes(90_000))
    assert clock.current() is None
    assert 20_000 < outer.bytes < 22_000
    assert 30_000 < inner.bytes < 32_000
    assert (outer.activation, inner.activation) == (2, 1)


def test_nothing_is_counted_before_install() -> None:
    assert allocated(lambda: bytes(10_000)) == 0
    assert not clock.verify()


@pytest.mark.usefixtures("alarm")
def test_each_thread_has_its_own() -> None:
    mine, theirs = Account(), Account()

    def work() -> int:
        assert clock.current() is theirs
        return len(bytes(MIB))

    seen: list[Account | None] = []

    def thread() -> None:
        seen.append(clock.current())
        bytes(MIB)
        in_account(theirs, work)()
        seen.append(clock.current())

    worker = threading.Thread(target=thread)
    clock.enter(mine)
    worker.start()
    worker.join()
    clock.enter(None)
    assert seen == [None, None]
    assert mine.bytes < 50_000
    assert MIB < theirs.bytes < MIB + 50_000


def test_in_account_leaves_after_an_exception() -> None:
    def fail() -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        in_account(Account(), fail)()
    assert clock.current() is None
    assert in_account(None, fail).__name__ == "fail"


@pytest.mark.usefixtures("alarm")
def test_two_threads_in_one_account_lose_nothing() -> None:
    """One thread adds without the GIL: hashing and compressing release it, and their buffers come
    from the raw domain.
    """
    import zlib

    account, data = Account(), bytes(200_000)

    def work() -> None:
        for _ in range(30):
            zlib.decompress(zlib.compress(data, 1), bufsize=300_000)

    threads = [threading.Thread(target=in_account(account, work)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone = Account()
    in_account(alone, work)()
    assert abs(account.total - 2 * alone.total) < 50_000


def test_bytes_and_thresholds() -> None:
    account = Account("whose")
    assert account.owner == "whose"
    assert account.verdict is None
    assert account.live is None
    assert (account.bytes, account.total, account.soft, account.hard, account.giant) == (0, 0, 0, 0, 0)
    account.charge(100)
    account.bytes = 500
    assert (account.bytes, account.total) == (500, 100)
    account.soft = 600
    account.charge(99)
    before = account.due
    account.charge(1)
    assert (before, account.due) == (False, True)
    account.reset(50)
    assert (account.bytes, account.total, account.due, account.soft) == (50, 200, False, 600)
    account.reset(bytes=7)
    assert account.bytes == 7
    account.reset()
    assert account.bytes == 0
    with pytest.raises(ValueError, match="negative"):
        account.soft = -1
    with pytest.raises(ValueError, match="negative"):
        account.charge(-1)
    with pytest.raises(OverflowError):
        account.bytes = 2**64
    with pytest.raises(TypeError):
        account.hard = cast(int, 1.5)
    with pytest.raises(AttributeError):
        setattr(account, "total", 1)  # noqa: B010
    with pytest.raises(AttributeError):
        del account.soft
    with pytest.raises(TypeError):
        clock.enter(cast(Account, "account"))
    assert clock.current() is None


# --- The switch --------------------------------------------------------------------------------


class Record:
    __slots__ = ("account", "other")

    def __init__(self, account: Account | None) -> None:
        self.account = account


class SubRecord(Record):
    pass


class Unlike:
    def __init__(self, account: object) -> None:
        self.account = account


class Nothing:
    pass


def test_switch_enters_the_account_of_a_record() -> None:
    account = Account()
    for record in (Record(account), SubRecord(account), Unlike(account), Record(account)):
        clock.switch(record)
        assert clock.current() is account
        clock.switch(None)
        assert clock.current() is None
    assert account.activation == 4
    unset = Record(account)
    del unset.account
    nobody_s: list[object] = [unset, Record(None), Unlike(None), Nothing(), 3]
    for other in nobody_s:
        clock.switch(Record(account))
        clock.switch(other)
        assert clock.current() is None
    with pytest.raises(TypeError, match="Account"):
        clock.switch(Unlike("no account"))


def test_switch_follows_changes_of_the_class() -> None:
    """Classes die, and others are born at the same address; and a class may get another attribute
    in place of the slot.
    """
    account = Account()
    for number in range(50):
        cls = type("Temporary", (), {"__slots__": [*(f"a{i}" for i in range(number % 5)), "account"]})
        record: Any = cls()
        record.account = account
        clock.switch(record)
        assert clock.current() is account
        clock.switch(None)
    other = Account()
    cls.account = property(lambda self: other)  # type: ignore[attr-defined]
    clock.switch(record)
    assert clock.current() is other
    clock.switch(None)


def test_no_reference_is_leaked() -> None:
    account = Account()
    record = Record(account)
    before = sys.getrefcount(account), sys.getrefcount(None)
    for _ in range(25_000):
        clock.enter(account)
        clock.enter(None)
        clock.switch(record)
        clock.switch(None)
    assert sys.getrefcount(account) == before[0]
    assert abs(sys.getrefcount(None) - before[1]) < 100


def test_an_entered_account_lives_until_it_is_left() -> None:
    account: Account | None = Account(owner=[])
    watch = weakref.ref(account)
    clock.enter(account)
    account = None
    gc.collect()
    assert watch() is not None
    clock.enter(None)
    assert watch() is None


def test_an_account_in_a_cycle_is_collected() -> None:
    account = Account()
    account.owner = [account]
    account.verdict = (account,)
    watch = weakref.ref(account)
    del account
    gc.collect()
    assert watch() is None


# --- The alarm ---------------------------------------------------------------------------------


class OverError(BaseException):
    pass


def raising(account: Account) -> None:
    raise OverError


def loop() -> None:
    kept = []
    while True:
        kept.append(bytes(1000))


def comprehension() -> None:
    [bytes(1000) for _ in iter(int, 1)]


def generator() -> None:
    list(bytes(1000) for _ in iter(int, 1))


def called_from_c() -> None:
    list(map(lambda _: bytes(1000), iter(int, 1)))


def helper() -> None:
    kept = []

    def add() -> None:
        kept.append(bytes(1000))

    while True:
        add()


@pytest.mark.parametrize("endless", [loop, comprehension, generator, called_from_c, helper])
def test_the_alarm_interrupts(alarm: Alarm, endless: Callable[[], None]) -> None:
    account = Account()
    account.soft = 3 * MIB
    alarm.then = raising
    clock.enter(account)
    with pytest.raises(OverError) as caught:
        endless()
    clock.enter(None)
    assert account.due
    assert 3 * MIB <= account.bytes <= 3 * MIB + REFUSABLE
    ((who, activation, frame),) = alarm.calls
    assert who is account
    assert activation == account.activation == 1
    # The frame beneath the alarm's is the interrupted one. In the traceback only the alarm's own
    # frames come after it.
    assert frame is not None
    entry = caught.traceback[-3]
    assert entry.frame.raw is frame
    alarm.calls.clear()


def test_the_alarm_s_own_allocations_are_nobody_s(alarm: Alarm) -> None:
    account, kept = Account(), []

    def then(account: Account) -> None:
        assert clock.current() is None
        kept.append(bytes(MIB))
        account.reset()

    alarm.then = then
    account.soft = 100_000
    clock.enter(account)
    for _ in range(250):
        bytearray(1000)
    clock.enter(None)
    assert len(alarm.calls) == len(kept) == 2
    assert account.total < 600_000


def test_it_comes_again_after_a_step(alarm: Alarm) -> None:
    """An alarm that raises, or neither resets the account nor moves the threshold, is called again,
    but not at once.
    """
    account = Account()
    seen = []

    def then(account: Account) -> None:
        seen.append(account.bytes)
        if len(seen) % 2:
            raise OverError

    alarm.then = then
    account.soft = MIB
    clock.enter(account)
    while len(seen) < 6:
        try:
            for _ in range(100_000):
                bytearray(1000)
        except OverError:
            pass
    clock.enter(None)
    assert all(0 <= after - before - REARM_STEP <= 20_000 for before, after in pairwise(seen))
    assert account.due


def test_it_is_dropped_when_the_activation_is_over(alarm: Alarm) -> None:
    """Straight-line code without a call passes the threshold and leaves the account: nobody is
    interrupted afterwards.
    """
    account, other = Account(), Account()
    account.soft = 1000
    enter = clock.enter
    for following in (None, other):
        enter(account), [None] * 500, enter(following)
        for _ in range(100):
            pass
        enter(None)
    assert alarm.calls == []
    assert account.due


def test_a_later_activation_asks_anew(alarm: Alarm) -> None:
    account = Account()
    account.soft = 1000
    account.charge(2000)
    assert account.due
    clock.enter(account)
    for _ in range(10):
        bytearray(10)
    clock.enter(None)
    assert [activation for _, activation, _ in alarm.calls] == [1]
    clock.enter(account)
    account.charge(3000)
    for _ in range(10):
        pass
    clock.enter(None)
    assert [activation for _, activation, _ in alarm.calls] == [1, 2]


def test_setting_bytes_over_the_threshold_asks(alarm: Alarm) -> None:
    account = Account()
    account.soft = 1000
    account.bytes = 5000
    clock.enter(account)
    for _ in range(10):
        bytearray(10)
    clock.enter(None)
    assert len(alarm.calls) == 1


def test_elsewhere_nobody_is_interrupted(alarm: Alarm) -> None:
    account = Account()
    account.soft = 100_000

    def work() -> bool:
        for _ in range(1000):
            bytearray(1000)
        return clock.can_interrupt()

    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(in_account(account, work)()))
    thread.start()
    thread.join()
    assert account.due
    assert alarm.calls == []
    assert found == [False]
    assert clock.can_interrupt()


def test_a_full_queue_is_tried_again(alarm: Alarm) -> None:
    """The interpreter queues at most 32 pending calls. The test fills its queue before the alarm is
    due.
    """
    import ctypes

    calls = []

    def note() -> int:
        calls.append(1)
        return 0

    noted = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(lambda _: note())
    add = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(("Py_AddPendingCall", ctypes.pythonapi))
    address = ctypes.cast(noted, ctypes.c_void_p)
    account = Account()
    account.soft = 1000

    def fill() -> None:
        list(map(add, [address] * 40, [None] * 40))

    clock.enter(account)
    fill()
    for _ in range(1000):
        bytearray(100)
    clock.enter(None)
    assert calls
    assert alarm.calls


# --- Refusals ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("alarm")
def test_a_giant_request_is_refused() -> None:
    account = Account()
    account.giant = MIB
    clock.enter(account)
    kept = [bytes(MIB - 100)]
    with pytest.raises(MemoryError):
        bytes(10**10)
    with pytest.raises(MemoryError):
        [0] * (2 * 10**8)
    clock.enter(None)
    assert account.refused == 2
    assert account.last_refused == 8 * 2 * 10**8
    assert account.bytes < 2 * MIB, "what is refused is not counted"
    kept.append(bytes(2 * MIB))


@pytest.mark.usefixtures("alarm")
def test_beyond_the_hard_cap_large_requests_are_refused_and_small_ones_are_not() -> None:
    account = Account()
    account.hard = MIB
    grown = bytearray(300_000)
    clock.enter(account)
    kept = [bytes(60_000) for _ in range(40)]
    assert account.bytes > 2 * MIB
    assert account.refused == 0
    with pytest.raises(MemoryError):
        bytes(REFUSABLE)
    with pytest.raises(MemoryError):
        grown.extend(bytes(60_000))
    del grown[100_000:]
    kept.append(bytes(1))
    clock.enter(None)
    assert account.refused == 2
    assert len(grown) == 100_000
    assert len(bytes(REFUSABLE)) == REFUSABLE


@pytest.mark.parametrize(
    "endless",
    [
        lambda: list(map(str, range(10**8))),
        lambda: sorted(map(str, range(10**8))),
        lambda: set(map(str, range(10**8))),
        lambda: dict.fromkeys(range(10**8)),
        lambda: sorted(range(10**8), key=str),
    ],
    ids=["list", "sorted", "set", "dict.fromkeys", "sorted by key"],
)
@pytest.mark.usefixtures("alarm")
def test_loops_in_c_end_near_the_hard_cap(endless: Callable[[], object]) -> None:
    account = Account()
    account.hard = 10 * MIB
    clock.enter(account)
    with pytest.raises(MemoryError):
        endless()
    clock.enter(None)
    assert account.bytes < 2 * 10 * MIB


@pytest.mark.usefixtures("alarm")
def test_in_a_thread_too() -> None:
    account = Account()
    account.giant = MIB
    failed: list[BaseException] = []

    def work() -> None:
        try:
            bytes(2 * MIB)
        except MemoryError as error:
            failed.append(error)

    thread = threading.Thread(target=in_account(account, work))
    thread.start()
    thread.join()
    assert failed
    assert account.refused == 1


# --- Installing --------------------------------------------------------------------------------


def test_installed_twice(alarm: Alarm) -> None:
    clock.install(alarm)
    assert not clock.uninstall()
    assert clock.installed()
    assert clock.verify()
    with pytest.raises(ValueError, match="another alarm"):
        clock.install(print)
    with pytest.raises(TypeError):
        clock.install(None)  # type: ignore[arg-type]
    assert 10_000 < allocated(lambda: bytes(10_000)) < 12_000, "and not counted twice"


def test_uninstall_without_install() -> None:
    assert clock.uninstall()
    assert not clock.reinstall()
    assert not clock.can_interrupt()


def test_again_and_again() -> None:
    for _ in range(20):
        clock.install(print)
        assert clock.verify()
        assert clock.uninstall()
        assert allocated(lambda: bytes(10_000)) == 0


def test_uninstalled_while_the_alarm_is_due(alarm: Alarm) -> None:
    """A pending call that comes after the clock was uninstalled does nothing."""
    account = Account()
    account.soft = 1000
    clock.enter(account), [None] * 500, clock.uninstall()
    for _ in range(10):
        bytearray(10)
    clock.enter(None)
    assert alarm.calls == []
    clock.install(alarm)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_goes_on(alarm: Alarm) -> None:
    account = Account()
    account.soft = 2 * MIB
    alarm.then = raising
    clock.enter(account)
    child = os.fork()
    if child == 0:
        status = 1
        signal.alarm(60)  # a child that hangs is killed, and its status shows that
        try:
            if clock.verify() and clock.can_interrupt():
                loop()
        except OverError:
            status = 0
        finally:
            os._exit(status)
    clock.enter(None)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
