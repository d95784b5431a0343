"""Several soaks side by side, each with a seed of its own: ``python -m tests.prove.soaks MINUTES
SEED…``. The last line sums up.
"""

from __future__ import annotations

import subprocess
import sys


def main(argv: list[str]) -> int:
    minutes, *seeds = argv
    running = {
        seed: subprocess.Popen(
            [sys.executable, "-m", "bench", "soak", "--minutes", minutes, "--seed", seed],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for seed in seeds
    }
    bad = []
    for seed, process in running.items():
        print(process.communicate()[0], flush=True)
        if process.returncode != 0:
            bad.append(seed)
    print(f"soaks: {len(seeds)} seeds, {minutes} minutes each, {'bad: ' + ', '.join(bad) if bad else 'all clean'}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
