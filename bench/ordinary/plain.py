"""Programs without cycles."""

from __future__ import annotations

import ast
import collections
import contextvars
import copy
import csv
import dataclasses
import decimal
import difflib
import hashlib
import heapq
import html.parser
import io
import itertools
import json
import logging
import pickle
import re
import sqlite3
import string
import textwrap
import types
import urllib.parse
import weakref
import xml.etree.ElementTree as ElementTree
import zlib
from collections.abc import Generator, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import attrs

from .program import MIB, Program, rows

__all__ = ["PLAIN"]

SOURCE = Path(__file__).parent.with_name("harness.py").read_text()
WORDS = re.findall(r"\w+", SOURCE)


class Json(Program):
    """Documents are parsed and written."""

    def __init__(self) -> None:
        self.text = json.dumps([{**row, "body": "text " * 140} for row in rows(300)])

    def step(self, number: int) -> None:
        documents = json.loads(self.text)
        documents[number % len(documents)]["body"] = f"changed by {number}"
        json.dumps(documents)


class JsonHooks(Program):
    """Documents become objects in a hook that C calls."""

    def __init__(self) -> None:
        self.text = json.dumps(rows(800))

    def step(self, number: int) -> None:
        made = json.loads(self.text, object_hook=lambda row: types.SimpleNamespace(**row))
        assert made[7].id == 7


@attrs.frozen
class Line:
    """A line of an order."""

    name: str
    count: int
    price: float
    tags: tuple[str, ...] = ()


@attrs.define
class Order:
    """An order, with lines."""

    number: int
    lines: list[Line] = attrs.field(factory=list)


class Attrs(Program):
    """attrs objects are made, changed and summed up; the last few are kept."""

    def __init__(self) -> None:
        self.kept: collections.deque[Order] = collections.deque(maxlen=10)

    def step(self, number: int) -> None:
        for each in range(20):
            order = Order(number * 20 + each, [Line(f"line {n}", n, n * 1.5, (f"tag {n}",)) for n in range(100)])
            order.lines = [attrs.evolve(line, count=line.count + 1) for line in order.lines]
            self.kept.append(order)


@dataclasses.dataclass(slots=True)
class Point:
    """A point."""

    x: float
    y: float
    label: str = ""


class Dataclasses(Program):
    """Dataclasses are made, replaced, sorted, and turned to dicts."""

    def step(self, number: int) -> None:
        points = [Point(n / 3, n * number, f"point {n}") for n in range(3_000)]
        points.sort(key=lambda point: (point.y, point.x))
        moved = [dataclasses.replace(point, x=point.x + 1) for point in points]
        assert len([dataclasses.asdict(point) for point in moved[:500]]) == 500


class Ast(Program):
    """Source text is parsed, walked and compiled."""

    LIMIT = 8 * MIB
    STEPS = 24

    def step(self, number: int) -> None:
        tree = ast.parse(SOURCE)
        names = sum(isinstance(node, ast.Name) for node in ast.walk(tree))
        assert names > 500
        compile(tree, "source", "exec")


class Csv(Program):
    """Tables are written and read."""

    def step(self, number: int) -> None:
        table = io.StringIO()
        writer = csv.DictWriter(table, ["id", "name", "tags", "x"])
        writer.writeheader()
        writer.writerows(rows(1_000, number))
        table.seek(0)
        assert sum(int(row["id"]) for row in csv.DictReader(table)) >= 1000 * 999 // 2


PAGE = "<html><body>" + "".join(f"<p class='c{n}' id=p{n}>{n} <b>bold</b> &amp; more</p>" for n in range(400))


class Html(Program):
    """Pages are parsed by a parser with handlers in Python."""

    class Links(html.parser.HTMLParser):
        """Gathers what it meets."""

        def __init__(self) -> None:
            super().__init__()
            self.met: list[tuple[str, dict[str, str | None]]] = []
            self.text: list[str] = []

        def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
            self.met.append((tag, dict(attributes)))

        def handle_data(self, data: str) -> None:
            self.text.append(data)

    def step(self, number: int) -> None:
        links = self.Links()
        links.feed(PAGE)
        assert len(links.met) == 802


