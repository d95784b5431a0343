"""File trees as kernels show them, below a directory of the test."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

MIB = 2**20
NO_LIMIT_V1 = 9223372036854771712

V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate"
V1 = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory"
UNIFIED = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw"
OTHERS = """\
23 1 254:0 / / rw,noatime - ext4 /dev/root rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
"""


def plant(root: Path, files: Mapping[str, str | int]) -> Path:
    """Write the files, with paths relative to ``root``."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n" if isinstance(text, int) else text)
    return root


def process(root: Path, cgroup: str, mounts: str) -> Path:
    """``/proc/self`` of a process with 40 MiB resident, on a machine with 8 GiB left."""
    pages = MIB // 4096
    return plant(
        root,
        {
            "proc/self/cgroup": cgroup,
            "proc/self/mountinfo": OTHERS + mounts + "\n",
            "proc/self/statm": f"{200 * pages} {40 * pages} {10 * pages} 1 0 {90 * pages} 0\n",
            "proc/meminfo": f"MemTotal: {16 * 2**20} kB\nMemFree: 1 kB\n"
            f"MemAvailable:   {8 * 2**20} kB\nBuffers: 1 kB\n",
        },
    )


def v2(root: Path, directory: str, limit: int | str, used: int, *, inactive: int = 0, active: int = 0, high: int | str = "max") -> None:  # fmt: skip  # noqa: E501
    """A group of version 2, sizes in MiB."""
    plant(
        root / directory,
        {
            "memory.max": f"{limit * MIB if isinstance(limit, int) else limit}\n",
            "memory.high": f"{high * MIB if isinstance(high, int) else high}\n",
            "memory.current": used * MIB,
            "memory.stat": f"anon 4096\nfile 8192\ninactive_anon 1\nactive_anon 2\n"
            f"inactive_file {inactive * MIB}\nactive_file {active * MIB}\nunevictable 0\n",
        },
    )


def v1(root: Path, directory: str, limit: int | None, used: int, *, inactive: int = 0, active: int = 0, hierarchy: int = 1) -> None:  # fmt: skip  # noqa: E501
    """A group of version 1, sizes in MiB. Its own figures differ from those that include its
    children.
    """
    plant(
        root / directory,
        {
            "memory.limit_in_bytes": NO_LIMIT_V1 if limit is None else limit * MIB,
            "memory.usage_in_bytes": used * MIB,
            "memory.use_hierarchy": hierarchy,
            "memory.stat": "cache 1\ninactive_file 7\nactive_file 7\n"
            f"total_inactive_file {inactive * MIB}\ntotal_active_file {active * MIB}\ntotal_unevictable 0\n",
        },
    )
