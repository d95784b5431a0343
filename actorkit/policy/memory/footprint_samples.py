"""Whose sample it is: the kinds that footprints are learned for, and which of the living are asked.

A kind is what is started: a class or a function, by its qualified name. A child that is known by
its id is learned on its own as well, and each of its samples is also one of its kind.

Deaths come one by one, but the living are walked all at once. Ten thousand connections would drown
the few deaths of a crash loop, so a pass over the living takes no more than ``PER_PASS`` samples of
a kind, and other ones each time.
"""

from __future__ import annotations

import functools
from typing import Any, Final

from .footprint import FootprintLearner

__all__ = ["PER_PASS", "Samples", "kind_of"]

PER_PASS: Final = 8
"""At most this many samples of the living of one kind, in one pass over all actors."""


def kind_of(start: Any) -> str:
    """The name of what is started: that of the class or the function."""
    while isinstance(start, functools.partial):
        start = start.func
    start = getattr(start, "__origin__", start)
    return getattr(start, "__qualname__", None) or type(start).__qualname__


class Samples:
    """Takes the samples of one kind, or of one child, which are samples of its kind too."""

    __slots__ = ("deaths", "learner", "living", "of_kind", "passed", "stride", "taken")

    def __init__(self, learner: FootprintLearner, of_kind: Samples | None = None) -> None:
        self.learner = learner
        #: Where the kind's are taken, if this is one child.
        self.of_kind = of_kind
        #: Deaths so far, measured or not.
        self.deaths = 0
        #: The number of the pass at hand, how many were met in it, and how many of them were taken.
        self.passed = 0
        self.living = 0
        self.taken = 0
        #: Of so many that are met one is taken: as many as the pass before makes necessary.
        self.stride = 1

    def learn(self, size: int, truncated: bool = False) -> None:
        """One of them held ``size`` bytes, or more if the measurement was ``truncated``."""
        self.learner.learn(size, truncated=truncated)
        if self.of_kind is not None:
            self.of_kind.learner.learn(size, truncated=truncated)

    def wants(self, number: int) -> bool:
        """In the pass of this number: is the next of the living to be learned from?"""
        if self.passed != number:
            self.stride = -(-self.living // PER_PASS) or 1
            self.living = self.taken = 0
            self.passed = number
        self.living += 1
        if self.taken >= PER_PASS or (self.living + number) % self.stride:
            return False
        self.taken += 1
        return True