class Xml(Program):
    """Trees without parents are parsed, searched and written."""

    def __init__(self) -> None:
        self.text = "<all>" + "".join(f"<row id='{n}'><name>name {n}</name><x>{n / 7}</x></row>" for n in range(1_000))
        self.text += "</all>"

    def step(self, number: int) -> None:
        tree = ElementTree.fromstring(self.text)
        for row in tree.findall("row"):
            row.set("seen", str(number))
        assert len(ElementTree.tostring(tree)) > len(self.text)


class Churn(Program):
    """It holds 80 % of its limit and churns beside it."""

    def __init__(self) -> None:
        self.held: list[dict[str, Any]] = []
        while len(self.held) < 6_000:
            self.held += rows(100, len(self.held))

    def step(self, number: int) -> None:
        for each in range(10):
            at = (number * 10 + each) * 37 % len(self.held)
            self.held[at : at + 40] = rows(40, number)[: len(self.held[at : at + 40])]
        made = rows(200, number)
        made.sort(key=lambda row: row["name"])


class LargeChurn(Program):
    """Buffers larger than an eighth of the limit come and go, beside what is held."""

    def __init__(self) -> None:
        self.held = [bytes(100_000) for _ in range(15)]

    def step(self, number: int) -> None:
        for each in range(10):
            self.held[each] = bytes(100_000 + each)
            bytes(500_000)
        growing = bytearray()
        for _ in range(50):
            growing += bytes(10_000)


class Logging(Program):
    """It logs, to a stream of its own and to a buffer."""

    def __init__(self) -> None:
        self.stream = io.StringIO()
        self.log = logging.Logger("bench.ordinary")
        self.log.addHandler(logging.StreamHandler(self.stream))
        self.log.handlers[0].setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))

    def step(self, number: int) -> None:
        for each in range(200):
            self.log.warning("message %d of step %d: %s", each, number, {"each": each, "text": "x" * 400})
        self.stream.seek(0)
        self.stream.truncate()


class Re(Program):
    """Texts are searched, split and substituted."""

    def step(self, number: int) -> None:
        pattern = re.compile(rf"(\w+)[ .(]+(\w{{{number % 5 + 1},}})")
        found = [match.groupdict() or match.groups() for match in pattern.finditer(SOURCE)]
        assert found
        lines = [re.sub(r"\s+", " ", line) for line in SOURCE.splitlines()]
        assert len(" ".join(lines).split()) > 1_000


REQUEST: contextvars.ContextVar[dict[str, Any]] = contextvars.ContextVar("REQUEST")


class Contextvars(Program):
    """Each request runs in a context of its own."""

    def step(self, number: int) -> None:
        def handle(each: int) -> int:
            REQUEST.set({"id": each, "user": f"user {each}", "body": "x" * 200})
            return len(REQUEST.get())

        for each in range(1_000):
            assert contextvars.copy_context().run(handle, each) == 3


class Sqlite(Program):
    """A database in memory: rows are inserted, selected and deleted."""

    def __init__(self) -> None:
        self.database = sqlite3.connect(":memory:")
        self.database.execute("create table rows (id integer, name text, x real)")

    def step(self, number: int) -> None:
        with self.database:
            many = [(row["id"], row["name"], row["x"]) for row in rows(600, number)]
            self.database.executemany("insert into rows values (?, ?, ?)", many)
        assert len(self.database.execute("select * from rows order by name").fetchall()) == 600
        with self.database:
            self.database.execute("delete from rows")

    def __del__(self) -> None:
        self.database.close()


class Strings(Program):
    """Texts are built piece by piece, formatted, wrapped and joined."""

    def step(self, number: int) -> None:
        text = ""
        for word in WORDS[:3_000]:
            text += word
            text += " "
        lines = textwrap.wrap(text, 70)
        template = string.Template("$number: $line")
        assert "".join(template.substitute(number=number, line=line) for line in lines)
        assert "\n".join(f"{n:>6} {line:<80}" for n, line in enumerate(lines)).upper()


class Bytes(Program):
    """Frames are packed, compressed, hashed and unpacked."""

    def step(self, number: int) -> None:
        raw = io.BytesIO()
        for each in range(500):
            raw.write(each.to_bytes(4) + b"payload " * 40)
        packed = zlib.compress(raw.getvalue())
        assert hashlib.sha256(zlib.decompress(packed)).digest() == hashlib.sha256(raw.getbuffer()).digest()
        memoryview(raw.getvalue())[100:200].tobytes()


