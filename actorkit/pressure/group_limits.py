"""The control groups as a source of limits: read, found again when the process is moved, and armed.

A group does not vanish while we are in it. So when one cannot be read any more, most likely the
process has been moved, and its groups are looked for anew at once. What still cannot be read then
is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from . import kernel_events
from .cgroup import ControlGroup, ControlGroups
from .process_memory import ProcessPages
from .reading import LimitSource, Reading
from .wakes import Wake

__all__ = ["GroupLimits"]


class GroupLimits(LimitSource):
    """Reads the limits of all control groups that this process is charged to.

    Raises OSError or ValueError when it cannot be found out which they are.
    """

    name = "cgroup"

    def __init__(self, root: str | Path = "/") -> None:
        super().__init__(root)
        self._root = Path(root)
        #: None: there is no such thing on this system.
        self._found: ControlGroups | None = self._find()

    def _find(self) -> ControlGroups | None:
        if not (self._root / "proc/self/cgroup").exists():
            return None
        found = ControlGroups(self._root)
        self.unreadable = {str(group): why for group, why in found.unreadable}
        return found

    @property
    def groups(self) -> Sequence[ControlGroup]:
        """Those with a memory controller, innermost first."""
        return () if self._found is None else self._found.groups

    @property
    def innermost(self) -> ControlGroup | None:
        """See ``ControlGroups.innermost``."""
        return None if self._found is None else self._found.innermost

    def readings(self, pages: ProcessPages) -> list[Reading]:
        """One of each group that has a limit now."""
        if self._found is None:
            return []
        readings, failed = self._found.read()
        if not failed:
            return readings
        self._found.close()
        self._found = None
        self._found = found = self._find()
        if found is None:
            return []
        readings, failed = found.read()
        self.unreadable.update((str(group), why) for group, why in failed)
        return readings

    def wakes(self, at: Sequence[float], *, pressure: bool) -> Iterator[Callable[[], Wake]]:
        """What the kernel itself reports of these groups."""
        if self._found is None:
            return
        limits = self._found.limits()
        for group in self.groups:
            if group.version == 2:
                yield partial(kernel_events.events_file, group)
                continue
            for part in at if group in limits else ():
                yield partial(kernel_events.usage_threshold, group, int(part * limits[group]))
        own = next((group for group in self.groups if group.version == 1), None)
        if own is not None and pressure:
            yield partial(kernel_events.pressure_level, own)

    def close(self) -> None:
        """Give the descriptors back."""
        if self._found is not None:
            self._found.close()
