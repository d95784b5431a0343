"""The parts of pages that are made from the code.

They stand between ``<!-- made: name -->`` and ``<!-- end -->``.
``python -m tests.architecture pages --write`` makes them again; a test fails while they are out of
date.
"""

from __future__ import annotations

import ast
import enum
import importlib
import inspect
import itertools
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from actorkit.heap.capabilities import Capabilities
from actorkit.heap.capability_terms import TABLE
from actorkit.policy.transition import State, Transition
from tests.architecture.layers import LAYERS, place_of
from tests.architecture.package import PACKAGE, ROOT, modules, tree_of
from tests.promises import doors as _doors
from tests.promises import promises as _promises
from tests.promises import shapes as _shapes

PAGE = ROOT / "docs" / "architecture.md"
DEPLOYMENT = ROOT / "docs" / "deployment.md"
SEMANTICS = ROOT / "docs" / "semantics.md"
PART = re.compile(r"(<!-- made: (?P<name>[\w -]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def summary(path: Path) -> str:
    """The first sentence of a module's docstring, without the module's own name: ``Ref: …`` in
    ref.py."""
    text = ast.get_docstring(tree_of(path)) or ""
    paragraph = " ".join(text.split("\n\n")[0].split()).replace("``", "`")
    return _first_sentence(paragraph, path.stem)


def _first_sentence(paragraph: str, name: str = "") -> str:
    sentence = re.split(r"(?<=[.?])\s", paragraph)[0]
    lead, colon, rest = sentence.partition(": ")
    if colon and lead.casefold().replace(" ", "_") == name.lstrip("_"):
        sentence = rest  # the name stands before it in the list
    return sentence[:1].upper() + sentence[1:]


def c_summary(path: Path) -> str:
    """The same for a file in C, from the comment at its top."""
    comment = re.search(r"/\*(.*?)\*/", path.read_text(encoding="utf-8"), re.DOTALL)
    text = "" if comment is None else " ".join(re.sub(r"^\s*\*", "", comment[1], flags=re.MULTILINE).split())
    return _first_sentence(text, path.stem)


def layers() -> str:
    """The table of layers as a drawing, the highest at the top."""
    lines = ["```mermaid", "flowchart TD"]
    rows = [[name.replace(".", "/") for name in row if _is_room(name)] for row in reversed(LAYERS)]
    for number, row in enumerate(rows):
        lines.append(f'    L{number}["{" · ".join(row)}"]')
    lines.extend(f"    L{number} --> L{number + 1}" for number in range(len(rows) - 1))
    return "\n".join([*lines, "```"])


def _is_room(name: str) -> bool:
    """Whether it is a file, or a folder with files of its own."""
    path = PACKAGE.joinpath(*name.split("."))
    return not path.is_dir() or sum(1 for file in path.glob("*.py")) > 1 or any(path.glob("*.c"))


def _item(line: str) -> list[str]:
    return textwrap.wrap(line, 100, subsequent_indent="  ", break_long_words=False)


def rooms() -> str:
    """Each folder with its files and what they say of themselves, in the order of the layers."""
    order = [name for row in LAYERS for name in row]
    places: dict[str, list[str]] = {name: [] for name in order}
    for module in modules():
        place = place_of(module)
        assert place is not None, module
        places[place].append(module)
    parts: list[str] = []
    for name, inside in places.items():
        folder = PACKAGE.joinpath(*name.split("."))
        files = [module for module in inside if module != name or not folder.is_dir()]
        if not files and not _is_room(name):
            continue
        if folder.is_dir():
            about = f"**`{name.replace('.', '/')}/`** {summary(modules()[name])}"
            parts.extend(["", *textwrap.wrap(about, 100, break_long_words=False), ""])
        for module in files:
            file = module.rpartition(".")[2] + ".py"
            where = file if folder.is_dir() else module.replace(".", "/") + ".py"
            line = f"- `{where}` {summary(modules()[module])}"
            parts.extend(_item(line))
        for path in sorted(folder.glob("*.[ch]")):
            parts.extend(_item(f"- `{path.name}` {c_summary(path)}"))
    return "\n".join(parts).strip()


def tables() -> Iterator[tuple[str, str, tuple[Transition, ...]]]:
    """(module, name, table) of each table of transitions."""
    for module in modules():
        if module.split(".")[0] == "policy" or module == "runtime.actor.states":
            for name, value in vars(importlib.import_module(f"actorkit.{module}")).items():
                if isinstance(value, tuple) and value and all(isinstance(each, Transition) for each in value):
                    yield module, name, value


def caption(module: str, name: str) -> str:
    """What is written below the table in its file: its docstring's first sentence."""
    body = tree_of(modules()[module]).body
    for statement, after in itertools.pairwise(body):
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        named = any(isinstance(target, ast.Name) and target.id == name for target in targets)
        if named and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            return _first_sentence(" ".join(str(after.value.value).split()).replace("``", "`"))
    return ""


def _text(state: State) -> str:
    """What a state, or a reason, is called: a text, a member's text, or a member's name."""
    value = state.value if isinstance(state, enum.Enum) else state
    return value if isinstance(value, str) else getattr(state, "name", str(state))


def _drawing(table: tuple[Transition, ...]) -> list[str]:
    """A state diagram: what has no arrow that leads to it is where it begins, else its first
    state."""
    names = {state: f"S{number}" for number, state in enumerate(dict.fromkeys(_states(table)))}
    lines = ["```mermaid", "stateDiagram-v2"]
    lines.extend(f'    state "{_text(state)}" as {name}' for state, name in names.items())
    begins = [state for state in names if state not in {each.target for each in table}] or [table[0].source]
    lines.extend(f"    [*] --> {names[state]}" for state in begins)
    for each in table:
        why = _text(each.when).replace("`", "").replace(":", ",").replace(";", ",")
        lines.append(f"    {names[each.source]} --> {names[each.target]}: {why}")
    return [*lines, "```"]


def _matrix(table: tuple[Transition, ...]) -> list[str]:
    """For a machine with many arrows: from each row's state to each column's, by the reasons
    below."""
    states = list(dict.fromkeys(_states(table)))
    reasons = list(dict.fromkeys(_text(each.when) for each in table))
    lines = ["| from, to | " + " | ".join(_text(state) for state in states) + " |", "|---" * (len(states) + 1) + "|"]
    for source in states:
        cells = []
        for target in states:
            found = {_text(each.when) for each in table if (each.source, each.target) == (source, target)}
            cells.append(", ".join(str(number) for number, reason in enumerate(reasons, 1) if reason in found))
        lines.append(f"| {_text(source)} | " + " | ".join(cells) + " |")
    lines.append("")
    for number, reason in enumerate(reasons, 1):
        lines.extend(textwrap.wrap(f"{number}. {reason}", 100, subsequent_indent="   ", break_long_words=False))
    return lines


def _states(table: tuple[Transition, ...]) -> Iterator[State]:
    for each in table:
        yield each.source
        yield each.target


def machines() -> str:
    """The state machines, drawn from their tables."""
    parts: list[str] = []
    for module, name, table in tables():
        about = f"**`{module.replace('.', '/')}.py`, `{name}`.** {caption(module, name)}"
        parts.extend(textwrap.wrap(about, 100, break_long_words=False))
        parts.extend(["", *(_matrix(table) if len(table) > DRAWABLE else _drawing(table)), ""])
    return "\n".join(parts).strip()


def capabilities() -> str:
    """What of the memory budgets may be missing: what each capability is, what it needs, and how it
    is without."""
    arguments = (inspect.getdoc(Capabilities) or "").partition("Args:\n")[2]
    promises = dict(re.findall(r"^ {4}(\w+): ((?:.|\n {8})+)", arguments, re.MULTILINE))
    lines = ["| capability | what it is | what it needs | without it |", "|---" * 4 + "|"]
    for name, terms in TABLE.items():
        promise = " ".join(promises[name].split()).rstrip(".").replace("``", "`")
        needs = "; ".join(need.value for need in terms.needs)
        lines.append(f"| `{name}` | {promise} | {needs} | {terms.without} |")
    return "\n".join(lines)


DRAWABLE = 14
"""More arrows than that are a table."""


def promises() -> str:
    """What the suite of promises tries, one sentence each."""
    return "\n".join(line for each in _promises.PROMISES for line in _item(f"- {each.says}"))


def _listing(what: str, members: Iterable[enum.Enum]) -> list[str]:
    return _item(f"- *{what}*: {'; '.join(member.value for member in members)}.")


def doors() -> str:
    """Where an actor's code runs, and when it is stopped there."""
    lines: list[str] = []
    for when in dict.fromkeys(door.stops for door in _doors.Door):
        lines.extend(_listing(f"Stopped {when}", [door for door in _doors.Door if door.stops == when]))
    return "\n".join(lines)


def shapes() -> str:
    """How what is counted may be built, and made."""
    lines = _listing("Freed when it is dropped", [shape for shape in _shapes.Shape if not shape.cyclic])
    lines.extend(_listing("In cycles", [shape for shape in _shapes.Shape if shape.cyclic]))
    lines.extend(_listing("Made in", _shapes.Way))
    return "\n".join(lines)


PARTS: dict[Path, dict[str, Callable[[], str]]] = {
    PAGE: {"layers": layers, "rooms": rooms, "machines": machines},
    SEMANTICS: {"promises": promises, "doors": doors, "shapes": shapes},
    DEPLOYMENT: {"capabilities": capabilities},
}
"""For each page what makes each part, by the name in its marker."""


def made(page: Path) -> str:
    """The page with all its parts made again."""
    parts = PARTS[page]
    return PART.sub(lambda part: f"{part[1]}\n{parts[part['name']]()}\n\n{part[3]}", page.read_text(encoding="utf-8"))


def write() -> None:
    """Make the parts of the pages again."""
    for page in PARTS:
        page.write_text(made(page), encoding="utf-8")
