"""No debt but those of the list, and none in the list that has been paid; and the reader of the
source reads well.
"""

from __future__ import annotations

from tests.architecture.debts import EXCUSE, debts, listed
from tests.architecture.layers import LAYERS, LEVELS, goes_up, place_of
from tests.architecture.package import arrows, circles, modules


def test_no_new_debt() -> None:
    """Layers, circles, lengths and names are as they should be, but for what the list says."""
    new = sorted(set(debts()) - set(listed()))
    assert not new, "tests/architecture/debts.py says what each kind means"


def test_no_paid_debt() -> None:
    """What has been put right is no longer in the list, so that it cannot come back."""
    paid = sorted(set(listed()) - set(debts()))
    assert not paid, "python -m tests.architecture debts --write"


def test_circles_are_found() -> None:
    """Each circle is found once, whatever leads to it and away from it."""
    graph = {"a": "b", "b": "cd", "c": "a", "d": "e", "e": "fd", "f": "", "g": "a", "h": "h"}
    assert circles(graph) == [{"a", "b", "c"}, {"d", "e"}]
    assert circles({"a": "b", "b": ""}) == []


def test_every_kind_of_import_counts() -> None:
    """Relative and absolute, of modules and of names, under TYPE_CHECKING and inside functions."""
    assert "heap.capabilities" in arrows()["doctor.examination"]
    assert "reasons" in arrows()["errors"]
    assert all(other in modules() for imported in arrows().values() for other in imported)


def test_the_table_of_layers_is_the_trees() -> None:
    """Each name in the table is a module or folder, and stands once; each module has a place."""
    assert len(LEVELS) == sum(map(len, LAYERS))
    assert set(LEVELS) <= set(modules())
    assert [module for module in modules() if place_of(module) is None] == []


def test_layers_are_told_apart() -> None:
    """An arrow that goes up is found, by the longest name that fits."""
    assert goes_up("runtime.actor.record", "runtime.life.scheduler")
    assert not goes_up("runtime.life.scheduler", "runtime.actor.record")
    assert goes_up("policy.key_table", "policy.memory.ladder")
    assert place_of("nowhere") is None


def test_excuses_are_read() -> None:
    """A long file says why, in the comment of its language."""
    assert EXCUSE.search("# Longer than 500 lines because it is one table.")
    assert EXCUSE.search("/* Longer than 800 lines because it is one table. */")
    assert not EXCUSE.search("# Longer than 500 lines because")
