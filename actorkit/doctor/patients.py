"""What runs inside the actors that the doctor tries something on: each function is one message.

The runtime tells an application's code from its own by module and file, and never stops its own. So
``trials.py`` loads this file as if it were an application's; nobody imports it.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Final

from ..behaviours.actor import Actor
from ..heap import clock
from ..runtime.actor.dispatch import call

KIB: Final = 1024
MIB: Final = 1024 * KIB

SHARED: Final = [bytes(MIB)]
"""A megabyte that belongs to no actor alone."""


class Patient(Actor):
    """Does what it is given, as its own code."""

    def __init__(self) -> None:
        self.kept: list[Any] = []

    @call
    def do(self, act: Callable[[Patient], Any]) -> Any:
        return act(self)


class Branch:
    """A piece of a tree that knows its parent, so that the tree is one large cycle."""

    def __init__(self, parent: Branch | None) -> None:
        self.parent = parent
        self.children: list[Branch] = []
        self.data = bytes(200)
        if parent is not None:
            parent.children.append(self)


def tree(size: int) -> Branch:
    """A tree of so many bytes, roughly."""
    root = Branch(None)
    for _ in range(size // 400):
        Branch(root)
    return root


def keep_blocks(patient: Patient) -> None:
    """200 KiB of its own, and a reference to what is others', too."""
    patient.kept += [bytearray(4000) for _ in range(50)]
    patient.kept.append(SHARED)


def keep_small(patient: Patient) -> None:
    """20 MiB of small objects."""
    patient.kept.append([bytes(200) for _ in range(20 * MIB // 240)])


def grow(patient: Patient) -> None:
    """100 KiB more."""
    patient.kept.append([bytes(1000) for _ in range(100)])


def grow_tree(patient: Patient) -> None:
    """Some 100 KiB more in a cycle, that nothing else refers to."""
    old = patient.kept.pop() if patient.kept else None
    root = tree(100 * KIB)
    if old is not None:
        old.parent = root
        root.children.append(old)
    patient.kept.append(root)


def hog(eaten: list[int]) -> Callable[[Patient], None]:
    """Keeps 256 MiB in one message, and tells meanwhile how much it has."""

    def eat(patient: Patient) -> None:
        while eaten[0] < 256 * MIB:
            patient.kept.append(bytes(1000))
            eaten[0] += 1000

    return eat


def ask_for_much(patient: Patient) -> str:
    """A single request of 256 MiB."""
    try:
        bytearray(256 * MIB)
    except MemoryError:
        return "refused"
    return "granted"


def churn(patient: Patient) -> int:
    """40 MiB in pieces that are dropped at once, where nothing can look in between: C calls it."""
    return sum(sorted(range(400), key=lambda number: len(bytearray(100 * KIB)) + number))


def collect(patient: Patient) -> int:
    """Collects a tree of 4 MiB that has grown old, and no longer is in use: the bytes that went."""
    root: Branch | None = tree(4 * MIB)
    gc.collect()
    assert root is not None
    root = None
    account = clock.current()
    assert account is not None
    return clock.collect_own(account)


def import_all(names: Sequence[str]) -> Callable[[Patient], None]:
    """Imports modules, for the first time in the process."""

    def load(patient: Patient) -> None:
        for name in names:
            import_module(name)

    return load


class Heir:
    """Leaves 8 MiB behind when it is collected."""

    estate: Final[list[bytearray]] = []

    def __init__(self) -> None:
        self.me = self

    def __del__(self) -> None:
        self.estate.append(bytearray(8 * MIB))


def collect_all(patient: Patient) -> int:
    """Collects somebody else's garbage, whose finalizers allocate; how many have done so."""
    gc.collect()
    return len(Heir.estate)
