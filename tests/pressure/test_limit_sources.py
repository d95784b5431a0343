"""A source of limits that a user adds: one class, and an entry in ``sources.LIMITS``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest
import trio

from actorkit.pressure import sources
from actorkit.pressure.process_memory import ProcessPages
from actorkit.pressure.reading import LimitSource, Reading
from actorkit.pressure.sources import NodeMemory
from actorkit.pressure.wakes import Wake
from tests.pressure.trees import MIB


class Quota(LimitSource):
    """What a sidecar has granted this process, for example. ``says`` is its answer."""

    name = "quota"
    says: list[Reading] | Exception
    opens: Exception | None = None
    made: list[Quota]
    asked: list[bool]
    pipe: tuple[int, int] | None = None

    def __init__(self, root: str | Path = "/") -> None:
        super().__init__(root)
        if self.opens is not None:
            raise self.opens
        self.closed = False
        self.made.append(self)

    def readings(self, pages: ProcessPages) -> Sequence[Reading]:
        assert pages.resident > 0
        if isinstance(self.says, Exception):
            raise self.says
        return self.says

    def wakes(self, at: Sequence[float], *, pressure: bool) -> Iterable[Callable[[], Wake]]:
        self.asked.append(pressure)

        def not_here() -> Wake:
            raise OSError("not on this machine")

        def armed() -> Wake:
            assert self.pipe is not None
            reader, _ = self.pipe
            return Wake("quota", reader, False, lambda: None if os.read(reader, 1) else None, lambda: os.close(reader))

        return () if self.pipe is None else (not_here, armed)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def quota(monkeypatch: pytest.MonkeyPatch) -> type[Quota]:
    """A class of its own for each test, entered in the table."""

    class Own(Quota):
        says = [Reading("quota", 5 * MIB, 4 * MIB)]
        made: list[Quota] = []
        asked: list[bool] = []

    monkeypatch.setattr(sources, "LIMITS", (*sources.LIMITS, Own))
    return Own


def test_it_is_asked_like_the_others(quota: type[Quota]) -> None:
    memory = NodeMemory()
    told = memory.sample(0.0)
    assert (told.source, told.limit, told.used) == ("quota", 5 * MIB, 4 * MIB)
    quota.says = []
    assert memory.sample(1.0).source != "quota"
    memory.close()
    assert [one.closed for one in quota.made] == [True]


def test_one_that_fails_is_left_out_and_made_anew(quota: type[Quota], caplog: pytest.LogCaptureFixture) -> None:
    memory = NodeMemory()
    quota.says = OSError("the sidecar is gone")
    for now in (0.0, 1.0):
        assert memory.sample(now).source != "quota"
    ((degraded,), (record,)) = memory.degraded, caplog.records
    assert (degraded.source, degraded.because) == ("quota", "the sidecar is gone")
    assert "quota is left out" in record.getMessage()
    quota.says = [Reading("quota", 5 * MIB, 4 * MIB)]
    assert memory.sample(29.0).source != "quota"
    assert memory.sample(30.0).source == "quota"
    assert memory.degraded == ()
    assert [one.closed for one in quota.made] == [True, False]
    memory.close()


def test_one_that_cannot_be_made(quota: type[Quota]) -> None:
    quota.opens = ValueError("no grant")
    memory = NodeMemory()
    assert memory.sample(0.0).source != "quota"
    assert [degraded.because for degraded in memory.degraded] == ["no grant"]
    quota.opens = None
    assert memory.sample(30.0).source == "quota"
    memory.close()


def test_a_part_that_cannot_be_read(quota: type[Quota]) -> None:
    """The other parts still serve; half a minute later the whole source is made anew."""
    memory = NodeMemory()
    quota.made[0].unreadable["quota of b"] = OSError("denied")
    assert memory.sample(0.0).source == "quota"
    assert [degraded.source for degraded in memory.degraded] == ["quota of b"]
    memory.sample(30.0)
    assert memory.degraded == ()
    assert [one.closed for one in quota.made] == [True, False]
    memory.close()


async def test_its_wakes_are_armed(quota: type[Quota], autojump_clock: trio.testing.MockClock) -> None:
    """The wakes that can be armed are armed. What the service manager wants is passed on."""
    reader, writer = os.pipe()
    quota.pipe = (reader, writer)
    memory = NodeMemory(environ={"MEMORY_PRESSURE_WATCH": "/dev/null"})
    assert memory.wakes == ()
    os.write(writer, b"x")
    assert await memory.wait_for_wake(1.0) == "quota"
    assert "quota" in memory.wakes
    assert quota.asked == [False]
    memory.close()
    os.close(writer)
