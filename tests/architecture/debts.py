"""What is not yet as it should be, one line each, compared with the list in ``debts.txt``.

The list may only get shorter. A debt that is not in it fails a test, and so does one that is in it
but has been paid: ``python -m tests.architecture debts --write`` takes it off.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from tests.architecture.layers import goes_up
from tests.architecture.package import PACKAGE, arrows, circles, classes, modules, sources

LIST = Path(__file__).with_name("debts.txt")

LINES = {".py": 500, ".c": 800, ".h": 800}
"""How long a file may be: a room is read in one sitting."""

EXCUSE = re.compile(r"(#|//|/\*) ?Longer than \d+ lines because \S+ \S+")
"""The line that a longer file has near its top: ``# Longer than 500 lines because …``."""

TWINS: dict[str, tuple[str, ...]] = {
    # A decision, and the shell that performs it.
    "admission": ("policy/memory", "governor"),
    "dynamic": ("policy/supervision", "supervision"),
    "static": ("policy/supervision", "supervision"),
    # The door, and what is behind it in Python and in C.
    "walk": ("heap", "heap/python", "heap/c"),
    "clock": ("heap", "heap/python", "heap/c"),
    "blocks": ("heap/python", "heap/c"),
}
"""The names that more than one file may have, and the folders of those files. A leading underscore
does not count.
"""


def arrows_up() -> Iterator[str]:
    for module, imported in sorted(arrows().items()):
        for other in sorted(imported):
            if goes_up(module, other):
                yield f"arrow up: {module} -> {other}"


def in_circles() -> Iterator[str]:
    for circle in circles(arrows()):
        for module in sorted(circle):
            yield f"in a circle: {module}"


def long_files() -> Iterator[str]:
    for path in (*modules().values(), *sources()):
        text = path.read_text(encoding="utf-8")
        limit = LINES[path.suffix]
        head = "\n".join(text.splitlines()[:60])
        if text.count("\n") > limit and not EXCUSE.search(head):
            yield f"longer than {limit} lines: {path.relative_to(PACKAGE).as_posix()}"


def classes_twice() -> Iterator[str]:
    homes: dict[str, set[str]] = defaultdict(set)
    for name, module, line in classes():
        homes[name].add(f"{module}:{line}")
    for name, found in sorted(homes.items()):
        if len(found) > 1:
            yield f"class name twice: {name}"


def file_names_twice() -> Iterator[str]:
    folders: dict[str, list[str]] = defaultdict(list)
    for path in sources():
        folders[path.stem.lstrip("_")].append(path.relative_to(PACKAGE).parent.as_posix())
    for name, found in sorted(folders.items()):
        if len(found) > 1 and sorted(found) != sorted(TWINS.get(name, ())):
            yield f"file name twice: {name} ({', '.join(sorted(found))})"
    for name, declared in sorted(TWINS.items()):
        if sorted(folders[name]) != sorted(declared) and len(folders[name]) < 2:
            yield f"declared as twins, but there is one at most: {name}"


def debts() -> list[str]:
    """All debts of today."""
    kinds = (arrows_up, in_circles, long_files, classes_twice, file_names_twice)
    return sorted({line for kind in kinds for line in kind()})


def listed() -> list[str]:
    """The debts of the list."""
    return [line for line in LIST.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]


def write() -> None:
    """Take off the list what has been paid. Nothing joins it but by hand."""
    today = set(debts())
    kept = [line for line in listed() if line in today]
    head = "# What is not yet as it should be: see debts.py. The list gets shorter, never longer.\n"
    LIST.write_text(head + "".join(f"{line}\n" for line in kept), encoding="utf-8")
