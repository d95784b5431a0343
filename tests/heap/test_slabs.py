"""Accounts' own heaps: which account gets one, what is given back, and which other hooks may stand
before the allocators.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import trio
import trio.testing

import actorkit as ak
from actorkit.governor.reclaim import trim_allocator
from actorkit.heap import clock, own_heaps
from actorkit.heap.clock import Account

from . import fuzz_slabs
from .alone import ALONE

pytestmark = pytest.mark.skipif(own_heaps.why_not() is not None, reason=f"no heaps of their own: {own_heaps.why_not()}")

KIB = 1024


def alarm(account: Account, activation: int) -> None:
    account.reset()


@pytest.fixture
def installed() -> Iterator[None]:
    clock.install(alarm)
    yield
    clock.enter(None)
    clock.uninstall()


def filled(number: int) -> list[Any]:
    return [{"number": n + 1000, "text": f"text {n}", "pair": (n, float(n))} for n in range(number)]


def within(account: Account, number: int) -> list[Any]:
    previous = clock.enter(account)
    try:
        return filled(number)
    finally:
        clock.enter(previous)


# --- Which account has one -----------------------------------------------------------------------


@pytest.mark.usefixtures("installed")
def test_an_account_that_never_settles_has_none() -> None:
    account = Account()
    kept = within(account, 1000)
    assert account.bytes > 100 * KIB
    assert not account.own_heap
    assert account.live is None
    assert not account.due
    assert kept


@pytest.mark.usefixtures("installed")
def test_who_holds_much_gets_one() -> None:
    account = Account()
    account.settle(0)
    kept = within(account, 10)
    assert not account.due
    kept += within(account, 40)
    assert account.due
    assert account.own_heap, "at once, in the middle of a message"
    account.reset()
    account.settle(1 * KIB)
    assert not account.own_heap, "the look at the boundary knows better"
    account.settle(9 * KIB)
    assert account.own_heap
    kept += within(account, 1000)
    live = account.live
    assert live is not None
    assert 200 * KIB < live < 1000 * KIB
    account.settle(5 * KIB)
    assert account.own_heap
    account.settle(3 * KIB)
    assert not account.own_heap
    assert account.live == live
    kept.clear()
    assert (account.live or 0) < live / 4


@pytest.mark.usefixtures("installed")
def test_who_only_allocates_much_has_none_and_is_looked_at_ever_less() -> None:
    account = Account()
    account.settle(0)
    looks = 0
    for _ in range(1000):
        within(account, 20)
        if account.due:
            looks += 1
            account.reset()
            account.settle(1 * KIB)
        assert not account.own_heap
    assert account.total / (128 * KIB) <= looks + 1
    assert looks <= account.total / (128 * KIB) + 8


@pytest.mark.usefixtures("installed")
def test_who_grows_in_the_middle_of_a_message_gets_one_at_once() -> None:
    account = Account()
    account.settle(0)
    kept = within(account, 1000)
    assert account.due
    assert account.own_heap
    live = account.live
    assert live is not None
    assert live > 150 * KIB
    account.reset()
    account.settle(1 * KIB)  # the look at the boundary knows better
    assert not account.own_heap
    assert kept


@pytest.mark.usefixtures("installed")
def test_large_blocks_do_not_make_a_heap() -> None:
    """Large blocks come from malloc in any case."""
    account = Account()
    account.settle(0)
    clock.enter(account)
    kept = [bytes(10_000) for _ in range(10)]
    clock.enter(None)
    account.settle(100_000)
    assert not account.own_heap
    assert kept


# --- What comes back -----------------------------------------------------------------------------


@pytest.mark.usefixtures("installed")
def test_the_dead_give_their_pages_back() -> None:
    gc.collect()
    own_heaps.purge(10.0)
    before = own_heaps.statistics()
    states = []
    for _ in range(40):
        account = Account()
        account.own_heap = True
        states.append((account, within(account, 300)))
    full = own_heaps.statistics()
    assert full.live - before.live > 2_000_000
    assert full.pages - before.pages < 1.25 * (full.live - before.live)
    assert full.heaps - before.heaps == 40
    del states[::2]
    gc.collect()
    half = own_heaps.statistics()
    assert half.pages + half.cold == full.pages + full.cold, "nothing has gone yet"
    assert half.cold > 0.4 * (full.pages - before.pages)
    assert own_heaps.purge(10.0) > 0.4 * (full.pages - before.pages)
    assert own_heaps.statistics().cold == 0
    again = Account()
    again.own_heap = True
    kept = within(again, 300)
    assert own_heaps.statistics().mapped <= full.mapped
    assert kept
    assert states


@pytest.mark.usefixtures("installed")
def test_cold_pages_are_used_again_and_a_pause_is_kept() -> None:
    account = Account()
    account.own_heap = True
    kept = within(account, 2000)
    kept.clear()
    gc.collect()
    cold = own_heaps.statistics().cold
    assert cold > 300 * KIB
    kept = within(account, 500)
    assert own_heaps.statistics().cold < cold
    given = own_heaps.purge(0.0)
    assert 0 < given <= cold
    assert kept


@pytest.mark.usefixtures("installed")
def test_pages_of_the_dead_live_while_others_hold_their_blocks() -> None:
    gc.collect()
    before = own_heaps.statistics()
    account = Account()
    account.own_heap = True
    sent = within(account, 300)
    del account
    adopted = own_heaps.statistics()
    assert adopted.adopted - before.adopted > 50 * KIB
    assert sent == filled(300)
    del sent[1:]
    gc.collect()
    less = own_heaps.statistics()
    assert less.adopted < adopted.adopted
    sent.clear()
    gc.collect()
    assert own_heaps.statistics().adopted <= before.adopted + 16 * KIB  # such as a name that the interpreter keeps
    assert own_heaps.statistics().live < before.live + KIB


@pytest.mark.usefixtures("installed")
def test_the_governor_trims_them_too() -> None:
    account = Account()
    account.own_heap = True
    within(account, 3000)
    gc.collect()
    assert own_heaps.statistics().cold > 500 * KIB
    given = own_heaps.statistics().given_back
    trim_allocator(lambda: 0)
    assert own_heaps.statistics().given_back > given


class Hoarder(ak.Actor):
    def init(self) -> None:
        self.kept: list[Any] = []

    @ak.call
    def keep(self, number: int) -> None:
        self.kept += filled(number)

    @ak.cast
    def more(self, number: int) -> None:
        self.kept += filled(number)

    @ak.call
    def account(self) -> Account | None:
        return clock.current()


async def test_actors_with_a_limit_have_them_unless_the_node_opts_out() -> None:
    options: dict[bool, dict[str, bool]] = {True: {}, False: {"own_heaps": False}}
    for own in (True, False):
        async with ak.open_node(max_heap_size="8 MiB", **options[own]) as node:
            assert node.capabilities.return_pages is own
            ref = node.spawn(Hoarder)
            for _ in range(20):
                await ref.call(Hoarder.keep, 20)
            account = await ref.call(Hoarder.account)
            assert account is not None
            assert account.own_heap is own
            assert (account.live is not None) is own
            info = node.process_info(ref)
            assert info is not None
            assert (info.own_heap is not None) is own
            (walked,), (known,) = (await node.heap_census()).actors, (await node.heap_census(walk=False)).actors
            assert walked[0] == known[0] == ref
            assert known[1] < 1.5 * walked[1]
            if info.own_heap is not None:
                assert known[1] > 0.5 * walked[1]
                assert 0.5 * walked[1] < info.own_heap.live <= info.own_heap.resident < 2 * walked[1]


@pytest.mark.own_process
async def test_the_runtime_leaves_nothing_on_the_pages_of_the_dead() -> None:
    """Fault: the pump's floats go round by the freelist, and actors keep floats made by others
    among their own. Each of these holds a page after its maker has been killed.
    """
    async with ak.open_node(max_heap_size="8 MiB") as node:
        refs = [node.spawn(Hoarder) for _ in range(40)]
        for _ in range(40):
            for ref in refs:
                ref.cast(Hoarder.more, 10)
            await refs[-1].call(Hoarder.account)
        for ref in refs:
            await ref.call(Hoarder.account)
        pages = own_heaps.statistics().pages
        for ref in refs[::2]:
            ref.kill()
        await trio.testing.wait_all_tasks_blocked()
        gc.collect()
        own_heaps.purge(1.0)
        told = own_heaps.statistics()
        assert told.pages < 0.56 * pages
        assert told.adopted < 0.02 * pages


@pytest.mark.usefixtures("installed")
def test_who_leaves_it_full_of_air_goes_without_until_it_grows() -> None:
    account = Account()
    account.settle(0)
    kept = within(account, 2_000)
    assert account.own_heap
    assert account.due, "its pages have doubled"
    del kept[:1_800]
    account.reset()
    account.settle(account.live or 0)
    assert not account.own_heap
    kept += within(account, 2_000)
    assert not account.own_heap, "allocating is no reason any more"
    del kept[200:]
    account.settle(100 * KIB)
    assert not account.own_heap
    resident = account.resident or 0
    kept.clear()
    gc.collect()  # what freelists hold, too
    account.settle(100 * KIB)
    assert (account.resident or 0) < resident / 4, "what has become empty goes back"
    account.settle(1_000 * KIB)
    assert account.own_heap


@pytest.mark.usefixtures("installed")
def test_what_is_free_side_by_side_is_merged_before_the_heap_grows() -> None:
    """Blocks of 32 bytes are freed between others that stay; then blocks of 480 bytes fit in their
    place.
    """
    account = Account()
    account.own_heap = True
    clock.enter(account)
    small = [float(number) + 0.5 for number in range(20_000)]
    clock.enter(None)
    kept = [number for index, number in enumerate(small) if index % 100 == 0]
    resident = account.resident
    small.clear()
    clock.enter(account)
    large = [bytes(440) for _ in range(1_000)]
    clock.enter(None)
    assert resident is not None
    assert account.resident is not None
    assert account.resident < 1.3 * resident, "without that it would be 1.7 times as large"
    assert len(kept) == 200
    assert len(large) == 1_000


# --- Blocks --------------------------------------------------------------------------------------


@pytest.mark.own_process
@pytest.mark.usefixtures("installed")
def test_blocks_against_a_model() -> None:
    fuzz_slabs.run(7, steps=20_000)


@pytest.mark.usefixtures("installed")
def test_sizes_around_the_boundary() -> None:
    account = Account()
    account.own_heap = True
    clock.enter(account)
    grown = bytearray()
    for number in range(2000):
        grown.append(number & 255)
    shrunk = bytearray(grown)
    for number in range(1999, -1, -1):
        del shrunk[number]
        assert len(shrunk) == number
    clock.enter(None)
    assert grown == bytes(number & 255 for number in range(2000))


# --- Other hooks, and the end --------------------------------------------------------------------

BEGIN = """
import gc, os, sys, tracemalloc
from actorkit.heap import clock, own_heaps

