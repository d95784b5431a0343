from __future__ import annotations

import gc
from collections import deque
from typing import Any

import pytest

from actorkit.heap import explain as explaining
from actorkit.heap.explain import explain


class Room:
    def __init__(self, size: int) -> None:
        self.history = [bytearray(1000) for _ in range(size)]


class Server:
    __slots__ = ("__weakref__", "rooms", "small")

    def __init__(self) -> None:
        self.rooms = {"a": Room(300), "b": Room(100)}
        self.small = [1.5]


def test_types_and_paths() -> None:
    server = Server()
    explained = explain([server], [bytearray(200_000)])
    assert explained.complete
    assert explained.types[0][0] == "bytearray"
    assert explained.types[0][1] == 401
    assert sum(size for _, _, size in explained.types) == explained.usage.charged
    paths = [path for path, _ in explained.paths]
    assert paths == [".rooms['a'].history", "mailbox[0]", ".rooms['b'].history"]
    assert 300_000 < explained.paths[0][1] < 330_000


def test_nothing_is_kept() -> None:
    """An explanation does not keep what it explained, which measures the same the next time."""
    server = Server()
    gc.disable()
    try:
        first = explain([server])
        assert explain([server]).usage.charged == pytest.approx(first.usage.charged, rel=0.01)
    finally:
        gc.enable()


def test_top_and_shared() -> None:
    shared = bytearray(1_000_000)
    explained = explain([[shared, (1.5,), {"x": b"y" * 50}]], top=2)
    assert len(explained.types) == 2
    assert "bytearray" not in [name for name, _, _ in explained.types]


@pytest.mark.parametrize(
    "make",
    [
        lambda big: [[big]],
        lambda big: (deque([big]),),
        lambda big: [{"k" * 500: big}],
        lambda big: [{(1, 2): big}],
        lambda big: [lambda: big],
        lambda big: [{1: {2: {3: {4: big}}}}],
        lambda big: [[None] * 5000 + [big]],
    ],
)
def test_paths_of_many_kinds(make: Any) -> None:
    explained = explain(make(bytearray(100_000)))
    (path, size), *_ = explained.paths
    assert size > 100_000
    assert 0 < len(path) < 500


def test_it_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explaining, "OBJECTS", 1000)
    explained = explain([[[0.5 + n] for n in range(5000)]])
    assert not explained.complete
    assert sum(count for _, count, _ in explained.types) <= 1000
    assert explained.usage.objects == 10_001
    assert explain([[[0.5 + n] for n in range(300)]]).complete


def test_nothing() -> None:
    explained = explain([])
    assert (explained.types, explained.paths, explained.complete) == ((), (), True)


class Document:
    def __init__(self, parent: Document | None) -> None:
        self.parent = parent
        self.text = bytearray(100)
        self.children: list[Document] = []


def test_cycles_are_named() -> None:
    server: Any = Server()
    server.small = Document(None)
    server.small.children = [Document(server.small) for _ in range(5000)]
    explained = explain([server])
    assert explained.complete
    assert explained.usage.after_gc > 1_000_000
    assert sum(size for _, _, size in explained.types) == explained.usage.held
    assert ("test_explain.Document", 5001) in [(name.split("heap.")[-1], count) for name, count, _ in explained.types]
    path, size = explained.paths[0]
    assert path == ".small.children (in a cycle)"
    assert size > 1_000_000
    assert f"{explained.usage.after_gc:,} B in cycles" in str(explained)
