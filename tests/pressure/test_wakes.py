"""What wakes the node: the service manager's protocol, and a set of several wakes."""

from __future__ import annotations

import base64
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from actorkit.pressure import service_manager
from actorkit.pressure.sources import NodeMemory
from actorkit.pressure.wakes import Wake, WakeSet

TRIGGER = base64.b64encode(b"some 200000 2000000\0").decode()


def lost(name: str, why: Exception) -> None:
    raise AssertionError(f"{name}: {why}")


@pytest.fixture
def wakes() -> Iterator[WakeSet]:
    made = WakeSet(lost)
    yield made
    made.close()


def environ(path: object, write: str = "") -> dict[str, str]:
    return {"MEMORY_PRESSURE_WATCH": str(path), "MEMORY_PRESSURE_WRITE": write}


def pipe_wake(name: str) -> tuple[Wake, int]:
    reader, writer = os.pipe()

    def close() -> None:
        os.close(reader)

    return Wake(name, reader, False, lambda: None if os.read(reader, 1) else lost(name, OSError()), close), writer


async def test_a_fifo(tmp_path: Path, wakes: WakeSet, autojump_clock: trio.testing.MockClock) -> None:
    """Whatever is written to the FIFO wakes once, even when the writer leaves."""
    os.mkfifo(tmp_path / "pressure")
    wakes.add(service_manager.watch(environ(tmp_path / "pressure")))
    for _ in range(2):
        (tmp_path / "pressure").write_text("much\n")
        assert await wakes.wait(10) == f"MEMORY_PRESSURE_WATCH {tmp_path}/pressure"
        assert await wakes.wait(10) is None


async def test_a_socket(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """The socket is first sent what the service manager wants written. Once its peer has closed it,
    it wakes no more.
    """
    gone: list[str] = []
    wakes = WakeSet(lambda name, why: gone.append(f"{name}: {why}"))
    name = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(name)
        listener.listen()
        wakes.add(service_manager.watch(environ(name, TRIGGER)))
        peer, _ = listener.accept()
    with peer:
        assert peer.recv(100) == b"some 200000 2000000\0"
        peer.send(b"x" * 10_000)
        assert await wakes.wait(10) == f"MEMORY_PRESSURE_WATCH {name}"
        assert await wakes.wait(10) is None
    assert await wakes.wait(10) is None
    assert gone == [f"MEMORY_PRESSURE_WATCH {name}: the other side has closed it"]
    assert wakes.names == ()
    wakes.close()


@pytest.mark.parametrize(
    ("watch", "write", "why"),
    [
        ("pressure", "", "not an absolute path"),
        ("/dev/zero", "", "neither a file nor a FIFO nor a socket"),
        ("/no/such/file", "", "No such file"),
        ("/", "", "neither"),
        ("/proc/pressure/memory", "some!", "not base64"),
        (__file__, "", "Operation not permitted"),
    ],
)
async def test_what_cannot_be_watched(
    watch: str, write: str, why: str, caplog: pytest.LogCaptureFixture, autojump_clock: trio.testing.MockClock
) -> None:
    """A wake that cannot be watched is logged once, and the rest goes on."""
    memory = NodeMemory(environ=environ(watch, write))
    for _ in range(2):
        assert await memory.wait_for_wake(0.1) is None
    (degraded,) = memory.degraded
    assert degraded.source.startswith("MEMORY_PRESSURE_WATCH")
    assert why in degraded.because
    assert len(caplog.records) == 1
    memory.sample(1e9)
    assert memory.degraded == (degraded,)
    memory.close()


async def test_off(autojump_clock: trio.testing.MockClock) -> None:
    """When the service manager does not want stalls to be watched, they are not watched."""
    memory = NodeMemory(environ=environ("/dev/null"))
    assert await memory.wait_for_wake(0.1) is None
    assert [name for name in memory.wakes if "PSI" in name or "pressure" in name] == []
    assert memory.degraded == ()
    memory.close()


async def test_several(wakes: WakeSet, autojump_clock: trio.testing.MockClock) -> None:
    """Each call of any wake wakes once. A call before the wait counts; a call during the wait ends
    it.
    """
    (one, call_one), (two, call_two) = pipe_wake("one"), pipe_wake("two")
    wakes.add(one)
    wakes.add(two)
    os.write(call_two, b"x")
    assert await wakes.wait(10) == "two"
    assert await wakes.wait(10) is None
    woken: list[str | None] = []
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _() -> None:
            woken.append(await wakes.wait(10))

        await trio.testing.wait_all_tasks_blocked()
        os.write(call_one, b"x")
    assert woken == ["one"]
    os.close(call_one)
    os.close(call_two)


async def test_nobody_to_wake(wakes: WakeSet, autojump_clock: trio.testing.MockClock) -> None:
    began = trio.current_time()
    assert await wakes.wait(3.0) is None
    assert trio.current_time() == began + 3


async def test_wakes_are_held_back(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """Calls without end cost a look every 20 ms, and no more."""
    os.mkfifo(tmp_path / "pressure")
    memory = NodeMemory(environ=environ(tmp_path / "pressure"))
    assert await memory.wait_for_wake(0.0) is None
    began = trio.current_time()
    for _ in range(50):
        (tmp_path / "pressure").write_text("x")
        assert await memory.wait_for_wake(10) is not None
    assert trio.current_time() - began == pytest.approx(1.0, abs=0.03)
    (tmp_path / "pressure").write_text("x")
    began = trio.current_time()
    assert await memory.wait_for_wake(0.01) is None
    assert trio.current_time() - began == pytest.approx(0.01)
    memory.close()
