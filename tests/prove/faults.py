"""The parts about faults, signals, soak, hostile peers, tools and other people's extensions: an
hour."""

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
    "ordinary programs": ["-m", "tests.prove.ordinary"],
    "imports": ["-m", "tests.prove.imports"],
    "other extensions": ["-m", "tests.prove.extensions", "--minutes", "20"],
    "connect rate": ["-m", "bench.connect_rate"],
}
"""Arguments for Python, by the name of the part."""
