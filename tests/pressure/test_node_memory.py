"""All limits together: the one with the least headroom is reported, and a source that fails is left
out.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from actorkit.policy.memory.memory_sample import MemorySample
from actorkit.pressure.sources import NodeMemory
from tests.pressure.trees import MIB, V2, plant, process, v2


def sample(root: Path, limit: int | str | None = None) -> MemorySample:
    memory = NodeMemory(limit, root=root)
    try:
        return memory.sample(5.0)
    finally:
        memory.close()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    process(tmp_path, "0::/a\n", V2)
    v2(tmp_path, "sys/fs/cgroup/a", 500, 100)
    return tmp_path


def test_the_group_is_the_tightest(tree: Path) -> None:
    plant(tree, {"proc/pressure/memory": "some avg10=1.50 avg60=0.00\nfull avg10=0.25 avg60=0\n"})
    told = sample(tree)
    assert (told.source, told.limit, told.used) == ("cgroup v2 /a", 500 * MIB, 100 * MIB)
    assert (told.now, told.resident, told.stalled, told.owned) == (5.0, 40 * MIB, 1.5, True)


def test_our_own_group_s_stalls_before_the_machine_s(tree: Path) -> None:
    plant(tree, {"proc/pressure/memory": "some avg10=1.50 avg60=0.00\nfull avg10=0.25 avg60=0\n"})
    plant(tree, {"sys/fs/cgroup/a/memory.pressure": "some avg10=42.00 avg60=0.00\nfull avg10=0.25 avg60=0\n"})
    assert sample(tree).stalled == 42


def test_the_machine_is_the_tightest(tree: Path) -> None:
    """The machine's limit is the size to which the process could grow: what it has plus what is
    left.
    """
    plant(tree, {"proc/meminfo": "MemTotal: 99999999 kB\nMemAvailable: 10240 kB\n"})
    told = sample(tree)
    assert (told.source, told.limit, told.used) == ("system", 50 * MIB, 40 * MIB)


def test_the_user_s_limit(tree: Path) -> None:
    told = sample(tree, "45 MiB")
    assert (told.source, told.limit, told.used) == ("memory_limit", 45 * MIB, 40 * MIB)


@pytest.mark.parametrize(
    ("limit", "error"), [(0, ValueError), ("much", ValueError), (1.5, TypeError), (-1, ValueError)]
)
def test_what_is_no_limit(limit: int, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"size|limit"):
        NodeMemory(limit)


def test_pages_that_were_charged_elsewhere(tree: Path) -> None:
    """The process was moved into the group. The group is charged for less than the process has, so
    retained memory is not part of the charge.
    """
    v2(tree, "sys/fs/cgroup/a", 500, 5)
    told = sample(tree)
    assert not told.owned
    assert told.needed == told.used


# --- Sources that fail ------------------------------------------------------------------------


def test_a_failure_is_said_once(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    memory = NodeMemory(root=tree)
    assert memory.sample(0.0).source == "cgroup v2 /a"
    plant(tree, {"sys/fs/cgroup/a/memory.current": "none of your business\n"})
    for now in range(100):
        assert memory.sample(float(now)).source == "system"
    ((record,), (degraded,)) = caplog.records, memory.degraded
    assert "cgroup v2 /a is left out" in record.getMessage()
    assert degraded.source == "cgroup v2 /a"
    assert "none of your business" in degraded.because
    memory.close()


def test_what_recovers_is_found_again(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    memory = NodeMemory(root=tree)
    plant(tree, {"sys/fs/cgroup/a/memory.current": "?\n", "proc/meminfo": "?\n"})
    assert memory.sample(0.0).source == "system total"
    assert [degraded.source for degraded in memory.degraded] == ["cgroup v2 /a", "system"]
    v2(tree, "sys/fs/cgroup/a", 500, 300)
    assert memory.sample(29.0).source == "system total"
    assert memory.sample(30.0).source == "cgroup v2 /a"
    assert [degraded.source for degraded in memory.degraded] == ["system"]
    plant(tree, {"sys/fs/cgroup/a/memory.current": "?\n"})
    memory.sample(31.0)
    assert len(caplog.records) == 2
    memory.close()


def test_a_group_that_cannot_be_read(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A group that cannot be read from the start, as when permission is missing, is left out and
    reported.
    """
    (tree / "sys/fs/cgroup/a/memory.max").unlink()
    (tree / "sys/fs/cgroup/a/memory.max").symlink_to("memory.max")
    memory = NodeMemory(root=tree)
    assert memory.sample(0.0).source == "system"
    assert [degraded.source for degraded in memory.degraded] == ["cgroup v2 /a"]
    assert "symbolic links" in caplog.text
    memory.close()


def test_proc_tells_nonsense(tree: Path) -> None:
    """When /proc tells nonsense, psutil is asked about the process."""
    memory = NodeMemory(root=tree)
    plant(tree, {"proc/self/statm": "1 2 3\n"})
    assert memory.sample(0.0).resident > 5 * MIB
    assert memory.sample(1.0).resident > 5 * MIB
    memory.close()


def test_nothing_there_at_all(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A system without /proc, such as another operating system, is not a failure."""
    memory = NodeMemory(root=tmp_path)
    told = memory.sample(0.0)
    assert told.source == "system"
    assert told.limit > told.used > 5 * MIB
    assert (memory.degraded, caplog.records, told.stalled) == ((), [], None)
    memory.close()


# --- For real ---------------------------------------------------------------------------------


def test_the_process_s_own_limits() -> None:
    """The process's own limits are found. The test runs in a process of its own, since a limit
    holds for all of it.
    """
    if sys.platform != "linux":
        pytest.skip("limits that can be told from use exist on Linux")
    code = """if True:
        import resource
        from actorkit.pressure.sources import NodeMemory
        memory = NodeMemory()
        for name, limit in (("RLIMIT_AS", 3 << 29), ("RLIMIT_DATA", 1 << 29)):
            memory.sample(0.0)
            resource.setrlimit(getattr(resource, name), (limit, limit))
            told = memory.sample(1.0)
            assert (told.source, told.limit) == (name, limit), told
            more = bytearray(100 << 20)
            grown = memory.sample(2.0).used - told.used
            assert 100 << 20 <= grown <= 104 << 20, grown
            del more
    """
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.own_process
def test_this_machine() -> None:
    """Every figure is plausible, and what the test allocates is seen."""
    memory = NodeMemory()
    before = memory.sample(0.0, fresh=True)
    more = bytearray(b"x") * (50 * MIB)
    after = memory.sample(1.0, fresh=True)
    assert 45 * MIB < after.resident - before.resident < 60 * MIB
    assert before.limit > before.used > 0
    assert memory.degraded == ()
    if before.live is not None and after.live is not None:
        assert 5 * MIB < before.live <= before.resident
        assert 40 * MIB < after.live - before.live < 60 * MIB
    del more
    memory.close()


def test_samples_open_nothing() -> None:
    """Samples open no file, since descriptors may be short just when memory is."""
    memory = NodeMemory()
    memory.sample(0.0)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(list(Path("/dev/fd").iterdir()))
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        told = memory.sample(1.0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert told.used > 0
    assert memory.degraded == ()
    assert len(list(Path("/dev/fd").iterdir())) == used
    memory.close()
    assert len(list(Path("/dev/fd").iterdir())) < used
