"""The control groups that this process's memory is charged to, and what is left in each.

Where they are. ``/proc/self/cgroup`` gives a path within each hierarchy, and
``/proc/self/mountinfo`` says where that hierarchy, or a part of it, can be seen. Version 1 has a
hierarchy for the memory controller, version 2 has one for everything. On a hybrid system both are
mounted and memory is in one of them; the other simply lacks the files. Three things complicate it:

* A mount shows a part. Its root is then a prefix of the path, and is taken off. That is a container
  whose paths are the host's.
* A namespace shows paths from somewhere else, such as ``/../sibling``, or paths that do not exist.
  Then the root of the mount is the nearest that can be seen, and it is taken.
* Every ancestor has a limit of its own and a count of everything below it. The one with the least
  headroom is the one that ends us. Groups without the controller (v2) do not count, nor do groups
  that do not count their children (v1, ``use_hierarchy`` 0).

How much is used. The counts include page cache, which the kernel gives up before it kills.
``inactive_file`` is taken off wholly, as the kubelet does, and ``active_file`` by half. The kubelet
counts all of that as used, and evicts for the sake of a log file's pages (kubernetes issue 43916).
The kernel reclaims it too, at a price; half is what its own MemAvailable assumes at worst. Actors
killed to keep page cache would be killed for nothing.

What the limit is. ``memory.high`` of version 2 is one, if it is lower than ``memory.max``. Beyond
it nothing is killed, but whoever allocates is put to sleep for reclaim, for up to seconds, and an
event loop that sleeps is as good as dead. Swap is not counted: a node that swaps is late for
everything.

Limits are read each time, since they are changed from outside while we run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import attrs

from .kept_file import KeptFile
from .reading import Reading

__all__ = ["ControlGroup", "ControlGroups", "locate"]

_UNLIMITED = 1 << 62
"""Version 1 says 9223372036854771712, the most its counter can hold, for "no limit"."""


@attrs.frozen
class ControlGroup:
    """One group that counts this process's memory: its ``path`` within its hierarchy, and the
    ``directory`` to read."""

    version: int
    path: str
    directory: Path

    def __str__(self) -> str:
        return f"cgroup v{self.version} {self.path}"


# --- where we are -----------------------------------------------------------------------------


@attrs.frozen
class _Mount:
    version: int
    root: str
    point: Path


def _unescaped(field: str) -> str:
    """mountinfo writes blanks and backslashes in octal."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def _mounts(text: str, root: Path) -> Iterator[_Mount]:
    for line in text.splitlines():
        before, dash, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ")
        if not dash or len(fields) < 6 or len(kind) < 3:
            continue
        point = root / _unescaped(fields[4]).lstrip("/")
        if kind[0] == "cgroup2":
            yield _Mount(2, _unescaped(fields[3]), point)
        elif kind[0] == "cgroup" and "memory" in kind[2].split(","):
            yield _Mount(1, _unescaped(fields[3]), point)


def _own_paths(text: str) -> dict[int, str]:
    """Version to path of the groups that may hold our memory."""
    paths: dict[int, str] = {}
    for line in text.splitlines():
        fields = line.split(":", 2)
        if len(fields) < 3 or not fields[2].startswith("/"):
            continue
        path = fields[2].removesuffix(" (deleted)")
        if fields[1] == "" and fields[0] == "0":
            paths[2] = path
        elif "memory" in fields[1].split(","):
            paths[1] = path
    return paths


def _within(path: str, mount: _Mount) -> str | None:
    """The path as seen below the mount point, or None if it cannot be seen there."""
    base = "" if mount.root == "/" else mount.root
    if path != base and not path.startswith(base + "/"):
        return None
    below = path[len(base) :].strip("/")
    if ".." in below.split("/") or not (mount.point / below).is_dir():
        return None
    return below


def locate(root: str | Path = "/") -> list[ControlGroup]:
    """This process's groups of either version: in each hierarchy the innermost first, its ancestors
    after it.

    Args:
        root: where the file system begins, for tests.

    Raises OSError when ``/proc/self`` cannot be read. The list is empty if there are no groups.
    """
    root = Path(root)
    paths = _own_paths((root / "proc/self/cgroup").read_text())
    mounts = list(_mounts((root / "proc/self/mountinfo").read_text(), root))
    found: list[ControlGroup] = []
    for version, path in sorted(paths.items()):
        candidates = [mount for mount in mounts if mount.version == version]
        seen = [(mount, below) for mount in candidates if (below := _within(path, mount)) is not None]
        if seen:
            # The mount that shows the most of what is above us.
            mount, below = max(seen, key=lambda pair: len(pair[1]))
        elif candidates:
            mount, below = candidates[0], ""
        else:
            continue
        base = mount.root.rstrip("/") if seen else ""
        parts = below.split("/") if below else []
        for depth in range(len(parts), -1, -1):
            inner = "/".join(parts[:depth])
            shown = f"{base}/{inner}".rstrip("/") or "/"
            found.append(ControlGroup(version, shown, mount.point / inner))
    return found


