"""Programs that make cycles."""

from __future__ import annotations

import asyncio
import collections
import configparser
import dataclasses
import email
import enum
import functools
import xml.dom.minidom
from collections.abc import Callable
from typing import Any

from .program import MIB, Program, rows

__all__ = ["CYCLIC"]


class FailingRequests(Program):
    """Requests fail, and each keeps its exception in a local: a cycle of traceback and frame."""

    def step(self, number: int) -> None:
        for each in range(60):
            self.request(each, bytes(10_000))

    def request(self, each: int, body: bytes) -> None:
        parsed = {"id": each, "body": body, "words": [f"word {n}" for n in range(50)]}
        try:
            self.handle(parsed)
        except KeyError as error:
            failed = error
            assert failed.args

    def handle(self, parsed: dict[str, Any]) -> None:
        try:
            parsed["missing"]
        except KeyError as error:
            error.add_note(f"in request {parsed['id']}")
            raise


class FailingUploads(FailingRequests):
    """The same with large bodies: more garbage in one message than the limit."""

    def step(self, number: int) -> None:
        for each in range(60):
            self.request(each, bytes(200_000))


class Node:
    """A node of a tree that knows its parent."""

    def __init__(self, parent: Node | None, name: str) -> None:
        self.parent = parent
        self.name = name
        self.children: list[Node] = []
        if parent is not None:
            parent.children.append(self)


def tree(width: int, depth: int, parent: Node | None = None) -> Node:
    """A tree with parents."""
    made = Node(parent, f"at {depth}")
    if depth:
        for _ in range(width):
            tree(width, depth - 1, made)
    return made


class TreeReplaced(Program):
    """It holds a tree with parents, and replaces it now and then: 3.6 MB of 8 MiB."""

    LIMIT = 8 * MIB

    def __init__(self) -> None:
        self.tree = tree(23, 3)

    def step(self, number: int) -> None:
        rows(200, number)
        if number % 3 == 0:
            self.tree = tree(23, 3)


class CyclicGarbage(Program):
    """0.4 MB of cycles for each message, dropped at once."""

    STEPS = 60

    def step(self, number: int) -> None:
        for each in range(200):
            row: dict[str, Any] = {"id": each, "text": "x" * 1_500 + str(each), "others": [n + 1000 for n in range(10)]}
            row["self"] = row


class LinkedLists(Program):
    """Lists that are linked both ways are made and dropped; the last one is kept."""

    def __init__(self) -> None:
        self.last: dict[str, Any] | None = None

    def step(self, number: int) -> None:
        first: dict[str, Any] = {"value": 0, "before": None, "next": None}
        node = first
        for each in range(1_500):
            following = {"value": each + 1000.5, "before": node, "next": None}
            node["next"] = following
            node = following
        self.last = first


class Documents(Program):
    """DOM trees, whose nodes know their parents."""

    LIMIT = 8 * MIB

    def __init__(self) -> None:
        self.text = "<all>" + "".join(f"<row id='{n}'><name>name {n}</name></row>" for n in range(150)) + "</all>"

    def step(self, number: int) -> None:
        document = xml.dom.minidom.parseString(self.text)
        for row in document.getElementsByTagName("row"):
            row.setAttribute("seen", str(number))
        assert document.toxml()


class Messages(Program):
    """Mails are parsed and written."""

    def __init__(self) -> None:
        self.text = "Subject: hello\nFrom: a@example.com\nTo: b@example.com\n\n" + "line of text\n" * 500

    def step(self, number: int) -> None:
        for each in range(10):
            message = email.message_from_string(self.text)
            message["X-Number"] = str(each)
            assert message.as_string()


class Configurations(Program):
    """Configurations are read; a parser and its sections refer to each other."""

    def __init__(self) -> None:
        self.text = "".join(f"[section {n}]\nname = {n}\nvalue = {n * 7}\n" for n in range(120))

    def step(self, number: int) -> None:
        parser = configparser.ConfigParser()
        parser.read_string(self.text)
        assert parser["section 7"]["value"] == "49"


