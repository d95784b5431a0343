"""A real limit on memory, for a server and the processes that share it: a cgroup of its own, v1 or
v2, else RLIMIT_AS.

The group is made below the runner's own (v1), or where the v2 rules allow it, and removed
afterwards. Without the permission for that, the server's process gets RLIMIT_AS, which limits
addresses rather than memory and cannot be shared with another process; the report says which limit
was used. A command enters the limit through a shell, which writes its process id or sets its limit
and then becomes the command, so even the first page is charged.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PREFIX = "actorkit-survival-"
REMOVE_SECONDS = 10.0

_serial = itertools.count(1)


class NoPermission(Exception):
    """No cgroup can be made here, and why."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes in use. ``cached`` is what the kernel would take back by itself; ``used`` does not
    include it."""

    used: int
    cached: int = 0


class Limit:
    """One limit in force. Use it as a context manager."""

    kind: str
    size: int
    shared = True
    """Can another process be put under the same limit?"""

    def command(self, command: list[str]) -> list[str]:
        """The command that runs this one under the limit."""
        raise NotImplementedError

    def usage(self, pid: int) -> Usage:
        raise NotImplementedError

    def oom_kills(self) -> int:
        """How many processes the kernel has killed because of this limit."""
        return 0

    def close(self) -> None:
        """Remove it, and end whatever is still in it."""

    def __enter__(self) -> Limit:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AddressSpace(Limit):
    kind = "RLIMIT_AS"
    shared = False

    def __init__(self, size: int) -> None:
        self.size = size

    def command(self, command: list[str]) -> list[str]:
        return ["/bin/sh", "-c", f'ulimit -v {self.size // 1024} && exec "$@"', "sh", *command]

    def usage(self, pid: int) -> Usage:
        with open(f"/proc/{pid}/statm") as statm:
            return Usage(int(statm.read().split()[0]) * os.sysconf("SC_PAGE_SIZE"))


class Cgroup(Limit):
    """A directory in a cgroup file system. The names of the files are all that differs between v1
    and v2.
    """

    limit_file: str
    swap_file: str
    usage_file: str
    cached_key: str
    oom_file: str

    def __init__(self, parent: Path, size: int) -> None:
        self.size = size
        self.path = parent / f"{PREFIX}{os.getpid()}-{next(_serial)}"
        try:
            self.path.mkdir()
        except OSError as error:
            raise NoPermission(f"cannot make a group below {parent}: {error.strerror}") from None
        try:
            (self.path / self.limit_file).write_text(str(size))
        except OSError as error:
            self.path.rmdir()
            raise NoPermission(f"cannot limit {self.path}: {error.strerror}") from None
        with contextlib.suppress(OSError):  # a kernel without swap accounting has no such file
            (self.path / self.swap_file).write_text(self.swap_value())

    def swap_value(self) -> str:
        raise NotImplementedError

    def command(self, command: list[str]) -> list[str]:
        return ["/bin/sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self.path / "cgroup.procs"), *command]

    def usage(self, pid: int) -> Usage:
        used = int((self.path / self.usage_file).read_text())
        cached = keyed(self.path / "memory.stat").get(self.cached_key, 0)
        return Usage(max(0, used - cached), cached)

    def oom_kills(self) -> int:
        return keyed(self.path / self.oom_file).get("oom_kill", 0)

    def close(self) -> None:
        deadline = time.monotonic() + REMOVE_SECONDS
        while self.path.exists():
            for pid in members(self.path):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            try:
                self.path.rmdir()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)


class CgroupV1(Cgroup):
    kind = "cgroup v1"
    limit_file = "memory.limit_in_bytes"
    swap_file = "memory.memsw.limit_in_bytes"
    usage_file = "memory.usage_in_bytes"
    cached_key = "total_inactive_file"
    oom_file = "memory.oom_control"

    def swap_value(self) -> str:
        return str(self.size)  # memory and swap together


class CgroupV2(Cgroup):
    kind = "cgroup v2"
    limit_file = "memory.max"
    swap_file = "memory.swap.max"
    usage_file = "memory.current"
    cached_key = "inactive_file"
    oom_file = "memory.events"

    def swap_value(self) -> str:
        return "0"


def members(group: Path) -> list[int]:
    try:
        return [int(pid) for pid in (group / "cgroup.procs").read_text().split()]
    except OSError:
        return []


def keyed(file: Path) -> dict[str, int]:
    """A file of ``key number`` lines."""
    found = {}
    for line in file.read_text().splitlines():
        key, _, number = line.partition(" ")
        if number.isdigit():
            found[key] = int(number)
    return found


# -- where our own group is ------------------------------------------------------------------------


def own_groups(cgroup: str, mountinfo: str) -> tuple[Path | None, Path | None]:
    """The directories of our own memory group in v1 and of our group in v2, from the texts of
    /proc/self/cgroup and /proc/self/mountinfo. A container may see only a part of the hierarchy:
    the mount's root is taken off the path.
    """
    v1 = v2 = None
    for line in cgroup.splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            v1 = _mounted(path, mountinfo, "cgroup", "memory")
        elif not controllers:
            v2 = _mounted(path, mountinfo, "cgroup2", None)
    return v1, v2


def _mounted(path: str, mountinfo: str, kind: str, option: str | None) -> Path | None:
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        _, _, _, root, mount, *_ = before.split()
        filesystem, _, options = after.split(" ", 2)
        if filesystem != kind or (option is not None and option not in options.split(",")):
            continue
        inside = path
        if root != "/":
            if path != root and not path.startswith(root + "/"):
                continue
            inside = path[len(root) :]
        return Path(mount) / inside.strip("/")
    return None


def _groups() -> tuple[Path | None, Path | None]:
    return own_groups(Path("/proc/self/cgroup").read_text(), Path("/proc/self/mountinfo").read_text())


def v2_parents(own: Path) -> Iterator[Path]:
    """Groups in which a limited group can be made. A group with processes of its own cannot hand
    out controllers, so our own rarely qualifies, and its parent often does.
    """
    for group in (own, own.parent):
        try:
            handed_out = (group / "cgroup.subtree_control").read_text().split()
            if "memory" not in handed_out:
                (group / "cgroup.subtree_control").write_text("+memory")
        except OSError:
            continue
        yield group


def make_limit(size: int, cgroups: bool = True) -> tuple[Limit, str]:
    """A limit of this many bytes, the best kind available here, and a sentence that says which kind
    it is."""
    reasons = [] if cgroups else ["as asked"]
    v1, v2 = _groups() if cgroups else (None, None)
    if v1 is not None:
        try:
            return CgroupV1(v1, size), f"cgroup v1 below {v1}"
        except NoPermission as error:
            reasons.append(str(error))
    if v2 is not None:
        parents = list(v2_parents(v2))
        if not parents:
            reasons.append(f"neither {v2} nor its parent may hand out the memory controller of cgroup v2")
        for parent in parents:
            try:
                return CgroupV2(parent, size), f"cgroup v2 below {parent}"
            except NoPermission as error:
                reasons.append(str(error))
    why = "; ".join(reasons) or "no memory controller here"
    return AddressSpace(size), f"RLIMIT_AS on the server's process ({why})"


def remove_stale() -> list[Path]:
    """Groups left behind by runs whose process was killed."""
    removed = []
    for own in _groups():
        if own is None:
            continue
        for parent in {own, own.parent}:
            for group in parent.glob(f"{PREFIX}*-*"):
                owner = group.name.removeprefix(PREFIX).partition("-")[0]
                if owner.isdigit() and not Path(f"/proc/{owner}").exists() and not members(group):
                    with contextlib.suppress(OSError):
                        group.rmdir()
                        removed.append(group)
    return removed