def alarm(account, activation):
    account.reset()

def fill(account, number=300):
    clock.enter(account)
    made = [{"number": n + 1000, "text": f"text {n}", "pair": (n, float(n))} for n in range(number)]
    clock.enter(None)
    return made

def own():
    account = clock.Account()
    account.own_heap = True
    return account
"""


def run(program: str, **environment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", ALONE + BEGIN + program + "\nprint('done')"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout == "done\n"


def test_tracemalloc_before_means_none_until_it_has_stopped() -> None:
    run("""
tracemalloc.start()
assert own_heaps.why_not() is not None
clock.install(alarm)
account = own()
assert not account.own_heap
kept = fill(account)
assert tracemalloc.get_traced_memory()[0] > 50_000
tracemalloc.stop()
assert clock.reinstall()
assert own_heaps.why_not() is None
account.own_heap = True
kept += fill(account)
assert account.live > 50_000
tracemalloc.start()
kept += fill(account)
assert tracemalloc.get_traced_memory()[0] > 50_000
tracemalloc.stop()
kept += fill(account)
kept.clear()
""")


def test_tracemalloc_in_between() -> None:
    run("""
clock.install(alarm)
account = own()
kept = fill(account)
tracemalloc.start(5)
kept += fill(account)
mixed = kept[::2]
kept.clear()
clock.uninstall()
kept = [dict(d) for d in mixed]
tracemalloc.stop()
mixed.clear()
clock.install(alarm)
kept += fill(account)
clock.uninstall()
tracemalloc.start()
kept.clear()
tracemalloc.stop()
""")


def test_the_hook_stays_while_it_is_needed() -> None:
    run("""