class Future:
    """A promise of a result, with callbacks."""

    def __init__(self, owner: Connection) -> None:
        self.owner = owner
        self.result: Any = None
        self.callbacks: list[Callable[[Future], None]] = []

    def set_result(self, result: Any) -> None:
        self.result = result
        for callback in self.callbacks:
            callback(self)


class Connection:
    """What callbacks work for; it knows its futures, and they know it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.waiting: dict[int, Future] = {}
        self.received: list[Any] = []

    def request(self, key: int) -> Future:
        future = self.waiting[key] = Future(self)
        future.callbacks.append(self.arrived)
        future.callbacks.append(lambda done: self.received.append((key, done)))
        return future

    def arrived(self, future: Future) -> None:
        self.received.append(future.result)


class Callbacks(Program):
    """Callbacks, partials, futures and bound methods, as in a program for asyncio."""

    def step(self, number: int) -> None:
        ready: collections.deque[Callable[[], None]] = collections.deque()
        for each in range(30):
            connection = Connection(each)
            for key in range(20):
                future = connection.request(key)
                ready.append(functools.partial(future.set_result, f"result {key} of {each}" * 5))
        while ready:
            ready.popleft()()


class AsyncioTasks(Program):
    """A loop of asyncio, with tasks that fail and tasks that do not, in each message."""

    LIMIT = 8 * MIB
    STEPS = 60

    def step(self, number: int) -> None:
        coroutines = [self.task(n) for n in range(200)]
        made = [self.driven(coroutine) for coroutine in coroutines]
        assert sum(isinstance(each, ValueError) for each in made) == 20

    async def task(self, number: int) -> list[str]:
        found = [f"line {n} of {number}" for n in range(60)]
        await asyncio.sleep(0)
        if number % 10 == 0:
            raise ValueError(found)
        return found

    def driven(self, coroutine: Any) -> Any:
        try:
            while True:
                coroutine.send(None)
        except StopIteration as stop:
            return stop.value
        except ValueError as error:
            return error


class ClassesMade(Program):
    """Classes are made in a handler: named tuples, enums, dataclasses. Each is a cycle."""

    LIMIT = 8 * MIB

    def step(self, number: int) -> None:
        for each in range(8):
            row = collections.namedtuple(f"Row{each}", ["a", "b", "c"])  # type: ignore[misc]
            assert row(1, 2, 3).c == 3
            colour = enum.Enum(f"Colour{each}", "RED GREEN BLUE")  # type: ignore[misc]
            assert len(colour) == 3
            dataclasses.make_dataclass(f"Point{each}", ["x", "y"])(1, 2)


class Recursive(Program):
    """Closures that refer to themselves, as recursive inner functions do."""

    def step(self, number: int) -> None:
        for each in range(150):
            seen: dict[int, list[int]] = {}

            def count(n: int, seen: dict[int, list[int]] = seen) -> int:
                seen[n] = [n] * 20
                return 1 + count(n - 1) if n else 0

            assert count(each % 40) == each % 40


class Observers(Program):
    """Objects that subscribe to each other; the latest stay, the others become garbage."""

    class Subject:
        """Knows who listens."""

        def __init__(self) -> None:
            self.listeners: list[Callable[[str], None]] = []
            self.peer: Observers.Subject | None = None
            self.heard = ["nothing yet"] * 20

        def hear(self, what: str) -> None:
            self.heard.append(what)

    def __init__(self) -> None:
        self.kept: collections.deque[Observers.Subject] = collections.deque(maxlen=200)

    def step(self, number: int) -> None:
        for each in range(800):
            one, other = self.Subject(), self.Subject()
            one.peer, other.peer = other, one
            one.listeners.append(other.hear)
            other.listeners.append(one.hear)
            one.listeners[0](f"hello {each}")
            self.kept.append(one)


CYCLIC: tuple[type[Program], ...] = (
    FailingRequests,
    FailingUploads,
    TreeReplaced,
    CyclicGarbage,
    LinkedLists,
    Documents,
    Messages,
    Configurations,
    Callbacks,
    AsyncioTasks,
    ClassesMade,
    Recursive,
    Observers,
)
"""With cycles."""
