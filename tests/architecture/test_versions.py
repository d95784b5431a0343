"""The versions of Python that are supported: one list, and whoever says the same."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from actorkit.heap.interpreter import versions
from actorkit.heap.interpreter.versions import BEYOND, SUPPORTED, why_unknown

ROOT = Path(__file__).parent.parent.parent
TEXTS = [f"{major}.{minor}" for major, minor in SUPPORTED]


@pytest.mark.parametrize("version", SUPPORTED)
def test_supported(version: tuple[int, int]) -> None:
    assert why_unknown("cpython", version, False) is None
    assert "GIL" in (why_unknown("cpython", version, True) or "")
    assert "pypy" in (why_unknown("pypy", version, False) or "")


@pytest.mark.parametrize("version", [(3, 10), BEYOND, (3, 15), (4, 0)])
def test_not_supported(version: tuple[int, int]) -> None:
    for free_threaded in (False, True):
        why = why_unknown("cpython", version, free_threaded) or ""
        assert f"{version[0]}.{version[1]}" in why
        assert f"{TEXTS[0]} to {TEXTS[-1]}" in why


def test_the_list_has_no_gaps() -> None:
    first = SUPPORTED[0]
    assert [*SUPPORTED, BEYOND] == [(first[0], first[1] + number) for number in range(len(SUPPORTED) + 1)]


def test_the_project_says_the_same() -> None:
    """pip refuses what is not on the list, and PyPI shows what is."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == f">={TEXTS[0]},<{BEYOND[0]}.{BEYOND[1]}"
    prefix = "Programming Language :: Python :: "
    told = [each.removeprefix(prefix) for each in project["classifiers"] if each.startswith(prefix + "3")]
    assert told == TEXTS


def test_ci_runs_them_all() -> None:
    ci: dict[str, Any] = runpy.run_path(str(ROOT / ".ci" / "combinations.py"), run_name="combinations")
    combinations = {(ci["MAIN"], "extension"), *ci["COMBINATIONS"]}
    assert combinations == {(text, mode) for text in TEXTS for mode in ("extension", "pure")}


def test_the_headers_say_the_same() -> None:
    text = (Path(versions.__file__).with_name("_python.h")).read_text()
    bounds = re.search(r"PY_VERSION_HEX < 0x03(\w\w)0000 \|\| PY_VERSION_HEX >= 0x03(\w\w)0000", text)
    assert bounds is not None
    assert (int(bounds[1], 16), int(bounds[2], 16)) == (SUPPORTED[0][1], BEYOND[1])


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/deployment.md"])
def test_the_pages_say_the_same(page: str) -> None:
    words = f"{', '.join(TEXTS[:-1])} (?:or|and) {TEXTS[-1]}"
    assert re.search(words, " ".join((ROOT / page).read_text().split())) is not None


def test_an_import_warns_and_the_doctor_says_no() -> None:
    """On a version that is not on the list. None is at hand, so a process pretends to be one: what
    is asked is the answer of the list, not whether the rest runs there.
    """
    program = """
import attrs, json, sys, trio, warnings
sys.version_info = (3, 14, 0, "final", 0)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import actorkit as ak
assert [each.category for each in caught] == [RuntimeWarning], caught
assert "3.14" in str(caught[0].message) and caught[0].filename == "<string>", caught[0]
from actorkit.__main__ import UNSUPPORTED, doctor
from actorkit.heap import clock, walk
assert walk.IMPLEMENTATION == "python" and not clock.COUNTS_ALLOCATIONS
assert not any(attrs.astuple(ak.heap.capabilities.capabilities()))
assert doctor(as_json=True) == UNSUPPORTED

class Counter(ak.Actor):
    count = 0

    @ak.call
    def add(self, number):
        self.count += number
        return self.count

async def main():
    async with ak.open_node() as node:
        assert not any(attrs.astuple(node.capabilities))
        assert await node.spawn(Counter).call(Counter.add, 2) == 2

trio.run(main)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('"verdict": "no"') == done.stdout.count('"name"') > 5
    assert done.stdout.count("3.14") >= 5
