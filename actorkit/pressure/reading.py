"""One truth about memory: somebody's limit, what is used of it, and who reads both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import ClassVar

import attrs

from .process_memory import ProcessPages
from .wakes import Wake

__all__ = ["LimitSource", "Reading"]


@attrs.frozen
class Reading:
    """A limit and what is used of it, in bytes; ``source`` names it, for people."""

    source: str
    limit: int
    used: int

    @property
    def headroom(self) -> int:
        """What may still be used; negative if the limit is passed."""
        return self.limit - self.used


class LimitSource:
    """Reads limits of one kind. A subclass has a ``name`` and ``readings``; the rest is optional.

    An OSError or ValueError, from the constructor or from ``readings``, says that the source cannot
    serve. It is then closed and left out of the samples, which is logged once, and made anew after
    half a minute.

    Args:
        root: where the file system begins, for tests.
    """

    #: For the log and for ``NodeMemory.degraded``.
    name: ClassVar[str]

    def __init__(self, root: str | Path = "/") -> None:
        #: Parts that are left out while the others can be read, by name, and why.
        self.unreadable: dict[str, Exception] = {}

    def readings(self, pages: ProcessPages) -> Sequence[Reading]:
        """The limits that are set now. ``pages``: what the process has at this moment. Called at
        each sample: take some microseconds, and open nothing."""
        raise NotImplementedError

    def wakes(self, at: Sequence[float], *, pressure: bool) -> Iterable[Callable[[], Wake]]:
        """What can call when memory gets short; each is made when it is armed, and may raise
        OSError then.

        Args:
            at: the parts of the limit whose crossing should wake.
            pressure: False if the service manager wants nobody to watch memory pressure.
        """
        return ()

    def close(self) -> None:
        """Give back what is held."""
