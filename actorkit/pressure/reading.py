"""One truth about memory: somebody's limit, and what is used of it."""

from __future__ import annotations

import attrs

__all__ = ["Reading"]


@attrs.frozen
class Reading:
    """A limit and what is used of it, in bytes; ``source`` says whose limit, for people."""

    source: str
    limit: int
    used: int

    @property
    def headroom(self) -> int:
        """What may still be used; negative if the limit is passed."""
        return self.limit - self.used
