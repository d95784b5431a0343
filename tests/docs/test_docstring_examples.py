"""The examples in docstrings are Python, and every name of actorkit in them is one that there
is."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import textwrap
from collections.abc import Iterator
from typing import Any

import pytest

import actorkit as ak
import actorkit.testing


def documented() -> Iterator[tuple[str, Any]]:
    """Every class and function of the package, with its name; and the methods of classes."""
    for module in pkgutil.walk_packages(ak.__path__, "actorkit."):
        if module.name.endswith("__main__") or "._" in module.name:
            continue
        found = importlib.import_module(module.name)
        yield module.name, found
        for name, value in vars(found).items():
            if getattr(value, "__module__", None) == module.name and (inspect.isclass(value) or callable(value)):
                yield f"{module.name}.{name}", value
                for part, member in vars(value).items() if inspect.isclass(value) else ():
                    if callable(member) or isinstance(member, (staticmethod, classmethod, property)):
                        yield f"{module.name}.{name}.{part}", member


def examples_of(text: str) -> Iterator[str]:
    """The indented blocks behind lines that end in ``Example::``."""
    lines = inspect.cleandoc(text).splitlines()
    for at, line in enumerate(lines):
        if line.strip() == "Example::":
            indent = len(line) - len(line.lstrip())
            block = []
            for follower in lines[at + 1 :]:
                if follower.strip() and len(follower) - len(follower.lstrip()) <= indent:
                    break
                block.append(follower)
            yield textwrap.dedent("\n".join(block)).strip("\n")


def all_examples() -> list[Any]:
    return [
        pytest.param(source, id=name.removeprefix("actorkit."))
        for name, value in documented()
        for source in examples_of(getattr(value, "__doc__", None) or "")
    ]


EXAMPLES = all_examples()


def test_examples_are_found() -> None:
    assert len(EXAMPLES) > 30


@pytest.mark.parametrize("source", EXAMPLES)
def test_an_example_is_python_and_its_names_are_there(source: str) -> None:
    """Fault: a block that was wrapped like prose, or that uses a name that has gone."""
    body = textwrap.indent(source.replace("…", "..."), "    ")
    tree = ast.parse(f"async def example():\n{body}\n")
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="ak"), attr=name):
                assert hasattr(ak, name), f"ak.{name}"
            case ast.Attribute(value=ast.Attribute(value=ast.Name(id="ak"), attr=owner), attr=name):
                assert hasattr(getattr(ak, owner), name), f"ak.{owner}.{name}"
            case ast.ImportFrom(module=str(module), names=names) if module.startswith("actorkit"):
                found = importlib.import_module(module)
                for alias in names:
                    assert hasattr(found, alias.name), f"{module}: {alias.name}"