clock.install(alarm)
account = own()
kept = fill(account)
assert clock.uninstall()
assert own_heaps.statistics().live > 50_000
more = fill(account)
kept[0] = None
kept.clear()
assert own_heaps.statistics().live < 50_000
clock.install(alarm)
kept = fill(account)
""")


def test_a_fork_has_a_copy() -> None:
    run("""
clock.install(alarm)
account = own()
kept = fill(account)
pid = os.fork()
if pid == 0:
    kept += fill(account)
    kept = kept[1::3]
    own_heaps.purge(1.0)
    kept += fill(own())
    kept.clear()
    gc.collect()
    own_heaps.purge(1.0)
    os._exit(0 if own_heaps.statistics().cold == 0 else 1)
kept += fill(account)
assert os.waitpid(pid, 0)[1] == 0
assert [d["number"] for d in kept] == [n + 1000 for n in range(300)] * 2
""")


def test_blocks_outlive_everything() -> None:
    """Modules, classes and atexit functions made in an account are freed at the interpreter's very
    end.
    """
    run("""
import atexit, threading, types
clock.install(alarm)
account = own()
clock.enter(account)
class Late:
    def __del__(self):
        kept.append([str(n) for n in range(100)])
kept = [Late()]
module = sys.modules["late"] = types.ModuleType("late")
module.late, module.kept = Late(), [{"a": n} for n in range(1000)]
late = Late()
late.late = late
atexit.register(lambda: kept.append(Late()))
local = threading.local()
local.late = Late()
import json, decimal, email.message
""")


def test_a_thread_that_still_runs_at_the_end() -> None:
    run("""
