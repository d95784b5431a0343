"""The type checkers refuse the lines that are marked, and no others."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
CASES = sorted(path for path in HERE.glob("*.py") if path.name not in ("__init__.py", "test_typing.py"))

MARK = re.compile(r"# error(: (?P<only>mypy|pyright))?$")

Place = tuple[str, int]
"""File and line."""


def expected(checker: str) -> set[Place]:
    """The lines that the checker must refuse."""
    places = set()
    for path in CASES:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            mark = MARK.search(line)
            if mark is not None and mark["only"] in (None, checker):
                places.add((path.name, number))
    return places


def compare(checker: str, found: dict[Place, list[str]]) -> None:
    wanted = expected(checker)
    wrong = [f"{name}:{line} is wrong and was accepted" for name, line in sorted(wanted - set(found))]
    for name, line in sorted(set(found) - wanted):
        wrong.append(f"{name}:{line} is right and was refused: {'; '.join(found[name, line])}")
    if wrong:
        pytest.fail(f"{checker}:\n" + "\n".join(wrong), pytrace=False)


def run(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=170, check=False)
    return done.stdout or done.stderr


def test_mypy() -> None:
    """mypy runs as a user runs it: strict."""
    if find_spec("mypy") is None:
        pytest.skip("mypy is not installed: pip install -e '.[check]'")
    output = run(
        sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--hide-error-context", *map(str, CASES)
    )
    found: dict[Place, list[str]] = {}
    for line in output.splitlines():
        told = re.fullmatch(r"(?P<file>.+?):(?P<line>\d+): error: (?P<what>.*)", line)
        if told is not None:
            assert Path(told["file"]).parent.name == HERE.name, line
            found.setdefault((Path(told["file"]).name, int(told["line"])), []).append(told["what"])
    assert found, output[-2_000:]
    compare("mypy", found)


def test_pyright() -> None:
    """pyright runs with its default settings."""
    if shutil.which("pyright", path=str(Path(sys.executable).parent)) is None:
        pytest.skip("pyright is not installed: pip install -e '.[check]'")
    options = ("--outputjson", "--pythonpath", sys.executable)
    output = run(sys.executable, "-m", "pyright", *options, *map(str, CASES))
    if not output.startswith("{"):
        pytest.skip(f"pyright cannot run here, it fetches Node.js at its first run: {output[-300:]}")
    found: dict[Place, list[str]] = {}
    for told in json.loads(output)["generalDiagnostics"]:
        if told["severity"] == "error":
            place = (Path(told["file"]).name, told["range"]["start"]["line"] + 1)
            found.setdefault(place, []).append(told["message"])
    compare("pyright", found)


def test_marks_are_read() -> None:
    """Each file has lines of both kinds, and a mark is a mark only at the end of its line."""
    for checker in ("mypy", "pyright"):
        assert {name for name, _ in expected(checker)} == {path.name for path in CASES} - {"actors.py"}
    assert MARK.search("x = 1  # error: mypy")
    assert not MARK.search("x = 1  # error in it")
