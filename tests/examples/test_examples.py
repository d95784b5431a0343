"""Each example runs as its reader would run it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def run(*arguments: str, seconds: float = 110) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False
    )
    assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-3_000:]
    return done.stdout


def test_key_value_service() -> None:
    """A service written as actors answers over real sockets."""
    assert run("examples.key_value", "--self-test").strip().endswith("ok")


def test_embedded_tree() -> None:
    """A supervision tree inside somebody else's trio program does its work while workers crash."""
    assert "rendered 19 of 20" in run("examples.embedded")


def test_ten_thousand_with_few() -> None:
    """The example of ten thousand connections, with 200: every client gets every reply, whether
    workers crash or not.
    """
    out = run("examples.ten_thousand", "--connections", "200", "--rounds", "2")
    assert re.search(r"lost otherwise +0$", out, re.MULTILINE)


def test_a_chain_reaction_under_a_memory_limit() -> None:
    """Three hundred connections share little memory: the greedy ones are ended or refused, and the
    others notice nothing.
    """
    out = run(
        "examples.ten_thousand", "-n", "300", "--rounds", "2", "--memory", "66MiB", "--greedy-seconds", "2", seconds=170
    )  # fmt: skip
    assert re.search(r"levels reached +(KILL|EXHAUSTED) ", out)
    assert re.search(r"well-behaved kept +\d+  of \d+, 100.0%$", out, re.MULTILINE)
