"""Where a governor gets its samples: all truths composed, and whatever wakes it before its next look."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import attrs
import trio

from ..log import log
from ..policy.memory.heap_limit import bytes_of
from ..policy.memory.memory_sample import MemorySample
from . import kernel_events, rlimits, service_manager, system
from .cgroup import ControlGroups
from .live_bytes import LiveGauge
from .process_memory import ProcessMemory, ProcessPages
from .psi import StallFile
from .reading import Reading
from .wakes import Wake, WakeSet

__all__ = ["Degraded", "MemorySource", "NodeMemory"]

_LOOK_AGAIN = 30.0
"""Seconds until a source that failed is tried again."""

_BETWEEN_WAKES = 0.02
"""Seconds at least: a usage that hovers about a threshold crosses it thousands of times."""


class MemorySource(Protocol):
    """What a governor needs to know of memory. ``NodeMemory`` is the real one, ``ScriptedMemory`` one for tests."""

    def sample(self, now: float, *, fresh: bool = False) -> MemorySample:
        """One look. ``now``: seconds on the caller's clock. ``fresh``: spare no cost, something was just freed."""
        ...

    async def wait_for_wake(self, timeout: float) -> str | None:
        """Wait until somebody says that memory is short, and tell who; None after ``timeout`` seconds."""
        ...

    def close(self) -> None:
        """Give back what is held."""
        ...


@attrs.frozen
class Degraded:
    """A source that is missing from the samples, though it should be there, and why."""

    source: str
    because: str


