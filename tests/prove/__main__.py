"""``python -m tests.prove [part …]`` runs all parts, or the parts named."""

from __future__ import annotations

import re
import subprocess
import sys
import time

import attrs

from tests.prove import faults

MODELS = [
    "tests/policy/test_supervision_reference.py",
    "tests/policy/test_supervision_stateful.py",
    "tests/policy/test_dynamic_supervision_stateful.py",
    "tests/policy/test_gate_and_governor.py",
    "tests/supervision/test_reference.py",
    "tests/supervision/test_storms.py",
    "tests/messaging/test_link_graphs.py",
    "tests/messaging/test_mailbox_fates.py",
    "tests/messaging/test_name_model.py",
    "tests/messaging/test_timer_model.py",
    "tests/behaviours/test_registry_model.py",
    "tests/models/test_traces.py",
]
LONG = ["--hypothesis-profile=prove", "-o", "timeout=1800", "-o", "faulthandler_timeout=0", "-rP"]

PARTS: dict[str, list[str]] = {
    "models": ["-m", "pytest", "-q", *LONG, *MODELS],
    "schedules": ["-m", "pytest", "-q", *LONG, "tests/models/test_races.py"],
    "heaps with cycles": ["-m", "tests.heap.own_truth", "0", "5000"],
    **faults.PARTS,
    "coverage of policy": [
        "-m", "pytest", "-q", "tests/policy",
        "--cov=actorkit.policy", "--cov-branch", "--cov-report=term-missing:skip-covered", "--cov-fail-under=100",
    ],
}  # fmt: skip
"""The parts by name, each as arguments for Python. The last line of a part's output goes into the
summary.
"""


@attrs.frozen
class Result:
    """How a part went."""

    name: str
    passed: bool
    seconds: float
    line: str


def run(name: str) -> Result:
    """Run one part, and pass its output on."""
    print(f"=== {name}", flush=True)
    begun = time.monotonic()
    process = subprocess.Popen([sys.executable, *PARTS[name]], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = ""
    for each in process.stdout:
        print(each, end="", flush=True)
        line = each.strip() or line
    passed = process.wait() == 0
    return Result(name, passed, time.monotonic() - begun, re.sub(r"^=+ | =+$", "", line))


def main() -> int:
    """Run the parts, print the summary, and return whether all went well as the exit status."""
    results = [run(name) for name in sys.argv[1:] or PARTS]
    print("\n=== summary")
    for result in results:
        print(f"{'ok ' if result.passed else 'BAD'} {result.name:<20} {result.seconds:7.0f} s  {result.line}")
    return 0 if all(result.passed for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
