"""``python -m actorkit doctor`` says what is in force, and why the rest is not."""

from __future__ import annotations

import attrs
import pytest

from actorkit.__main__ import doctor
from actorkit.heap import clock
from actorkit.heap.capabilities import Capabilities, capabilities, remedies


def test_every_capability_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor() == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split()[0] for line in lines] == [field.name for field in attrs.fields(Capabilities)]
    found = attrs.asdict(capabilities())
    for line in lines:
        name, answer = line.split()[:2]
        assert answer.rstrip(":") == ("yes" if found[name] else "no")


def test_what_is_missing_has_a_remedy() -> None:
    missing = {name for name, there in attrs.asdict(capabilities()).items() if not there}
    assert set(remedies()) == missing
    assert all(remedies().values())
    assert capabilities().clock == clock.COUNTS_ALLOCATIONS
