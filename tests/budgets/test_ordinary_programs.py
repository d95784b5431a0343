"""Ordinary programs never hit their budgets, and are looked at only if they might.

Each program of ``bench.ordinary`` allocates several times its limit and never holds that
much. It must get to its end through every door. What is counted besides: how often a walk made its
first pass, and the own pass, which a program without cycles never needs.

``python -m tests.prove.ordinary`` does the same with more messages, through each door alone.
"""

from __future__ import annotations

import gc
import logging
from typing import Any

import pytest

from actorkit.heap import clock
from bench.ordinary import ABROAD, CYCLIC, PLAIN, Program

from .conftest import needs_the_extension
from .courses import course_of

pytestmark = pytest.mark.every_version


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "actorkit")


def each_of(*programs: type[Program]) -> list[Any]:
    return [pytest.param(program, id=program.__name__) for program in programs]


@pytest.mark.parametrize("program", each_of(*PLAIN, *CYCLIC, *ABROAD))
async def test_it_gets_to_its_end(program: type[Program]) -> None:
    """No program is ended or refused anything."""
    course = await course_of(program)
    if clock.COUNTS_ALLOCATIONS:
        assert course.allocated > 3 * program.LIMIT, "it does not allocate enough to show anything"


@needs_the_extension
@pytest.mark.parametrize("program", each_of(*PLAIN))
async def test_without_cycles_there_is_no_own_pass(program: type[Program]) -> None:
    """References tell all there is to know about it. A sweep looks for cycles below the limit too,
    and may make one.
    """
    assert (await course_of(program, sweeps=False)).own_passes == 0
    assert (await course_of(program)).own_passes <= 1


@needs_the_extension
@pytest.mark.parametrize("program", each_of(*CYCLIC))
async def test_with_cycles_they_are_rare(program: type[Program]) -> None:
    """At most one look of each kind for each eighth of its limit that it allocates."""
    course = await course_of(program)
    eighths = 8 * course.allocated / program.LIMIT
    assert course.first_passes <= eighths
    assert course.own_passes <= eighths


@needs_the_extension
@pytest.mark.parametrize("program", each_of(*CYCLIC, *ABROAD))
async def test_the_collector_need_not_be_on(program: type[Program]) -> None:
    """Garbage is told from what is alive even in a program that never collects."""
    gc.disable()
    try:
        await course_of(program, sweeps=False)
    finally:
        gc.enable()
