"""Where a governor gets its samples, and what wakes it before its next look."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import attrs
import trio

from ..log import log
from ..policy.memory.heap_limit import bytes_of
from ..policy.memory.memory_sample import MemorySample
from . import psi, service_manager, system
from .group_limits import GroupLimits
from .live_bytes import LiveGauge
from .process_memory import ProcessMemory, ProcessPages
from .reading import LimitSource, Reading
from .rlimits import ProcessLimits
from .wakes import Wake, WakeSet

__all__ = ["LIMITS", "Degraded", "MemorySource", "NodeMemory"]

LIMITS: Final[tuple[type[LimitSource], ...]] = (ProcessLimits, GroupLimits, system.SystemMemory)
"""Who is asked for limits. Of equal headrooms the first is reported."""

_LOOK_AGAIN = 30.0
"""Seconds until a source that failed is tried again."""

_BETWEEN_WAKES = 0.02
"""At least so many seconds: a usage that hovers about a threshold crosses it thousands of times."""


class MemorySource(Protocol):
    """What a governor needs to know about memory. ``NodeMemory`` is the real one; tests use
    ``actorkit.testing.ScriptedMemory``. Give another one to ``open_node(memory_source=…)``."""

    def sample(self, now: float, *, fresh: bool = False) -> MemorySample:
        """One look. ``now``: seconds on the caller's clock. ``fresh``: spare no cost, since
        something was just freed."""
        ...

    async def wait_for_wake(self, timeout: float) -> str | None:
        """Wait until somebody reports that memory is short, and return who; None after ``timeout``
        seconds."""
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

    Asked are the user's ``limit`` (against the resident set), the control groups and their
    ancestors, RLIMIT_AS and RLIMIT_DATA, and what the machine has left. A source that cannot be
    read, or that says nonsense, is left out. That is logged once as a warning and can be read in
    ``degraded``; the source is tried again every half minute.

    A sample costs some tens of microseconds: files are kept open, and no thread is started. Make
    the object in the process that it is to measure, after a fork, and before anything hooks
    Python's allocators (tracemalloc, budgets), since then it knows better what is live. Close it in
    the end.

    Args:
        limit: bytes (or text such as "512 MiB") that the process's resident set is to stay below;
            None: the user sets no limit.
        wake_at: parts of a control group's limit whose crossing wakes (version 1 only: the kernel
            has no such thing for version 2).
        environ: where the service manager's wishes are; the process's own by default.
        root: where the file system begins, for tests. No kernel interface is armed below another
            root.

    Raises ValueError or TypeError when ``limit`` is not a size.

    Example::

        memory = NodeMemory("512 MiB")
        sample = memory.sample(trio.current_time())
        print(f"{sample.used} B of {sample.limit} B are used ({sample.source})")
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
        #: Sources that are missing from the samples now, by name.
        self._degraded: dict[str, Degraded] = {}
        #: Wakes that cannot call, by name.
        self._silent: dict[str, Degraded] = {}
        #: The names of which the log has heard.
        self._logged: set[str] = set()
        self._process = ProcessMemory(root)
        self._live = LiveGauge()
        #: When failed sources are tried again, on the caller's clock.
        self._look_again = math.inf
        #: Those of LIMITS that work.
        self._limits: dict[type[LimitSource], LimitSource] = {}
        self._open_limits()
        self._stalls = self._open_stalls()
        self._live.read(self._pages(), fresh=True)
        #: None before the first wait.
        self._wakes: WakeSet | None = None
        self._last_wake = -math.inf

    @property
    def degraded(self) -> tuple[Degraded, ...]:
        """What is missing from the samples now, and what cannot wake although it should."""
        return (*self._degraded.values(), *self._silent.values())

    @property
    def groups(self) -> tuple[str, ...]:
        """The control groups that are asked, innermost first."""
        found = self._group_limits
        return () if found is None else tuple(map(str, found.groups))

    @property
    def wakes(self) -> tuple[str, ...]:
        """What may wake; empty before the first wait."""
        return () if self._wakes is None else self._wakes.names

    # --- one look -----------------------------------------------------------------------------

    def sample(self, now: float, *, fresh: bool = False) -> MemorySample:
        """One look at everything.

        Args:
            now: seconds on the caller's clock. It goes into the sample, and says when failed
                sources are tried again.
            fresh: find out what is retained now, even if the cost of the last such look would have
                us wait.
        """
        if now >= self._look_again:
            self._retry()
        pages = self._pages()
        readings = [] if self.limit is None else [Reading("memory_limit", self.limit, pages.resident)]
        readings += self._read_limits(pages)
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

    def _read_limits(self, pages: ProcessPages) -> list[Reading]:
        readings: list[Reading] = []
        for kind, source in tuple(self._limits.items()):
            try:
                readings += source.readings(pages)
            except (OSError, ValueError) as why:
                self._degrade(source.name, why)
                source.close()
                del self._limits[kind]
            else:
                self._note_unreadable(source)
        return readings

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

    # --- what is there to look at -------------------------------------------------------------

    def _open_limits(self) -> None:
        """Make those sources of limits that are not there."""
        for kind in LIMITS:
            if kind not in self._limits:
                try:
                    source = kind(self._root)
                except (OSError, ValueError) as why:
                    self._degrade(kind.name, why)
                else:
                    self._limits[kind] = source
                    self._note_unreadable(source)
        self._limits = {kind: self._limits[kind] for kind in LIMITS if kind in self._limits}

    @property
    def _group_limits(self) -> GroupLimits | None:
        found = self._limits.get(GroupLimits)
        return found if isinstance(found, GroupLimits) else None

    def _open_stalls(self) -> psi.StallFile | None:
        for path in self._stall_files():
            try:
                file = psi.StallFile(path)
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
        """The files of stalls, our own group's first: it concerns us alone."""
        groups = self._group_limits
        own = None if groups is None else groups.innermost
        paths = [] if own is None else [own.directory / "memory.pressure"]
        return [*paths, self._root / "proc/pressure/memory"]

    def _retry(self) -> None:
        """Look again for everything that failed, wholly or in part."""
        self._look_again = math.inf
        self._degraded.clear()
        for kind, source in tuple(self._limits.items()):
            if source.unreadable:
                source.close()
                del self._limits[kind]
        self._open_limits()
        if self._stalls is None:
            self._stalls = self._open_stalls()

    def _note_unreadable(self, source: LimitSource) -> None:
        for part, why in source.unreadable.items():
            self._degrade(part, why)

    def _degrade(self, source: str, why: Exception) -> None:
        self._degraded[source] = self._logged_as(source, why)

    def _silence(self, wake: str, why: Exception) -> None:
        self._silent[wake] = self._logged_as(wake, why)

    def _logged_as(self, source: str, why: Exception) -> Degraded:
        because = str(why) or type(why).__name__
        if source not in self._logged:
            self._logged.add(source)
            log.warning("memory: %s is left out, the other sources serve: %s", source, because)
        return Degraded(source, because)

    # --- wakes --------------------------------------------------------------------------------

    async def wait_for_wake(self, timeout: float) -> str | None:
        """Wait until the kernel or the service manager reports that memory is short, and return who
        did.

        Returns None after ``timeout`` seconds. A wake is a hint, and may be false: take a sample.
        One task at a time may wait. Returns no more often than every 20 ms.
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
        off = path == service_manager.OFF
        watched = off
        if path is not None and not off:
            try:
                wakes.add(service_manager.watch(self._environ))
                watched = True
            except (OSError, ValueError) as why:
                self._silence("MEMORY_PRESSURE_WATCH", why)
        if not watched:
            for file in self._stall_files():
                if _added(wakes, partial(psi.stall_trigger, file)):
                    break
        for source in self._limits.values():
            for make in source.wakes(self._wake_at, pressure=not off):
                _added(wakes, make)
        return wakes

    def close(self) -> None:
        """Give back all descriptors. Nothing can be asked afterwards."""
        for one in (self._process, *self._limits.values(), self._stalls, self._wakes):
            if one is not None:
                one.close()


def _added(wakes: WakeSet, make: Callable[[], Wake]) -> bool:
    """Arm a wake if that is possible here: nobody is promised any."""
    try:
        wakes.add(make())
    except OSError:
        return False
    return True
