"""Machines check their invariants, by ``validate``, after each step, in every test of a package.

Put ``_validated = validating()`` into the package's ``conftest.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import pytest

from actorkit.policy.memory.admission import AdmissionMachine
from actorkit.policy.memory.fill_rate import FillRate
from actorkit.policy.memory.governor import GovernorMachine
from actorkit.policy.memory.kill_rounds import KillRounds
from actorkit.policy.memory.ladder import Ladder
from actorkit.policy.memory.outcomes import OutcomeBook, Pace
from actorkit.policy.memory.restart_queue import RestartQueue

STEPS: dict[type[Any], tuple[str, ...]] = {
    AdmissionMachine: ("ask", "ended", "looked"),
    FillRate: ("note",),
    GovernorMachine: ("handle",),
    KillRounds: ("begin", "ended", "look"),
    Ladder: ("step",),
    OutcomeBook: ("note",),
    Pace: ("note", "begun"),
    RestartQueue: ("handle",),
}
"""Each machine with ``validate``, and the methods that change its state."""

SMALL = 200
"""The size above which a machine is not checked after each step."""


_outermost = [True]


def _then_validated(step: Callable[..., Any]) -> Callable[..., Any]:
    """The step, and then ``validate``. A machine that is part of another is checked with
    the whole.
    """

    @wraps(step)
    def stepped(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not _outermost[0]:
            return step(self, *args, **kwargs)
        _outermost[0] = False
        try:
            answer = step(self, *args, **kwargs)
        finally:
            _outermost[0] = True
        if not hasattr(self, "__len__") or len(self) <= SMALL:
            self.validate()
        return answer

    return stepped


def validating() -> Any:
    """A fixture for all tests of a package."""

    @pytest.fixture(scope="package", autouse=True)
    def validated() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for machine, steps in STEPS.items():
                for step in steps:
                    patch.setattr(machine, step, _then_validated(getattr(machine, step)))
            yield

    return validated
