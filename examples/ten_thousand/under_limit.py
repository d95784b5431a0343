"""The service under a memory limit: how much greed it must survive, and how it did."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .chain_reaction import AT_MOST, STEP
from .display import megabytes

__all__ = ["GREEDY_SECONDS", "Limited"]

GREEDY_SECONDS = 15.0
"""From the first connection that is ended to the end."""

GREED = 2.0
"""Together the greedy clients want so many times what the idle service leaves free."""

SHARE = 0.75
"""But no more than this part of all clients is greedy."""

FILLS_IN = 6.0
"""Seconds in which they would fill that."""

AT_ONCE = 0.02
"""The part of the limit that may have been asked for and not answered yet."""

IDLE = 0.63
"""The idle service must not need more of the limit than this, or memory would never be NORMAL."""

ENOUGH = 1.2
"""The greedy must be able to take so many times what is left."""

LEVELS = ["NORMAL", "CONSERVE", "SHED", "KILL", "EXHAUSTED"]
KEPT = 0.99
"""The part of the well-behaved clients that must not lose their connections."""


@dataclass
class Limited:
    """What came of the chain reaction."""

    limit: int
    clients: int
    seconds: float
    greedy: int = 0
    command: str = ""
    """The command for the clients."""
    changes: list[dict[str, Any]] = field(default_factory=list)
    """Changes of the level, as the service reported them."""
    over: float = 0.0
    """When it was over, in seconds."""
    calm: float = 0.0
    """When the last greedy client was back in and behaved like the others."""

    def plan(self, resident: int) -> bool:
        """Decide how many are to be greedy, and how fast. False if they could not reach the
        limit."""
        room = self.limit - resident
        self.greedy = max(0, min(int(SHARE * self.clients), round(GREED * room / AT_MOST)))
        if resident > IDLE * self.limit or self.greedy * AT_MOST < ENOUGH * room:
            return False
        window = max(4, int(AT_ONCE * self.limit / STEP))
        self.command = f"hoard {self.greedy} {round(room / FILLS_IN)} {window} {self.seconds}"
        return True

    def suits(self, resident: int) -> str:
        """A text that says which limits would do."""
        takes = int(SHARE * self.clients) * AT_MOST
        least, most = resident / IDLE, resident + takes / ENOUGH
        return (
            f"the idle service has {megabytes(resident)}, and {SHARE:.0%} of {self.clients:,} clients could take "
            f"{megabytes(takes)} more; give "
            + (f"{least / 2**20:,.0f} to {most / 2**20:,.0f} MiB" if least < most else "it more connections")
        )

    def highest(self) -> str:
        return max((change["level"] for change in self.changes), key=LEVELS.index, default="NORMAL")

    def seconds_to_normal(self) -> float | None:
        """Seconds from the end of the chain reaction until memory was no longer short; None: it
        still is."""
        if not self.changes:
            return 0.0
        last = self.changes[-1]
        return max(0.0, last["at"] - self.over) if last["level"] == "NORMAL" else None

    def problems(self, load: dict[str, Any], service: dict[str, Any]) -> list[str]:
        found = []
        memory = service.get("memory") or {}
        if not self.over:
            found.append("the chain reaction did not come to its end")
        if memory.get("peak", 0) >= self.limit:
            found.append(f"memory: {memory['peak']:,} bytes at most, of {self.limit:,}")
        if LEVELS.index(self.highest()) < LEVELS.index("KILL") or not memory.get("killed"):
            found.append(f"the chain reaction did no more than {self.highest()}")
        if self.seconds_to_normal() is None:
            found.append(f"memory is still {self.changes[-1]['level']} after the chain reaction")
        behaving = self.clients - self.greedy
        if load.get("lost", 0) > (1 - KEPT) * behaving:
            found.append(f"well-behaved connections lost: {load['lost']:,} of {behaving:,}")
        if load.get("still_greedy"):
            found.append(f"greedy clients that did not get back in: {load['still_greedy']:,}")
        return found

    def rows(self, load: dict[str, Any], service: dict[str, Any]) -> list[tuple[str, str, str]]:
        memory = service.get("memory") or {}
        seconds = self.seconds_to_normal()
        behaving = self.clients - self.greedy
        kept = behaving - load.get("lost", 0)
        return [
            ("memory limit", megabytes(self.limit), f"{megabytes(memory.get('peak', 0))} at most"),
            ("greedy clients", f"{self.greedy:,}", f"took {megabytes(load.get('hoarded', 0))} in all"),
            ("  levels reached", self.highest(), f"{len(self.changes):,} changes"),
            (
                "  connections ended",
                f"{memory.get('killed', 0):,}",
                f"for memory; clients saw {load.get('ended_for_memory', 0):,}, {load.get('readmitted', 0):,} came back",
            ),
            ("  refused politely", f"{load.get('refused', 0):,}", "tried again later"),
            (
                "  NORMAL again",
                "no" if seconds is None else f"{seconds:.1f} s",
                "after the end of the chain reaction",
            ),
            ("  the last one back in", f"{max(0.0, self.calm - self.over):.1f} s", "after it"),
            ("  well-behaved kept", f"{kept:,}", f"of {behaving:,}, {kept / max(1, behaving):.1%}"),
        ]
