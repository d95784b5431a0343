"""A node outside the main thread, beside one in the main thread: each counts for itself, through
every door. Nothing is stopped there in the middle of a message, and nothing is charged to actors of
the other thread.
"""

from __future__ import annotations

import logging
import sys
import threading

import pytest
import trio
from trio.testing import MockClock

from tests.promises.cells import Cell, run, why_not
from tests.promises.doors import Door
from tests.promises.promises import PROMISES, Promise
from tests.promises.shapes import Shape, Way

BY_NAME = {promise.name: promise for promise in PROMISES}
SHAPES = (Shape.NESTED, Shape.LARGE, Shape.CLOSURES, Shape.BYTEARRAY)


def cell_of(promise: Promise, door: Door, number: int) -> Cell:
    """One of the shapes, another one for each door."""
    return Cell(promise, door, SHAPES[number % len(SHAPES)], Way.PLAIN)


@pytest.mark.parametrize("door", Door)
def test_two_nodes_at_once(door: Door, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """One actor keeps too much in a thread of its own while another drops everything in the main
    one, and the other way round."""
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    caplog.set_level(logging.CRITICAL, "actorkit")
    number = list(Door).index(door)
    for names in (("kept", "churn"), ("churn", "kept"), ("charged", "watched")):
        there, here = (cell_of(BY_NAME[name], door, number) for name in names)
        assert why_not(there) is None
        failed: list[BaseException] = []

        def in_a_thread(cell: Cell = there, failed: list[BaseException] = failed) -> None:
            try:
                trio.run(run, cell, clock=MockClock())
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=in_a_thread, name=there.name)
        thread.start()
        try:
            trio.run(run, here, clock=MockClock())
        finally:
            thread.join()
        if failed:
            raise failed[0]