class Pickled(Program):
    """State is pickled, restored and copied deeply."""

    def __init__(self) -> None:
        self.state = rows(400)

    def step(self, number: int) -> None:
        self.state = pickle.loads(pickle.dumps(self.state))
        self.state[number % 400] = copy.deepcopy(self.state[0])


class Collections(Program):
    """Words are counted, grouped, and kept in all kinds of containers."""

    def step(self, number: int) -> None:
        counts = collections.Counter(WORDS)
        by_letter: collections.defaultdict[str, set[str]] = collections.defaultdict(set)
        for word in WORDS:
            by_letter[word[0]].add(f"{word} {number}")
        ordered = collections.OrderedDict(sorted(counts.items()))
        while len(ordered) > 10:
            ordered.popitem(last=False)
        heap: list[tuple[int, str]] = []
        for word, count in counts.items():
            heapq.heappush(heap, (-count, word))
        groups = itertools.groupby(sorted(WORDS), key=len)
        assert sum(len(list(group)) for _, group in groups) == len(WORDS)


class Generators(Program):
    """A pipeline of generators."""

    STEPS = 60

    def step(self, number: int) -> None:
        def numbered() -> Iterator[tuple[int, str]]:
            yield from enumerate(WORDS)

        def doubled(source: Iterator[tuple[int, str]]) -> Generator[list[Any], None, int]:
            count = 0
            for at, word in source:
                yield [at, word, word * 2]
                count += 1
            return count

        kept = list(itertools.islice(doubled(numbered()), 3_000))
        assert max(kept, key=lambda row: row[0])[0] < len(WORDS)


class Decimals(Program):
    """Money is summed up exactly."""

    def step(self, number: int) -> None:
        amounts = [decimal.Decimal(n) / 7 for n in range(1, 4_000)]
        assert sum(amounts).quantize(decimal.Decimal("0.01"))


class Urls(Program):
    """Addresses are parsed, changed and written; queries too."""

    def step(self, number: int) -> None:
        for each in range(500):
            parsed = urllib.parse.urlsplit(f"https://host{each}.example/path/{number}?a={each}&b=text+{each}#part")
            query = urllib.parse.parse_qs(parsed.query)
            assert urllib.parse.urlunsplit(parsed._replace(query=urllib.parse.urlencode(query, doseq=True)))


class Difference(Program):
    """Texts are compared."""

    STEPS = 100

    def step(self, number: int) -> None:
        before = SOURCE.splitlines()[:150]
        after = [line.replace("row", f"line{number}") for line in before]
        assert list(difflib.unified_diff(before, after))


class Weakly(Program):
    """A cache that holds its entries weakly, beside a few that are held."""

    class Entry:
        """What the cache has."""

        def __init__(self, number: int) -> None:
            self.text = f"entry {number}" * 10

    def __init__(self) -> None:
        self.cache: weakref.WeakValueDictionary[int, Weakly.Entry] = weakref.WeakValueDictionary()
        self.recent: collections.deque[Weakly.Entry] = collections.deque(maxlen=50)

    def step(self, number: int) -> None:
        for each in range(1_000):
            entry = self.Entry(each)
            self.cache[number * 1_000 + each] = entry
            self.recent.append(entry)
        assert len(self.cache) <= 51


class Numpy(Program):
    """Arrays are made, multiplied, sliced and reduced."""

    def __init__(self) -> None:
        import numpy

        self.numpy = numpy
        self.held = numpy.arange(100_000, dtype=float)

    def step(self, number: int) -> None:
        made = self.held * number + 1
        made[::2] -= 1
        square = made[:40_000].reshape(200, 200)
        assert (square @ square.T).shape == (200, 200)
        self.held = self.numpy.sort(made)


PLAIN: tuple[type[Program], ...] = (
    Json,
    JsonHooks,
    Attrs,
    Dataclasses,
    Ast,
    Csv,
    Html,
    Xml,
    Churn,
    LargeChurn,
    Logging,
    Re,
    Contextvars,
    Sqlite,
    Strings,
    Bytes,
    Pickled,
    Collections,
    Generators,
    Decimals,
    Urls,
    Difference,
    Weakly,
    *((Numpy,) if find_spec("numpy") else ()),
)
"""Without cycles."""
