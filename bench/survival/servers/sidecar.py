"""The neighbour of S3: `sidecar BYTES SECONDS` takes that many bytes within that time, a MiB at a
time, and keeps them until its stdin ends.
"""

from __future__ import annotations

import sys
import time

MIB = 1024 * 1024


def main() -> None:
    size, seconds = int(sys.argv[1]), float(sys.argv[2])
    pieces = max(1, size // MIB)
    taken = []
    began = time.monotonic()
    for number in range(pieces):
        taken.append(b"x" * MIB)
        time.sleep(max(0.0, began + seconds * (number + 1) / pieces - time.monotonic()))
    sys.stdin.read()


if __name__ == "__main__":
    main()
