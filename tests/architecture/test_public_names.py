"""What users were told of is still there, and takes what it took."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from pathlib import Path

import pytest

from actorkit.old_names import OLD_MODULES
from tests.architecture import public_names
from tests.architecture.public_names import (
    NAMES_TOLD,
    _key,
    broken,
    lines,
    listed,
    refuses,
    signature_of,
    undecided,
    wider,
)


def test_what_users_were_told_of_stays() -> None:
    """Each line of the list is still true; a renamed name has a deprecated one in its place."""
    assert [why for line in listed() if (why := broken(line)) is not None] == []


def test_new_names_are_in_the_list() -> None:
    """What the package has is written down: python -m tests.architecture names --write."""
    known = {_key(line) for line in listed()}
    assert [line for line in lines() if _key(line) not in known] == []


def test_new_parameters_are_in_the_list() -> None:
    """A signature that takes more than what is written down: the same command writes that too."""
    assert wider() == {}


def test_every_operation_is_promised_or_for_inside() -> None:
    """Of nodes, contexts and refs: API in public_names.py is what users are told of."""
    assert undecided() == []


def test_an_operation_that_is_neither_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(public_names.API, "Context", public_names.API["Context"].replace("spawn_link", ""))
    monkeypatch.setitem(public_names.INSIDE, "actorkit.runtime.node.Node", "quotas restart_gate")
    assert undecided() == ["Node.root", "Context.spawn_link"]


def test_the_command_adds_names_and_parameters(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It says what it has changed. A promise that is broken stays as it is."""
    whole = public_names.LIST.read_text(encoding="utf-8")
    kept = "def actorkit.named(cls, name, colour)"
    (kept_now,) = [line for line in listed() if line.startswith("def actorkit.named(")]
    (probe,) = [line for line in listed() if line.startswith("class actorkit.testing.Probe(")]
    narrow = "class actorkit.testing.Probe(node)"
    monkeypatch.setattr(public_names, "LIST", tmp_path / "names.txt")
    gone = "module actorkit.sys\n"
    text = whole.replace(gone, "").replace(f"{probe}\n", f"{narrow}\n").replace(f"{kept_now}\n", f"{kept}\n")
    public_names.LIST.write_text(text, encoding="utf-8")
    assert public_names.write() == ["+ module actorkit.sys", f"- {narrow}", f"+ {probe}"]
    assert public_names.LIST.read_text(encoding="utf-8") == whole.replace(f"{kept_now}\n", f"{kept}\n")
    assert public_names.write() == []


def test_the_list_has_the_modules() -> None:
    assert {f"module {path}" for path in NAMES_TOLD} <= set(listed())


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ("(a, b=1)", "(a, b=1, c=2, *, d=3)", None),
        ("(a, /)", "(b, /, c=1)", None),
        ("(a)", "(*args, **kwargs)", None),
        ("(*, a, b=...)", "(b=2, *, a)", None),
        ("(a, b)", "(b, a)", "b stands where a did"),
        ("(a)", "(b)", "b stands where a did"),
        ("(a)", "(*, a)", "a cannot be given by position"),
        ("(a)", "(a, /)", "a cannot be given by name"),
        ("(*, a=1)", "()", "a cannot be given by name"),
        ("(a=1)", "(a)", "a has no default"),
        ("(a=1)", "(a=2)", "the default of a is 2, not 1"),
        ("()", "(a)", "a must be given"),
        ("(*args)", "(a=1)", "takes no *args"),
        ("(**options)", "(a=1)", "takes no **options"),
    ],
)
def test_signatures_are_compared(before: str, after: str, why: str | None) -> None:
    """By every call that fits the old one."""
    assert refuses(before, after) == why


def test_signatures_are_written_as_python_does() -> None:
    def function(a: int, /, b: str = "x", *, c: object = object(), **d: int) -> None: ...

    def starred(*args: int, c: float = 1.5) -> None: ...

    assert signature_of(function, bound=False) == "(a, /, b='x', *, c=..., **d)"
    assert signature_of(function, bound=True) == "(b='x', *, c=..., **d)"
    assert signature_of(starred, bound=False) == "(*args, c=1.5)"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("module actorkit.nowhere", "actorkit.nowhere is gone"),
        ("attribute actorkit.Nobody.name", "actorkit.Nobody is gone"),
        ("attribute actorkit.Pid.colour", "actorkit.Pid.colour is gone"),
        ("base actorkit.BadArguments: TypeError", None),
        ("base actorkit.BadKey: OSError", "actorkit.BadKey is no OSError any more"),
        ("def actorkit.to_thread(function, /, *args, **kwargs)", "actorkit.to_thread: async now"),
        ("async def actorkit.named(cls, name)", "actorkit.named: not async now"),
        ("def actorkit.named(cls, name, colour)", "actorkit.named: colour cannot be given by position"),
    ],
)
def test_what_is_broken_is_told(line: str, why: str | None) -> None:
    assert broken(line) == why


@pytest.mark.parametrize(("path", "now"), OLD_MODULES.items())
def test_an_old_path_warns(path: str, now: str) -> None:
    """It can be imported in each way; what is taken from it is the same object, with a warning that
    says from where.
    """
    old, new = importlib.import_module(path), importlib.import_module(now)
    package, _, name = path.rpartition(".")
    assert getattr(importlib.import_module(package), name) is old
    taken = next(name for name in vars(new) if not name.startswith("_"))
    with pytest.warns(DeprecationWarning, match=rf"^{path} is {now} now") as caught:
        assert getattr(old, taken) is getattr(new, taken)
    assert caught[0].filename == __file__
    with pytest.raises(AttributeError):
        _ = old.__file__
    with pytest.raises(AttributeError, match="nothing"):
        _ = old.nothing


@pytest.mark.parametrize("path", sorted(OLD_MODULES))
def test_an_old_module_can_be_asked_as_any_other(path: str) -> None:
    """It is found, it can be listed, and ``import *`` gives what the new one gives."""
    assert importlib.util.find_spec(path) is not None
    names: dict[str, object] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        exec(f"from {path} import *", names)
    new = importlib.import_module(OLD_MODULES[path])
    assert set(new.__all__) <= set(names)
    assert set(new.__all__) <= set(dir(sys.modules[path]))
