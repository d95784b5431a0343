"""Ordinary programs under budgets, at length: ``python -m tests.prove.ordinary [NAME …]``.

Each program runs through each door alone, and through all in turn, with several times the messages
of the tests. None may be ended or refused anything. A row tells what it allocated, in limits, and
how often each pass was made. The last line sums up.
"""

from __future__ import annotations

import logging
import sys
from functools import partial

import trio
from trio.testing import MockClock

import actorkit as ak
from bench.ordinary import ABROAD, CYCLIC, PLAIN, Program
from tests.budgets.courses import DOORS, course_of

ROUNDS = 4


def tried(program: type[Program]) -> bool:
    """Try one program, and print how it went. Was it left alone?"""
    fine = True
    for doors in (DOORS, *((door,) for door in DOORS)):
        where = doors[0].__name__ if len(doors) == 1 else "all in turn"
        try:
            course = trio.run(partial(course_of, program, doors=doors, rounds=ROUNDS), clock=MockClock())
        except* ak.CalleeDied as died:
            fine = False
            print(f"{program.__name__:<16} {where:<18} ended: {died.exceptions[0]}", flush=True)
        else:
            times = course.allocated / program.LIMIT
            print(
                f"{program.__name__:<16} {where:<18} allocated {times:6.1f} limits, "
                f"{course.first_passes:6} first passes, {course.own_passes:5} own passes",
                flush=True,
            )
    return fine


def main(names: list[str]) -> int:
    logging.disable(logging.CRITICAL)
    programs = [each for each in (*PLAIN, *CYCLIC, *ABROAD) if not names or each.__name__ in names]
    bad = [program.__name__ for program in programs if not tried(program)]
    print(f"ordinary programs: {len(programs)}, {'ended: ' + ', '.join(bad) if bad else 'none was ended'}")
    return 1 if bad or not programs else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
