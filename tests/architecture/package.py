"""The package's source, read and never run: its files, its classes, and who imports whom.

Imports under ``TYPE_CHECKING`` and inside functions count like any other: whoever reads a module
has to know what it names, whenever that is imported. A module is called by its path below
``actorkit``: ``runtime.node``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PACKAGE = ROOT / "actorkit"


@cache
def modules() -> dict[str, Path]:
    """All modules of the package but its face, ``actorkit/__init__.py``."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        if parts:
            found[".".join(parts)] = path
    return found


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, absolute name) of everything that the file imports: modules, and names in modules."""
    package = ("actorkit", *path.relative_to(PACKAGE).parent.parts)
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package[: len(package) - node.level + 1]
                base = ".".join((*parts, base) if base else parts)
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"


def module_named(absolute: str) -> str | None:
    """The module of ours that an absolute name is or is in; None for what is not ours, and for the
    face.
    """
    top, _, name = absolute.partition(".")
    if top != "actorkit":
        return None
    while name and name not in modules():
        name = name.rpartition(".")[0]
    return name or None


@cache
def arrows() -> Mapping[str, frozenset[str]]:
    """For each module those that it imports."""
    return {
        name: frozenset(
            other for _, absolute in imports(path) if (other := module_named(absolute)) is not None and other != name
        )
        for name, path in modules().items()
    }


def circles(graph: Mapping[str, Iterable[str]]) -> list[frozenset[str]]:
    """The sets of nodes that can all reach each other, the largest first (Tarjan's algorithm,
    without recursion).
    """
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    path: list[str] = []
    on_path: set[str] = set()
    found: list[frozenset[str]] = []
    for start in graph:
        if start in number:
            continue
        work = [(start, iter(sorted(graph[start])))]
        number[start] = low[start] = len(number)
        path.append(start)
        on_path.add(start)
        while work:
            node, rest = work[-1]
            for other in rest:
                if other not in number:
                    number[other] = low[other] = len(number)
                    path.append(other)
                    on_path.add(other)
                    work.append((other, iter(sorted(graph[other]))))
                    break
                if other in on_path:
                    low[node] = min(low[node], number[other])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == number[node]:
                    circle = set()
                    while True:
                        member = path.pop()
                        on_path.discard(member)
                        circle.add(member)
                        if member == node:
                            break
                    if len(circle) > 1:
                        found.append(frozenset(circle))
    return sorted(found, key=lambda circle: (-len(circle), sorted(circle)))


def classes() -> Iterator[tuple[str, str, int]]:
    """(name, module, line) of each class, wherever it is written."""
    for module, path in modules().items():
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ClassDef):
                yield node.name, module, node.lineno


def sources() -> list[Path]:
    """All files in Python and C, but the ``__init__.py``, whose name is not chosen."""
    files = [path for suffix in ("py", "c", "h") for path in PACKAGE.rglob(f"*.{suffix}")]
    return sorted(path for path in files if path.name != "__init__.py")
