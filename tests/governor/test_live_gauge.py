"""How many bytes are live, where pymalloc does not report it and it must be estimated."""

from __future__ import annotations

import subprocess
import sys

import pytest

from actorkit.pressure.live_bytes import malloc_bytes

AFTER_A_TRIM = """
import ctypes
from actorkit.pressure.live_bytes import LiveGauge, small_blocks
from actorkit.pressure.process_memory import ProcessMemory

tells = True
process = ProcessMemory()
exact, estimate = LiveGauge(), LiveGauge(small=lambda: small_blocks() if tells else None)
estimate.read(process.read(), fresh=True)
tells = False
objects = [(number, str(number)) for number in range(100_000)]
estimate.read(process.read(), fresh=True)
hoard = [b"x" * 32_768 for _ in range(1_000)]
top = b"y" * 32_768
hoard.clear()
ctypes.CDLL(None).malloc_trim(0)
pages = process.read()
print(exact.read(pages, fresh=True), estimate.read(pages, fresh=True))
"""


@pytest.mark.skipif(malloc_bytes() is None or not sys.platform.startswith("linux"), reason="malloc tells nothing here")
def test_what_was_given_back_to_the_system_is_not_retained_any_more() -> None:
    """malloc still counts trimmed memory as kept. If it were taken for resident, it would hide as
    many bytes of live objects.
    """
    done = subprocess.run([sys.executable, "-c", AFTER_A_TRIM], capture_output=True, text=True, check=True)
    exact, estimated = map(int, done.stdout.split())
    assert abs(exact - estimated) < 6_000_000