class NodeMemory:
    """This process's memory: of all limits upon it the one with the least headroom.

    Asked are the user's ``limit`` (against the resident set), the control groups and their ancestors, RLIMIT_AS and
    RLIMIT_DATA, and what the machine has left. One that cannot be read, or tells nonsense, is left out, which is logged
    once as a warning and can be read in ``degraded``; it is looked for again every half minute.

    A sample costs some tens of microseconds: files are kept open, and no thread is started. Make it in the process
    that it is to measure, after a fork, and before anybody stands before Python's allocators (tracemalloc, budgets):
    what is live is told better then. Close it.

    Args:
        limit: bytes (or text such as "512 MiB") that the process's resident set is to stay below; None: no limit of the
            user's.
        wake_at: parts of a control group's limit whose crossing wakes (version 1 only, the kernel knows no such thing
            for version 2).
        environ: where the service manager's wishes are; the process's own by default.
        root: where the file system begins, for tests. No kernel interface is armed below another root.

    Raises ValueError or TypeError when ``limit`` is not a size.

    Example::

        memory = NodeMemory("512 MiB")
        sample = memory.sample(trio.current_time())
        print(f"{sample.used} of {sample.limit} ({sample.source}), {sample.retained} of it free to reuse")
        woken_by = await memory.wait_for_wake(1.0)
        memory.close()
    """

    def __init__(
        self,
        limit: int | str | None = None,
        *,
        wake_at: Sequence[float] = (0.7, 0.8, 0.9, 0.96),
        environ: Mapping[str, str] = os.environ,
        root: str | Path = "/",
    ) -> None:
        self.limit = None if limit is None else bytes_of(limit)
        if self.limit == 0:
            raise ValueError("a memory limit of 0 bytes leaves nothing to run in; give None for no limit")
        self._wake_at = tuple(wake_at)
        self._environ = environ
        self._root = Path(root)
        self._degraded: dict[str, Degraded] = {}
        self._silent: dict[str, Degraded] = {}
        self._said: set[str] = set()
        self._process = ProcessMemory(root)
        self._system: system.SystemMemory | None = system.SystemMemory(root)
        self._live = LiveGauge()
        self._look_again = math.inf
        self._groups = self._find_groups()
        self._stalls = self._open_stalls()
        self._live.read(self._pages(), fresh=True)
        self._wakes: WakeSet | None = None
        self._last_wake = -math.inf

    @property
    def degraded(self) -> tuple[Degraded, ...]:
        """What is missing from the samples now, and who cannot wake though he was to."""
        return (*self._degraded.values(), *self._silent.values())

    @property
    def groups(self) -> tuple[str, ...]:
        """The control groups that are asked, innermost first."""
        return () if self._groups is None else tuple(map(str, self._groups.groups))

    @property
    def wakes(self) -> tuple[str, ...]:
        """Who may wake; empty before the first wait."""
        return () if self._wakes is None else self._wakes.names

    # --- One look ------------------------------------------------------------------------------------

    def sample(self, now: float, *, fresh: bool = False) -> MemorySample:
        """One look at everything.

        Args:
            now: seconds on the caller's clock; it goes into the sample, and times when failed sources are retried.
            fresh: look for what is retained though the last such look's cost would have us wait.
        """
        if now >= self._look_again:
            self._retry()
        pages = self._pages()
        readings = rlimits.readings(pages)
        if self.limit is not None:
            readings.append(Reading("memory_limit", self.limit, pages.resident))
        readings += self._read_groups()
        left = self._read_system(pages)
        if left is not None:
            readings.append(left)
        if not readings:
            readings.append(Reading("system total", system.total(), pages.resident))
        stalled = self._read_stalls()
        if self._degraded:
            self._look_again = min(self._look_again, now + _LOOK_AGAIN)
        least = min(readings, key=lambda reading: reading.headroom)
        return MemorySample(
            now=now,
            limit=least.limit,
            used=least.used,
            source=least.source,
            resident=pages.resident,
            live=self._live.read(pages, fresh=fresh),
            stalled=stalled,
            # A process that was moved into a group has left what it held charged to the former one.
            owned=least.used >= 0.9 * pages.anonymous,
        )

    def _pages(self) -> ProcessPages:
        try:
            return self._process.read()
        except (OSError, ValueError) as why:
            self._degrade("/proc/self/statm", why)
            self._process.use_psutil()
            return self._process.read()

    def _read_groups(self) -> list[Reading]:
        if self._groups is None:
            return []
        readings, failed = self._groups.read()
        if not failed:
            return readings
        # A group does not go while we are in it: most likely we have been moved.
        self._groups.close()
        self._groups = groups = self._find_groups()
        if groups is None:
            return []
        readings, still = groups.read()
        for group, why in still:
            self._degrade(str(group), why)
        return readings

    def _read_system(self, pages: ProcessPages) -> Reading | None:
        if self._system is None:
            return None
        try:
            return self._system.read(pages)
        except (OSError, ValueError) as why:
            self._degrade("system", why)
            self._system.close()
            self._system = None
            return None

    def _read_stalls(self) -> float | None:
        if self._stalls is None:
            return None
        try:
            return self._stalls.read().some
        except (OSError, ValueError) as why:
            self._degrade("PSI", why)
            self._stalls.close()
            self._stalls = None
            return None

    # --- What is there to look at --------------------------------------------------------------------

    def _find_groups(self) -> ControlGroups | None:
        if not (self._root / "proc/self/cgroup").exists():  # no such thing on this system
            return None
        try:
            groups = ControlGroups(self._root)
        except (OSError, ValueError) as why:
            self._degrade("cgroup", why)
            return None
        for group, reason in groups.unreadable:
            self._degrade(str(group), reason)
        return groups

    def _open_stalls(self) -> StallFile | None:
        for path in self._stall_files():
            try:
                file = StallFile(path)
            except OSError:  # not in this kernel, or switched off
                continue
            try:
                file.read()
            except (OSError, ValueError):
                file.close()
                continue
            return file
        return None

    def _stall_files(self) -> list[Path]:
        """Our own group's first: it tells of us alone."""
        own = None if self._groups is None else self._groups.innermost
        paths = [] if own is None else [own.directory / "memory.pressure"]
        return [*paths, self._root / "proc/pressure/memory"]

    def _retry(self) -> None:
        self._look_again = math.inf
        self._degraded.clear()
        if self._groups is not None:
            self._groups.close()
        self._groups = self._find_groups()
        if self._system is None:
            self._system = system.SystemMemory(self._root)
        if self._stalls is None:
            self._stalls = self._open_stalls()

    def _degrade(self, source: str, why: Exception) -> None:
        self._degraded[source] = self._say(source, why)

    def _silence(self, wake: str, why: Exception) -> None:
        self._silent[wake] = self._say(wake, why)

    def _say(self, source: str, why: Exception) -> Degraded:
        because = str(why) or type(why).__name__
        if source not in self._said:
            self._said.add(source)
            log.warning("memory: %s is left out, going on with what else there is: %s", source, because)
        return Degraded(source, because)

    # --- Wakes ---------------------------------------------------------------------------------------

    async def wait_for_wake(self, timeout: float) -> str | None:
        """Wait until the kernel or the service manager says that memory is short, and tell who said it.

        None after ``timeout`` seconds. Calls are hints, also false ones: take a sample. One task at a time.
        Returns no more often than every 20 ms.
        """
        if self._wakes is None:
            self._wakes = self._arm()
        began = trio.current_time()
        held_back = min(timeout, self._last_wake + _BETWEEN_WAKES - began)
        if held_back > 0:
            await trio.sleep(held_back)
            timeout -= held_back
        woken_by = await self._wakes.wait(timeout)
        self._last_wake = trio.current_time()
        return woken_by

    def _arm(self) -> WakeSet:
        wakes = WakeSet(self._silence)
        if self._root != Path("/"):
            return wakes
        path = service_manager.watched_path(self._environ)
        watched = path == service_manager.OFF
        if path is not None and not watched:
            try:
                wakes.add(service_manager.watch(self._environ))
                watched = True
            except (OSError, ValueError) as why:
                self._silence("MEMORY_PRESSURE_WATCH", why)
        if not watched:
            for file in self._stall_files():
                if _added(wakes, partial(kernel_events.stall_trigger, file)):
                    break
        if self._groups is not None:
            limits = self._groups.limits()
            for group in self._groups.groups:
                if group.version == 2:
                    _added(wakes, partial(kernel_events.events_file, group))
                    continue
                for part in self._wake_at if group in limits else ():
                    _added(wakes, partial(kernel_events.usage_threshold, group, int(part * limits[group])))
            own = next((group for group in self._groups.groups if group.version == 1), None)
            if own is not None and path != service_manager.OFF:
                _added(wakes, partial(kernel_events.pressure_level, own))
        return wakes

    def close(self) -> None:
        """Give back all descriptors. Nothing can be asked afterwards."""
        for one in (self._process, self._system, self._groups, self._stalls, self._wakes):
            if one is not None:
                one.close()


def _added(wakes: WakeSet, make: Callable[[], Wake]) -> bool:
    """Arm it if that is possible here: nobody is promised a wake."""
    try:
        wakes.add(make())
    except OSError:
        return False
    return True
