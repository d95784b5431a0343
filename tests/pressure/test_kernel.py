"""The kernel's own interfaces, where this machine has them and the process may use them."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from actorkit.pressure import kernel_events
from actorkit.pressure.cgroup import ControlGroup, locate
from actorkit.pressure.psi import StallFile, arm_trigger
from actorkit.pressure.sources import NodeMemory
from actorkit.pressure.wakes import WakeSet
from tests.pressure.trees import MIB

PSI = Path("/proc/pressure/memory")


def lost(name: str, why: Exception) -> None:
    raise AssertionError(f"{name}: {why}")


def child_of_ours(version: int, holds: str) -> Iterator[ControlGroup]:
    """A new group below the process's own, removed afterwards."""
    try:
        found = locate()
    except OSError as why:
        pytest.skip(f"no control groups here: {why}")
    own = next((group for group in found if group.version == version), None)
    if own is None or not (own.directory / holds).exists():
        pytest.skip(f"no control group of version {version} with {holds} here")
    name = f"actorkit-test-{os.getpid()}-{version}"
    try:
        (own.directory / name).mkdir()
    except OSError as why:
        pytest.skip(f"may not make a control group here: {why}")
    group = ControlGroup(version, f"{own.path.rstrip('/')}/{name}", own.directory / name)
    yield group
    group.directory.rmdir()


@pytest.fixture
def group_v1() -> Iterator[ControlGroup]:
    yield from child_of_ours(1, "memory.usage_in_bytes")


@pytest.fixture
def group_v2() -> Iterator[ControlGroup]:
    yield from child_of_ours(2, "cgroup.procs")


IN_A_GROUP = """if True:
    import os, sys, trio, trio.testing
    from pathlib import Path
    from actorkit.pressure.sources import NodeMemory

    MIB = 2**20
    group, shown = Path(sys.argv[1]), sys.argv[2]
    (group / "memory.limit_in_bytes").write_text(str(64 * MIB))

    async def main():
        outside = NodeMemory(environ={})
        (group / "cgroup.procs").write_text(str(os.getpid()))
        memory = NodeMemory(environ={}, wake_at=[0.7])
        first = memory.sample(0.0)
        assert (first.source, first.limit) == (shown, 64 * MIB), first
        assert not first.owned, first  # what we had stays charged to the former group

        grown = bytearray(b"x") * (30 * MIB)
        second = memory.sample(1.0)
        assert 29 * MIB < second.used - first.used < 40 * MIB, (first, second)
        assert await memory.wait_for_wake(0.0) is None
        print("armed", *memory.wakes)

        woken = []
        async with trio.open_nursery() as nursery:
            @nursery.start_soon
            async def _():
                woken.append(await memory.wait_for_wake(60))
            await trio.testing.wait_all_tasks_blocked()
            more = bytearray(b"x") * (20 * MIB)
        print("woken", woken[0])

        # Moved away, and the group is gone: the next look is at where we are.
        (group.parent / "cgroup.procs").write_text(str(os.getpid()))
        group.rmdir()
        assert memory.sample(2.0).source != shown
        assert memory.degraded == ()
        # Its threshold calls a last time, and is dropped.
        while await memory.wait_for_wake(0.1) is not None:
            pass
        assert not [name for name in memory.wakes if "usage" in name], memory.wakes
        # Somebody who was there before has been in the parent all the time.
        assert outside.sample(3.0).source != shown
        group.mkdir()

    trio.run(main)
"""


def test_version_1_from_within(group_v1: ControlGroup) -> None:
    """The limit is found, growth is seen, a threshold wakes, and a move is noticed."""
    run = subprocess.run(
        [sys.executable, "-c", IN_A_GROUP, str(group_v1.directory), str(group_v1)],
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert run.returncode == 0, run.stderr
    assert f"{group_v1} usage {int(0.7 * 64 * MIB)}" in run.stdout.splitlines()[0]
    assert run.stdout.splitlines()[1] == f"woken {group_v1} usage {int(0.7 * 64 * MIB)}"


async def test_version_2_tells_of_changes(group_v2: ControlGroup) -> None:
    """A change to ``cgroup.events`` wakes. It stands in for ``memory.events``: the mechanism is the
    same, and the file is there without the controller.
    """
    wakes = WakeSet(lost)
    wakes.add(kernel_events.events_file(group_v2, "cgroup.events"))
    assert await wakes.wait(0) is None
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as member:  # noqa: ASYNC220
        (group_v2.directory / "cgroup.procs").write_text(str(member.pid))
        assert await wakes.wait(60) == f"{group_v2} cgroup.events"
        assert await wakes.wait(0) is None
        assert member.stdin is not None
        member.stdin.close()
        assert await wakes.wait(60) == f"{group_v2} cgroup.events"
    wakes.close()


def test_stalls_are_told() -> None:
    try:
        file = StallFile(PSI)
    except OSError as why:
        pytest.skip(f"no pressure stall information here: {why}")
    stall = file.read()
    assert 0 <= stall.full <= stall.some <= 100
    file.close()


@pytest.mark.parametrize("triggers", [(b"nonsense\0", b"some 300000 2000000\0"), (b"some 300000 2000000\0",)])
def test_a_trigger_is_armed(triggers: tuple[bytes, ...]) -> None:
    """The first permitted trigger is armed; nothing stalls here, so it does not call."""
    try:
        fd = arm_trigger(PSI, triggers)
    except OSError as why:
        pytest.skip(f"no trigger permitted here: {why}")
    poll = select.poll()
    poll.register(fd, select.POLLPRI)
    assert not [events for _, events in poll.poll(0) if events & select.POLLERR]
    with pytest.raises(OSError, match="busy"):
        os.write(fd, b"some 300000 2000000\0")
    os.close(fd)


def test_no_trigger_is_permitted() -> None:
    if not PSI.exists():
        pytest.skip("no pressure stall information here")
    before = len(os.listdir("/dev/fd"))
    with pytest.raises(OSError, match=r"Invalid|permitted|denied"):
        arm_trigger(PSI, (b"nonsense\0", b"more of it\0"))
    assert len(os.listdir("/dev/fd")) == before


async def test_what_is_armed_here(autojump_clock: trio.testing.MockClock) -> None:
    """Whatever this machine has, waiting ends in time, and closing gives everything back."""
    before = len(os.listdir("/dev/fd"))
    memory = NodeMemory(environ={})
    await memory.wait_for_wake(0.0)
    assert len(set(memory.wakes)) == len(memory.wakes)
    memory.close()
    assert len(os.listdir("/dev/fd")) == before
