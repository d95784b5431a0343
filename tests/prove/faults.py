"""The parts about faults, soak and hostile peers: some 25 minutes."""

from __future__ import annotations

PARTS: dict[str, list[str]] = {
    "allocation sweep": ["-m", "tests.faults.sweep"],
    **{f"soak, seed {seed}": ["-m", "bench", "soak", "--minutes", "4", "--seed", str(seed)] for seed in (1, 2, 3)},
    "hostile peers": ["-m", "tests.net.hostile", "120"],
    "connect rate": ["-m", "bench.connect_rate"],
}
"""Arguments for Python, by name."""
