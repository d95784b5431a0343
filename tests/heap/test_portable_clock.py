"""The clock without the extension has the same surface, and the package says what is in force."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import threading
from types import ModuleType
from typing import Any

import pytest

from actorkit.heap import clock, own_heaps, walk
from actorkit.heap.capabilities import capabilities, remedies
from actorkit.heap.capability_terms import TABLE, Need
from actorkit.heap.python import clock as portable_clock
from actorkit.heap.python import walk as pure_walk

from .alone import ALONE

counting = pytest.mark.skipif(not clock.COUNTS_ALLOCATIONS, reason=f"portable clock: {clock.WHY_PORTABLE}")


def public(thing: object) -> set[str]:
    return {name for name in dir(thing) if not name.startswith("_")}


@counting
def test_both_clocks_have_the_same_names() -> None:
    from actorkit.heap.c import _clock

    assert public(_clock) == set(portable_clock.__all__)
    assert set(portable_clock.__all__) | {"WHY_PORTABLE"} == set(clock.__all__)
    assert public(_clock.Account) == public(portable_clock.Account)
    for name in ("REFUSABLE", "REARM_STEP"):
        assert getattr(_clock, name) == getattr(portable_clock, name)
    for name in portable_clock.__all__:
        ours, theirs = getattr(portable_clock, name), getattr(_clock, name)
        if inspect.isfunction(ours):
            assert list(inspect.signature(ours).parameters) == list(inspect.signature(theirs).parameters), name
            assert theirs.__doc__


@counting
def test_both_size_what_is_received_alike() -> None:
    """One call sizes and charges. The extension charges what the walk says, or more for parts that
    others hold too or that come twice. It never charges less.
    """
    from actorkit.heap.c import _clock

    once = object()
    held = "".join(["held", "elsewhere"])
    twice = "".join(["tw", "ice"])
    values: list[object] = [
        None, True, 7, -(10**40), 10**6 + 0.5, "x" * 100, "é" * 3, b"12" * 40, once, (), [], {},
        (1.5, held), [held] * 3, [float("1.25"), b"b" * 700], {"a": 1000.25, "b": held, "c": [1]},
        {number: float(number) for number in range(40)}, {f"k{n}": n * 1e9 for n in range(10)},
        [n * 1e9 for n in range(100)], {"deep": {"deeper": [{"a": (1, 2.5)}]}}, bytearray(30), {1, 2}, range(3),
    ]  # fmt: skip
    values += [(twice, twice), [twice, held], {"k": twice, twice: 1.5}, {**{f"k{n}": 1 for n in range(9)}}]
    shrunk = {f"s{n}": n * 1e9 for n in range(30)}
    for n in range(25):
        del shrunk[f"s{n}"]
    values.append(shrunk)
    messages = [(), *((value,) for value in values), (1e9, "two"), (held, held), (values[4], [values[4]])]
    for arguments in messages:
        ours, theirs = portable_clock.Account(), _clock.Account()
        for account in (ours, theirs):
            assert account.receive(arguments)
        assert ours.bytes == walk.size_of(*arguments) + clock.ENVELOPE, arguments
        assert ours.bytes == pure_walk.size_of(*arguments) + clock.ENVELOPE, arguments
        assert ours.bytes <= theirs.bytes <= ours.bytes + (1100 if shared_within(arguments) else 0), arguments


def shared_within(what: Any) -> bool:
    """Whether some parts of it are held elsewhere too, or come twice. (Four references come from
    here.)
    """
    if isinstance(what, (list, tuple, dict)):
        parts = [*what, *what.values()] if isinstance(what, dict) else list(what)
        return any(sys.getrefcount(part) > 4 or shared_within(part) for part in parts)
    return False


@pytest.mark.parametrize("module", [portable_clock, *([clock] if clock.COUNTS_ALLOCATIONS else [])])
def test_what_is_received_has_to_fit(module: ModuleType) -> None:
    account = module.Account()
    size = walk.size_of(b"x" * 1000) + module.ENVELOPE
    account.soft = 2 * size + 1
    assert [account.receive((b"x" * 1000,)) for _ in range(3)] == [True, True, False]
    assert (account.bytes, account.due) == (2 * size, False)
    account.soft = 0
    assert account.receive((b"x" * 1000,))
    account.measured = True
    assert not account.receive((1,))
    account.measured = False
    with pytest.raises(TypeError, match="tuple"):
        account.receive([1])
    with pytest.raises(TypeError, match="callable"):
        module.size_with(3)
    try:
        module.size_with(lambda *objects: 10 * len(objects))
        account.reset()
        assert account.receive((1, 2))
        assert account.bytes == 20 + module.ENVELOPE

        def fail(*_: object) -> int:
            raise MemoryError("no room to size it")

        module.size_with(fail)
        with pytest.raises(MemoryError, match="no room"):
            account.receive((1,))
    finally:
        walk.size_messages()


CLOCKS = [portable_clock, *([clock] if clock.COUNTS_ALLOCATIONS else [])]


@pytest.mark.parametrize("module", CLOCKS, ids=lambda module: module.__name__)
def test_both_keep_the_same_books(module: ModuleType) -> None:
    account = module.Account("owner")
    assert module.current() is None
    account.soft, account.hard, account.giant = 1000, 2000, 3000
    account.charge(999)
    assert (account.bytes, account.total, account.due, account.activation) == (999, 999, False, 0)
    account.charge(1)
    assert account.due
    account.reset(10)
    assert (account.bytes, account.total, account.due) == (10, 1000, False)
    account.bytes = 20
    assert (account.bytes, account.soft, account.hard, account.giant, account.live) == (
        20,
        1000,
        2000,
        3000,
        None,
    )
    assert (account.refused, account.last_refused, account.peak_request) == (0, 0, 0)
    for attribute in ("bytes", "soft", "hard", "giant"):
        for value, error in ((-1, ValueError), (2**63, OverflowError), ("1", TypeError)):
            with pytest.raises(error):
                setattr(account, attribute, value)
    for attribute in (
        "total",
        "due",
        "live",
        "refused",
        "last_refused",
        "peak_request",
        "activation",
        "unknown",
    ):
        with pytest.raises(AttributeError):
            setattr(account, attribute, 1)

    class Record:
        def __init__(self, account: Any) -> None:
            self.account = account

    module.switch(Record(account))
    assert module.current() is account
    assert module.enter(None) is account
    module.switch(object())
    module.switch(None)
    assert module.enter(account) is None
    assert account.activation == 2
    seen: list[object] = []
    thread = threading.Thread(target=lambda: seen.append(module.current()))
    thread.start()
    thread.join()
    assert seen == [None]
    module.enter(None)
    for wrong in (module.enter, lambda value: module.switch(Record(value))):
        with pytest.raises(TypeError):
            wrong("account")

    assert module.uninstall()
    assert not module.verify()
    module.install(print)
    module.install(print)
    for wrong_alarm, error in ((len, ValueError), (None, TypeError)):
        with pytest.raises(error):
            module.install(wrong_alarm)
    assert not module.uninstall()
    assert module.installed()
    assert module.verify()
    assert module.reinstall()
    assert module.can_interrupt() is (module is clock)
    assert module.uninstall()
    assert not module.installed()
    assert not module.reinstall()


def test_looks_come_as_often_as_they_are_cheap() -> None:
    """After a look that has reset the account, the next one is due after a number of activations
    that follows from its cost. A look that could not be made is due again at once.
    """
    account = portable_clock.Account()
    looks: list[int] = []
    cost: int | None = 100

    def boundary(told: object) -> int | None:
        assert told is account
        looks.append(account.activation)
        if cost is not None:
            account.reset()
        return cost

    class Record:
        pass

    record: Any = Record()
    record.account = account

    def run(times: int) -> list[int]:
        looks.clear()
        before = account.activation
        for _ in range(times):
            portable_clock.switch(record)
            portable_clock.switch(None)
        return [look - before for look in looks]

    portable_clock.install(print, boundary)
    try:
        first, per, of_a_look = portable_clock.FIRST_LOOK, portable_clock.PER_REFERENCE, portable_clock.OF_A_LOOK
        interval = per * (of_a_look + 100)
        assert run(first + 2 * interval) == [first, first + interval, first + 2 * interval]
        cost = 0
        assert run(interval + per * of_a_look) == [interval, interval + per * of_a_look]
        cost = None
        run(per * of_a_look - 1)
        assert run(3) == [1, 2, 3]
        cost = 0
        assert run(3) == [1]
        account.soft = 10
        account.charge(10)  # bytes make a look due as well
        assert run(1) == [1]
    finally:
        portable_clock.uninstall()


@counting
def test_capabilities_with_the_extension() -> None:
    own = {name for name, terms in TABLE.items() if Need.OWN_HEAPS in terms.needs}
    nowhere = {"stop_in_thread"}
    assert set(remedies()) - nowhere == (set() if own_heaps.why_not() is None else own - nowhere)
    assert set(remedies(own_heaps=False)) == own | nowhere
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.extend([capabilities(), remedies()]))
    thread.start()
    thread.join()
    assert not found[0].stop_in_handler
    assert "main thread" in found[1]["stop_in_handler"]


def test_the_portable_clock_can_be_asked_for() -> None:
    program = """
from actorkit.heap import clock, own_heaps, walk
from actorkit.heap.python import clock as portable_clock
from actorkit.heap.capabilities import capabilities, remedies
import attrs, sys
assert clock.Account is portable_clock.Account and not clock.COUNTS_ALLOCATIONS
assert "actorkit.heap.c._clock" not in sys.modules
there = attrs.asdict(capabilities())
assert not (there["clock"] or there["stop_in_handler"] or there["refuse_large"] or there["return_pages"])
assert {name for name, has in there.items() if not has} == set(remedies())
assert "ACTORKIT_PURE" in remedies()["clock"]
"""
    subprocess.run(
        [sys.executable, "-c", ALONE + program],
        env={**os.environ, "ACTORKIT_PURE": "1"},
        check=True,
        timeout=60,
    )
