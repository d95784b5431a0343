"""What is written down before a node stops itself for want of memory: so that somebody can find out why."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..log import log
from ..policy.memory import governor_events as ev
from ..reasons import bounded

if TYPE_CHECKING:
    from .node_governor import Governor

__all__ = ["write"]


def write(governor: Governor, action: ev.StopNode) -> None:
    """To the log, and to ``report_path`` if there is one. Never raises: the stop does not depend on it."""
    text = _text(governor, action)
    log.critical("%s", text)
    path = governor.report_path
    if path is None:
        return
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
    except (OSError, MemoryError) as error:
        log.error("the report could not be written to %s: %s", path, error)


def _text(governor: Governor, action: ev.StopNode) -> str:
    data = governor.data()
    lines = [
        f"out of memory: the node stops itself with exit status {action.exit_status}: {action.because}",
        f"limit {data.total:,} B ({data.source}), used {data.allocated:,} B, resident {data.resident:,} B, "
        f"live {'unknown' if data.live is None else f'{data.live:,} B'}",
        f"{sum(len(node.engine.actors) for node in governor.nodes)} actors left, {governor.kills.killed} were killed",
    ]
    for receipt in governor.receipts()[-50:]:
        realised = "?" if receipt.realised is None else f"{receipt.realised:,}"
        lines.append(
            f"  {receipt.at:.3f} {receipt.action}: predicted {receipt.predicted}, realised {realised} B, "
            f"{receipt.duration * 1000:.1f} ms: {bounded(receipt.because, 200)}"
        )
    return "\n".join(lines)
