"""The parts about faults, soak and hostile peers: some 25 minutes."""

from __future__ import annotations

PARTS: dict[str, list[str]] = {
    "allocation sweep": ["-m", "tests.faults.sweep"],
    "sweep of ends": ["-m", "tests.faults.ends_sweep"],
    "sweep of ends, degraded": ["-m", "tests.faults.ends_sweep", "--degraded", "--every", "5"],
    "soak": ["-m", "tests.prove.soaks", "10", "1", "2", "3"],
    "hostile peers": ["-m", "tests.net.hostile", "120"],
    "connect rate": ["-m", "bench.connect_rate"],
}
"""Arguments for Python, by name."""