# --- what is left there -----------------------------------------------------------------------


def _limit(text: bytes) -> int | None:
    text = text.strip()
    if text == b"max":
        return None
    number = int(text)
    if number < 1:
        raise ValueError(f"a limit of {number} bytes")
    return number if number < _UNLIMITED else None


def _field(text: bytes, name: bytes) -> int:
    start = 0 if text.startswith(name + b" ") else text.find(b"\n" + name + b" ") + 1
    if start == 0 and not text.startswith(name + b" "):
        raise ValueError(f"memory.stat has no {name.decode()}")
    start += len(name) + 1
    end = text.find(b"\n", start)
    return int(text[start:] if end < 0 else text[start:end])


class _Level:
    """One group's files. What is not needed, because there is no limit, is not opened."""

    def __init__(self, group: ControlGroup) -> None:
        self.group = group
        self._files: list[KeptFile] = []
        self._usage: KeptFile | None = None
        self._stat: KeptFile | None = None
        v1 = group.version == 1
        self._cached = (b"total_inactive_file", b"total_active_file") if v1 else (b"inactive_file", b"active_file")
        self._limits: list[tuple[str, KeptFile]] = []
        for name in ("memory.limit_in_bytes",) if v1 else ("memory.max", "memory.high"):
            try:
                self._limits.append((name, self._open(name)))
            except FileNotFoundError:  # the root of version 2 has none, nor have old kernels memory.high
                continue
            except OSError:
                self.close()
                raise

    @property
    def can_have_a_limit(self) -> bool:
        return bool(self._limits)

    def _open(self, name: str) -> KeptFile:
        file = KeptFile(self.group.directory / name)
        self._files.append(file)
        return file

    def limit(self) -> tuple[int, str] | None:
        """The lowest limit and the file that says it."""
        limits = [(one, name) for name, file in self._limits if (one := _limit(file.read())) is not None]
        return min(limits, default=None)

    def read(self) -> Reading | None:
        lowest = self.limit()
        if lowest is None:
            return None
        limit, by = lowest
        if self._usage is None:
            self._usage = self._open("memory.usage_in_bytes" if self.group.version == 1 else "memory.current")
        if self._stat is None:
            self._stat = self._open("memory.stat")
        usage, stat = int(self._usage.read()), self._stat.read()
        inactive, active = (_field(stat, name) for name in self._cached)
        used = usage - inactive - active // 2
        source = f"{self.group} ({by})" if by == "memory.high" else str(self.group)
        # The statistics are a little older than the count, so the difference may be negative.
        return Reading(source, limit, max(0, used))

    def close(self) -> None:
        for file in self._files:
            file.close()


def _counts_children(group: ControlGroup) -> bool:
    if group.version == 2:
        return True
    try:
        return (group.directory / "memory.use_hierarchy").read_text().strip() != "0"
    except OSError:  # gone in kernels that always count them
        return True


class ControlGroups:
    """Reads what is left in each group that this process is charged to.

    Args:
        root: where the file system begins, for tests.

    Attributes:
        groups: those with a memory controller, innermost first.
        innermost: this process's own group of version 2, even without the controller: its PSI file
            concerns us alone.
        unreadable: groups that are there but cannot be read, and why.

    Raises OSError when it cannot be found out which they are.
    """

    def __init__(self, root: str | Path = "/") -> None:
        self.groups: list[ControlGroup] = []
        self.innermost: ControlGroup | None = None
        self.unreadable: list[tuple[ControlGroup, Exception]] = []
        self._levels: list[_Level] = []
        cut_off = set()
        for group in locate(root):
            if group.version == 2 and self.innermost is None:
                self.innermost = group
            if group.version in cut_off:
                continue
            if any(inner.version == group.version for inner in self.groups) and not _counts_children(group):
                cut_off.add(group.version)
                continue
            try:
                level = _Level(group)
            except OSError as why:
                self.unreadable.append((group, why))
                continue
            if level.can_have_a_limit:
                self._levels.append(level)
                self.groups.append(group)

    def read(self) -> tuple[list[Reading], list[tuple[ControlGroup, Exception]]]:
        """The readings of all groups that have a limit, and the groups that failed, and why.

        A group that failed is not asked again: make a new object to look for it anew.
        """
        readings: list[Reading] = []
        failed: list[tuple[ControlGroup, Exception]] = []
        for level in list(self._levels):
            try:
                reading = level.read()
            except (OSError, ValueError) as why:
                failed.append((level.group, why))
                self._levels.remove(level)
                level.close()
                continue
            if reading is not None:
                readings.append(reading)
        return readings, failed

    def limits(self) -> dict[ControlGroup, int]:
        """The limits of those groups that have one now and can be read."""
        found: dict[ControlGroup, int] = {}
        for level in self._levels:
            try:
                lowest = level.limit()
            except (OSError, ValueError):  # the next ``read`` reports it
                continue
            if lowest is not None:
                found[level.group] = lowest[0]
        return found

    def close(self) -> None:
        """Give the descriptors back."""
        for level in self._levels:
            level.close()
        self._levels.clear()