import threading
clock.install(alarm)
account = own()
def work():
    clock.enter(account)
    while True:
        [{"a": str(n)} for n in range(100)]
threading.Thread(target=work, daemon=True).start()
kept = [fill(own()) for _ in range(30)]
""")


@pytest.mark.parametrize("allocator", ["malloc", "pymalloc_debug", "malloc_debug"])
def test_not_above_other_allocators(allocator: str) -> None:
    run(
        """
assert "PYTHONMALLOC" in own_heaps.why_not()
clock.install(alarm)
account = own()
assert not account.own_heap
account.settle(0)
account.settle(1_000_000)
assert not account.own_heap
kept = fill(account)
assert account.live is None
assert own_heaps.statistics().mapped == own_heaps.purge(1.0) == 0
""",
        PYTHONMALLOC=allocator,
    )


def test_switched_off() -> None:
    run(
        """
assert "ACTORKIT_OWN_HEAPS" in own_heaps.why_not()
clock.install(alarm)
assert not own().own_heap
""",
        ACTORKIT_OWN_HEAPS="0",
    )


def test_no_address_space() -> None:
    run("""
import resource
with open("/proc/self/statm") as statm:
    mapped = int(statm.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
resource.setrlimit(resource.RLIMIT_AS, (mapped + (12 << 20), -1))
assert "RLIMIT_AS" in own_heaps.why_not()
clock.install(alarm)
account = own()
assert not account.own_heap
kept = fill(account)
assert account.live is None
""")


def test_no_more_address_space_later() -> None:
    """When an account's heap can no longer grow, Python's allocator serves the rest."""
    run("""
import resource
clock.install(alarm)
account = own()
assert account.own_heap
with open("/proc/self/statm") as statm:
    mapped = int(statm.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
resource.setrlimit(resource.RLIMIT_AS, (mapped + (30 << 20), -1))
kept = fill(account, 40_000)
assert account.own_heap
told = own_heaps.statistics()
assert told.refusals
assert told.mapped == 1 << 24
assert told.live > 12_000_000
kept.clear()
gc.collect()
assert own_heaps.statistics().live < 1_000_000
""")
