"""Programs that allocate what others hold on to."""

from __future__ import annotations

import collections
import functools
import re
import sys
import types
from typing import Any

from .program import Program, rows

__all__ = ["ABROAD"]


CACHE: dict[str, Any] = {}


@functools.lru_cache(maxsize=40_000)
def cached(number: int) -> tuple[int, str, list[int]]:
    """What a module keeps, whoever asked for it."""
    return number, f"cached {number}", [number] * 10


class ModuleCaches(Program):
    """It fills caches of a module far beyond its own limit."""

    def step(self, number: int) -> None:
        rows(500)
        for each in range(900):
            cached(number * 900 + each)
        CACHE[f"step {number}"] = [f"line {number} {each}" for each in range(300)]


COMPILED = compile("".join(f"def f{n}(a, b={n}):\n    return [a, b, 'text {n}']\n" for n in range(300)), "made", "exec")


class FirstUses(Program):
    """Modules, compiled patterns and interned names are made: what comes with a first use."""

    STEPS = 60

    def step(self, number: int) -> None:
        rows(500)
        module = types.ModuleType(f"made_{number % 3}")
        exec(COMPILED, module.__dict__)
        CACHE[f"module {number % 3}"] = module
        re.compile(f"(one|two){number}[a-z]+({number}|x)")
        sys.intern(f"interned {number}")


OUTBOX: collections.deque[dict[str, Any]] = collections.deque(maxlen=20_000)


class Peers(Program):
    """It hands what it makes to a list that somebody else keeps, in small pieces."""

    def step(self, number: int) -> None:
        OUTBOX.extend(rows(700, number))


ABROAD: tuple[type[Program], ...] = (ModuleCaches, FirstUses, Peers)
"""What they allocate is held by others."""
