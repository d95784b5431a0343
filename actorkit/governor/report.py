"""The last report: what is written down before a node stops itself for lack of memory."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ..log import log
from ..policy.memory import governor_events as ev
from ..reasons import bounded
from ..runtime.actor.memory_data import MemoryData, Receipt

__all__ = ["last_report", "write"]

RECEIPTS_SHOWN = 50


def write(text: str, path: str | None) -> None:
    """To the log, and to the file if there is one. Never raises: the stop does not depend on it."""
    log.critical("%s", text)
    if path is None:
        return
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
    except (OSError, MemoryError) as error:
        log.error("the report could not be written to %s: %s", path, error)


def last_report(action: ev.StopNode, data: MemoryData, receipts: Sequence[Receipt], left: int, killed: int) -> str:
    """The report's text.

    Args:
        action: why the node stops.
        data: how memory stood at the last look.
        receipts: what the governor did, the newest last.
        left: actors that are alive.
        killed: actors that the governor has killed.
    """
    lines = [
        f"out of memory: the node stops itself with exit status {action.exit_status}: {action.because}",
        f"limit {data.total:,} B ({data.source}), used {data.allocated:,} B, resident {data.resident:,} B, "
        f"live {'unknown' if data.live is None else f'{data.live:,} B'}",
        f"{left} actors left, {killed} were killed",
    ]
    for receipt in receipts[-RECEIPTS_SHOWN:]:
        realised = "?" if receipt.realised is None else f"{receipt.realised:,}"
        failure = f"failed: {receipt.failure}: " if receipt.failure else ""
        lines.append(
            f"  {receipt.at:.3f} {receipt.action}: predicted {receipt.predicted}, realised {realised} B, "
            f"{receipt.duration * 1000:.1f} ms: {failure}{bounded(receipt.because, 200)}"
        )
    return "\n".join(lines)
