"""Which control groups hold the process, and what is left in them, from recorded file trees."""

from __future__ import annotations

from pathlib import Path

import pytest

from actorkit.pressure.cgroup import ControlGroups, locate
from tests.pressure.trees import MIB, UNIFIED, V1, V2, plant, process, v1, v2


def read(root: Path) -> list[tuple[str, int, int]]:
    """(source, limit, used) in MiB for each group that has a limit."""
    groups = ControlGroups(root)
    try:
        readings, failed = groups.read()
    finally:
        groups.close()
    assert failed == []
    return [(reading.source, reading.limit // MIB, reading.used // MIB) for reading in readings]


def test_nested_in_version_2(tmp_path: Path) -> None:
    process(tmp_path, "0::/app.slice/web.service\n", V2)
    v2(tmp_path, "sys/fs/cgroup/app.slice", 500, 400)
    v2(tmp_path, "sys/fs/cgroup/app.slice/web.service", "max", 100)
    plant(tmp_path, {"sys/fs/cgroup/memory.stat": "anon 1\n"})
    groups = ControlGroups(tmp_path)
    assert [str(group) for group in groups.groups] == [
        "cgroup v2 /app.slice/web.service",
        "cgroup v2 /app.slice",
    ]
    groups.close()
    assert read(tmp_path) == [("cgroup v2 /app.slice", 500, 400)]


def test_page_cache_is_not_needed(tmp_path: Path) -> None:
    """Inactive page cache does not count at all, and active page cache counts by half."""
    process(tmp_path, "0::/a\n", V2)
    v2(tmp_path, "sys/fs/cgroup/a", 500, 400, inactive=100, active=50)
    assert read(tmp_path) == [("cgroup v2 /a", 500, 275)]


@pytest.mark.parametrize(
    ("limit", "high", "told"),
    [
        (500, 300, ("cgroup v2 /a (memory.high)", 300, 100)),
        ("max", 300, ("cgroup v2 /a (memory.high)", 300, 100)),
        (200, 300, ("cgroup v2 /a", 200, 100)),
    ],
)
def test_memory_high_is_a_limit(tmp_path: Path, limit: int | str, high: int, told: tuple[str, int, int]) -> None:
    """Above memory.high the kernel puts the process to sleep, which is no better than the limit."""
    process(tmp_path, "0::/a\n", V2)
    v2(tmp_path, "sys/fs/cgroup/a", limit, 100, high=high)
    assert read(tmp_path) == [told]


def test_hybrid(tmp_path: Path) -> None:
    """Memory is in version 1, in a nested path. Version 2 is mounted beside it, for the stalls."""
    process(tmp_path, "9:name=systemd:/\n4:memory:/api/0a1b\n1:cpu:/\n0::/api\n", f"{V1}\n{UNIFIED}")
    v1(tmp_path, "sys/fs/cgroup/memory", None, 4000)
    v1(tmp_path, "sys/fs/cgroup/memory/api", None, 900)
    v1(tmp_path, "sys/fs/cgroup/memory/api/0a1b", 256, 100, inactive=10)
    plant(tmp_path, {"sys/fs/cgroup/unified/api/memory.pressure": "some avg10=0.00\n"})
    assert read(tmp_path) == [("cgroup v1 /api/0a1b", 256, 90)]
    groups = ControlGroups(tmp_path)
    assert groups.innermost is not None
    assert groups.innermost.directory == tmp_path / "sys/fs/cgroup/unified/api"
    assert len(groups.groups) == 3
    groups.close()


def test_an_ancestor_may_be_the_smaller_one(tmp_path: Path) -> None:
    process(tmp_path, "4:memory:/a/b/c\n", V1)
    v1(tmp_path, "sys/fs/cgroup/memory", None, 4000)
    v1(tmp_path, "sys/fs/cgroup/memory/a", 300, 290)
    v1(tmp_path, "sys/fs/cgroup/memory/a/b", None, 120)
    v1(tmp_path, "sys/fs/cgroup/memory/a/b/c", 256, 100)
    assert read(tmp_path) == [("cgroup v1 /a/b/c", 256, 100), ("cgroup v1 /a", 300, 290)]


def test_an_ancestor_that_does_not_count_us(tmp_path: Path) -> None:
    """Without use_hierarchy a group counts its own members only, and so do those above it."""
    process(tmp_path, "4:memory:/a/b\n", V1)
    v1(tmp_path, "sys/fs/cgroup/memory", 1000, 1)
    v1(tmp_path, "sys/fs/cgroup/memory/a", 300, 290, hierarchy=0)
    v1(tmp_path, "sys/fs/cgroup/memory/a/b", 256, 100)
    assert read(tmp_path) == [("cgroup v1 /a/b", 256, 100)]


def test_a_mount_that_shows_a_part(tmp_path: Path) -> None:
    """A container has no namespace of its own: the path is the host's, and the mount is the
    container's part of the tree.
    """
    mount = "35 31 0:32 /docker/c0ffee /sys/fs/cgroup/memory ro,relatime - cgroup cgroup rw,memory"
    process(tmp_path, "4:memory:/docker/c0ffee/inner\n", mount)
    v1(tmp_path, "sys/fs/cgroup/memory", 512, 200)
    v1(tmp_path, "sys/fs/cgroup/memory/inner", None, 100)
    assert read(tmp_path) == [("cgroup v1 /docker/c0ffee", 512, 200)]


@pytest.mark.parametrize("path", ["/docker/c0ffee", "/../sibling", "/gone (deleted)"])
@pytest.mark.parametrize("mounted", ["/", "/../.."])
def test_a_path_that_cannot_be_seen(tmp_path: Path, path: str, mounted: str) -> None:
    """The root of the mount is the nearest group that can be seen, so it is taken."""
    process(tmp_path, f"0::{path}\n", V2.replace("0:26 / ", f"0:26 {mounted} "))
    v2(tmp_path, "sys/fs/cgroup", 512, 200)
    v2(tmp_path, "sys/fs/sibling", 1, 1)
    assert read(tmp_path) == [("cgroup v2 /", 512, 200)]


def test_a_name_with_blanks_and_colons(tmp_path: Path) -> None:
    process(tmp_path, "0::/a:b c\n", V2.replace("/sys/fs/cgroup ", "/sys/fs/my\\040groups "))
    v2(tmp_path, "sys/fs/my groups/a:b c", 512, 200)
    assert read(tmp_path) == [("cgroup v2 /a:b c", 512, 200)]


def test_the_mount_that_shows_more(tmp_path: Path) -> None:
    part = "99 1 0:26 /a/b /mnt/part rw - cgroup2 cgroup2 rw"
    process(tmp_path, "0::/a/b\n", f"{part}\n{V2}")
    v2(tmp_path, "sys/fs/cgroup/a", 100, 90)
    v2(tmp_path, "sys/fs/cgroup/a/b", 200, 90)
    v2(tmp_path, "mnt/part", 200, 90)
    assert read(tmp_path) == [("cgroup v2 /a/b", 200, 90), ("cgroup v2 /a", 100, 90)]


def test_groups_without_the_controller_are_passed_over(tmp_path: Path) -> None:
    """A process in a group without the controller counts to the nearest ancestor that has it."""
    process(tmp_path, "0::/a/b\n", V2)
    v2(tmp_path, "sys/fs/cgroup/a", 100, 90)
    plant(tmp_path, {"sys/fs/cgroup/a/b/cgroup.procs": "1\n"})
    assert read(tmp_path) == [("cgroup v2 /a", 100, 90)]


def test_no_groups_at_all(tmp_path: Path) -> None:
    process(tmp_path, "1:cpu:/\n", "")
    assert locate(tmp_path) == []
    assert read(tmp_path) == []


def test_lines_that_make_no_sense(tmp_path: Path) -> None:
    process(tmp_path, "what\n:::\n4:memory\n0::relative\n0::/a\n", f"- -\n1 2 3\n{V2}")
    v2(tmp_path, "sys/fs/cgroup/a", 100, 90)
    assert read(tmp_path) == [("cgroup v2 /a", 100, 90)]


def test_a_limit_of_today(tmp_path: Path) -> None:
    """A limit that changes while the process runs is seen."""
    process(tmp_path, "0::/a\n", V2)
    v2(tmp_path, "sys/fs/cgroup/a", "max", 90)
    groups = ControlGroups(tmp_path)
    assert groups.read() == ([], [])
    plant(tmp_path, {"sys/fs/cgroup/a/memory.max": 95 * MIB})
    ((reading,), _) = groups.read()
    assert (reading.limit, reading.headroom) == (95 * MIB, 5 * MIB)
    groups.close()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("memory.max", "soon\n"),
        ("memory.max", "0\n"),
        ("memory.max", ""),
        ("memory.current", "a lot\n"),
        ("memory.current", ""),
        ("memory.stat", "anon 12\n"),
        ("memory.stat", "inactive_file\nactive_file 1\n"),
        ("memory.stat", "inactive_file 1\nactive_file one\n"),
    ],
)
def test_garbage_takes_out_one_group(tmp_path: Path, name: str, text: str) -> None:
    process(tmp_path, "0::/a/b\n", V2)
    v2(tmp_path, "sys/fs/cgroup/a", 100, 90)
    v2(tmp_path, "sys/fs/cgroup/a/b", 50, 40)
    groups = ControlGroups(tmp_path)
    plant(tmp_path, {f"sys/fs/cgroup/a/b/{name}": text})
    readings, ((group, why),) = groups.read()
    assert [reading.source for reading in readings] == ["cgroup v2 /a"]
    assert (str(group), type(why)) == ("cgroup v2 /a/b", ValueError)
    assert groups.read() == (readings, [])
    groups.close()
