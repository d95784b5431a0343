"""The parts about faults, signals, soak, hostile peers and tools: some 40 minutes."""

from __future__ import annotations

PARTS: dict[str, list[str]] = {
    "allocation sweep": ["-m", "tests.faults.sweep"],
    "signals": ["-m", "tests.signals"],
    "signals everywhere": ["-m", "tests.signals.sweep"],
    "sweep of ends": ["-m", "tests.faults.ends_sweep"],
    "sweep of ends, degraded": ["-m", "tests.faults.ends_sweep", "--degraded", "--every", "5"],
    "soak": ["-m", "tests.prove.soaks", "10", "1", "2", "3"],
    "promises": ["-m", "tests.promises"],
    "hostile peers": ["-m", "tests.net.hostile", "120"],
    "tools": ["-m", "tests.prove.tools"],
    "connect rate": ["-m", "bench.connect_rate"],
}
"""Arguments for Python, by the name of the part."""
