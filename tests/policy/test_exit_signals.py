"""The table of exit signals, cell by cell, written down a second time."""

import itertools

import pytest

from actorkit.policy.exit_signals import TABLE, Die, Ignore, Message, Source, deliver
from actorkit.reasons import KILL, KILLED, NOPROC, NORMAL, SHUTDOWN, Crash, Failure, Kill, Normal, Shutdown

LINK, EXIT = Source.LINK, Source.EXIT
OTHERS = [SHUTDOWN, Shutdown("x"), KILLED, NOPROC, Failure("x"), Crash("E", "x")]


def _rows():
    for trapping in (False, True):
        for to_self in (False, True):
            yield LINK, NORMAL, trapping, to_self, Message(NORMAL) if trapping else Ignore()
            for reason in [KILL, *OTHERS]:
                yield LINK, reason, trapping, to_self, Message(reason) if trapping else Die(reason)
            yield EXIT, KILL, trapping, to_self, Die(KILLED)
            for reason in OTHERS:
                yield EXIT, reason, trapping, to_self, Message(reason) if trapping else Die(reason)
    yield EXIT, NORMAL, False, False, Ignore()
    yield EXIT, NORMAL, False, True, Die(NORMAL)
    yield EXIT, NORMAL, True, False, Message(NORMAL)
    yield EXIT, NORMAL, True, True, Message(NORMAL)


ROWS = list(_rows())


def test_all_cells_are_covered():
    reasons = [NORMAL, KILL, *OTHERS]
    assert {row[:4] for row in ROWS} == set(itertools.product(Source, reasons, (False, True), (False, True)))
    assert len(TABLE) == 9


@pytest.mark.parametrize(("source", "reason", "trapping", "to_self", "verdict"), ROWS)
def test_cell(source, reason, trapping, to_self, verdict):
    assert deliver(source, reason, trapping, to_self) == verdict


def test_sig_03_normal_from_another_is_ignored():
    assert deliver(EXIT, NORMAL, trapping=False, to_self=False) == Ignore()


def test_sig_05_sig_16_normal_to_oneself_ends():
    assert deliver(EXIT, NORMAL, trapping=False, to_self=True) == Die(NORMAL)


def test_sig_04_self_exit_is_trapped():
    assert deliver(EXIT, SHUTDOWN, trapping=True, to_self=True) == Message(SHUTDOWN)


def test_sig_15_kill_becomes_killed_by_request_and_stays_kill_over_a_link():
    assert deliver(EXIT, KILL, trapping=True, to_self=False) == Die(KILLED)
    assert deliver(LINK, KILLED, trapping=False, to_self=False) == Die(KILLED)
    assert deliver(LINK, KILL, trapping=False, to_self=False) == Die(KILL)


def test_sig_18_trapped_kill_over_a_link_and_trapped_normal_request():
    assert deliver(LINK, KILL, trapping=True, to_self=False) == Message(KILL)
    assert deliver(EXIT, NORMAL, trapping=True, to_self=False) == Message(NORMAL)


def test_a_reason_made_anew_is_the_same():
    assert deliver(EXIT, Kill(), trapping=True, to_self=False) == Die(KILLED)
    assert deliver(LINK, Normal(), trapping=False, to_self=False) == Ignore()
