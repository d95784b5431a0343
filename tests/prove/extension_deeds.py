"""What actors do with other people's C extensions: one function a deed, each with a random source.

A deed returns what it made. Deeds of packages that are not installed are left out.
"""

from __future__ import annotations

import array
import bz2
import collections
import csv
import ctypes
import datetime
import decimal
import functools
import hashlib
import io
import itertools
import json
import lzma
import mmap
import pickle
import random
import re
import sqlite3
import struct
import xml.etree.ElementTree as ElementTree
import xml.parsers.expat
import zlib
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeAlias

__all__ = ["DEEDS", "Deed"]

Deed: TypeAlias = Callable[[random.Random], Any]

DEEDS: dict[str, Deed] = {}
"""By their names: the package, and what is done."""


def deed(package: str = "") -> Callable[[Deed], Deed]:
    """Enter it into ``DEEDS`` if the package is here."""

    def enter(function: Deed) -> Deed:
        if not package or find_spec(package) is not None:
            DEEDS[f"{package or 'stdlib'}: {function.__name__}"] = function
        return function

    return enter


def size(source: random.Random, largest: int) -> int:
    """Mostly small."""
    return max(1, int(largest * source.random() ** 4))


def rows(source: random.Random, count: int) -> list[dict[str, Any]]:
    return [
        {"id": n, "name": f"name {n}", "x": source.random(), "tags": [f"tag {n % 7}"], "text": "x" * size(source, 300)}
        for n in range(count)
    ]


def quietly(function: Callable[..., Any], *args: Any) -> Any:
    """Its result, or its exception."""
    try:
        return function(*args)
    except Exception as error:
        return error


# --- the interpreter's own -----------------------------------------------------------------------


@deed()
def json_both_ways(source: random.Random) -> Any:
    return json.loads(json.dumps(rows(source, size(source, 500))), object_pairs_hook=collections.OrderedDict)


@deed()
def pickled(source: random.Random) -> Any:
    return pickle.loads(pickle.dumps(rows(source, size(source, 500)), protocol=5))


@deed()
def compressed(source: random.Random) -> Any:
    data = source.randbytes(size(source, 50_000)) * 3
    module: Any = source.choice([zlib, bz2, lzma])
    packed = module.compress(data)
    return module.decompress(packed), packed, zlib.decompressobj(), lzma.LZMACompressor()


@deed()
def expat(source: random.Random) -> Any:
    parser = xml.parsers.expat.ParserCreate()
    met: list[Any] = []
    parser.StartElementHandler = lambda name, attributes: met.append((name, attributes, parser))
    parser.CharacterDataHandler = met.append
    parser.Parse("<a>" + "<b c='d'>text</b>" * size(source, 500) + "</a>", True)
    return parser, met


@deed()
def element_tree(source: random.Random) -> Any:
    root = ElementTree.Element("root")
    for n in range(size(source, 800)):
        ElementTree.SubElement(root, "row", id=str(n)).text = f"text {n}"
    events = ElementTree.iterparse(io.BytesIO(ElementTree.tostring(root)))
    return root, list(itertools.islice(events, 20)), events


@deed()
def database(source: random.Random) -> Any:
    base = sqlite3.connect(":memory:", check_same_thread=False)
    base.row_factory = source.choice([None, sqlite3.Row, lambda cursor, row: dict(enumerate(row))])
    base.create_function("twice", 1, lambda value: [value, value][0])
    base.execute("create table rows (id, name, x)")
    base.executemany("insert into rows values (:id, :name, :x)", rows(source, size(source, 400)))
    cursor = base.execute("select id, twice(name), x from rows order by x")
    found = cursor.fetchmany(size(source, 300))
    if source.random() < 0.3:
        quietly(base.execute, "select nothing from nowhere")
    return base, cursor, found


@deed()
def tables(source: random.Random) -> Any:
    text = io.StringIO()
    csv.DictWriter(text, ["id", "name", "x", "tags", "text"]).writerows(rows(source, size(source, 400)))
    text.seek(0)
    return list(csv.reader(text)), text


@deed()
def numbers(source: random.Random) -> Any:
    made = [decimal.Decimal(n) / 7 for n in range(size(source, 1_000))]
    return (
        made,
        [datetime.datetime(2026, 1, 1) + datetime.timedelta(hours=n) for n in range(100)],
        7 ** size(source, 5_000),
    )


@deed()
def buffers(source: random.Random) -> Any:
    raw = bytearray(size(source, 300_000))
    view = memoryview(raw)[::2]
    quietly(raw.extend, b"x")  # it is exported
    mapped = mmap.mmap(-1, 8_192)
    mapped.write(b"mapped")
    words = array.array("d", (source.random() for _ in range(size(source, 20_000))))
    words.extend(words)
    return view, mapped, words, struct.unpack(f"{len(raw) // 8}d", raw[: len(raw) // 8 * 8])


@deed()
def grown(source: random.Random) -> Any:
    text, data, parts = "", bytearray(), []
    for n in range(size(source, 3_000)):
        text += f"{n} "
        data += b"more"
        parts.append(n * 1.5)
        if n % 97 == 0:
            del parts[: len(parts) // 2]
    return text, data, parts


@deed()
def callbacks_from_c(source: random.Random) -> Any:
    compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
    function = compare(lambda a, b: a[0] - b[0])
    numbers = (ctypes.c_int * 200)(*(source.randrange(1_000) for _ in range(200)))
    ctypes.CDLL(None).qsort(numbers, 200, 4, function)
    return function, numbers, sorted(range(500), key=functools.cmp_to_key(lambda a, b: b - a))


@deed()
def patterns(source: random.Random) -> Any:
    text = " ".join(f"word{n} {n}" for n in range(size(source, 2_000)))
    return [*re.finditer(r"(\w+) (\d+)", text)], re.sub(r"\d+", lambda found: found[0] * 2, text), hashlib.sha256()


@deed("greenlet")
def greenlets(source: random.Random) -> Any:
    greenlet = import_module("greenlet")

    def work(kept: list[Any]) -> list[Any]:
        for n in range(20):
            kept.append([n] * 20)
            greenlet.getcurrent().parent.switch(kept)
        return kept

    made = greenlet.greenlet(work)
    kept = made.switch([])
    for _ in range(source.randrange(25)):
        if not made.dead:
            kept = made.switch()
    return kept if source.random() < 0.5 else kept[:]


# --- text and documents --------------------------------------------------------------------------


@deed("orjson")
def orjson_both_ways(source: random.Random) -> Any:
    orjson = import_module("orjson")
    packed = orjson.dumps({"rows": rows(source, size(source, 500)), "odd": {1, 2}}, default=list)
    return orjson.loads(packed), quietly(orjson.loads, packed[:-3])


@deed("ujson")
def ujson_both_ways(source: random.Random) -> Any:
    ujson = import_module("ujson")
    return ujson.loads(ujson.dumps(rows(source, size(source, 500))))


@deed("msgpack")
def msgpack_both_ways(source: random.Random) -> Any:
    msgpack = import_module("msgpack")
    packed = msgpack.packb({"rows": rows(source, size(source, 500))}, default=str)
    stream = msgpack.Unpacker(io.BytesIO(packed * 3), object_hook=lambda row: row)
    return [next(stream), next(stream)], stream, quietly(msgpack.unpackb, packed[:-3])


@deed("lxml")
def lxml_documents(source: random.Random) -> Any:
    etree = import_module("lxml.etree")
    root = etree.fromstring("<all>" + "<row a='1'><name>n</name></row>" * size(source, 800) + "</all>")
    for row in root.xpath("//row")[:: source.randrange(1, 9)]:
        row.append(etree.Element("more", number="7"))
        if source.random() < 0.2:
            root.remove(row)
    found = root.xpath("//name/text()")
    transform = etree.XSLT(
        etree.XML(
            "<xsl:stylesheet version='1.0' xmlns:xsl='http://www.w3.org/1999/XSL/Transform'>"
            "<xsl:template match='/'><out><xsl:copy-of select='//name'/></out></xsl:template></xsl:stylesheet>"
        )
    )
    return root.getchildren()[:20] if source.random() < 0.5 else root, found[:50], transform(root), etree.tostring(root)


@deed("lxml")
def lxml_callbacks(source: random.Random) -> Any:
    etree = import_module("lxml.etree")

    class Target:
        def __init__(self) -> None:
            self.met: list[Any] = []

        def start(self, tag: str, attributes: Any) -> None:
            self.met.append((self, tag, dict(attributes)))

        def end(self, tag: str) -> None:
            self.met.append(tag)

        def close(self) -> Any:
            return self.met

    target = Target()
    parser = etree.XMLParser(target=target)
    return etree.fromstring("<a>" + "<b c='d'/>" * size(source, 500) + "</a>", parser), parser, target


@deed("regex")
def regex_patterns(source: random.Random) -> Any:
    regex = import_module("regex")
    text = " ".join(f"word{n} {n}" for n in range(size(source, 1_000)))
    return regex.findall(r"(?<word>\w+) (?<n>\d+)", text), [*regex.finditer(r"(?:(\w+) ){2}", text, overlapped=True)][
        :50
    ]


@deed("zstandard")
def zstandard_streams(source: random.Random) -> Any:
    zstandard = import_module("zstandard")
    data = source.randbytes(size(source, 100_000)) * 2
    packed = zstandard.ZstdCompressor(level=source.randrange(1, 9)).compress(data)
    reader = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(packed))
    return reader.read(100), reader, packed, quietly(zstandard.decompress, packed[:-9])


@deed("PIL")
def images(source: random.Random) -> Any:
    image_module, draw_module = import_module("PIL.Image"), import_module("PIL.ImageDraw")
    image = image_module.new("RGB", (size(source, 500), size(source, 500)), "red")
    draw = draw_module.Draw(image)
    draw.ellipse((5, 5, 60, 60), fill="blue")
    written = io.BytesIO()
    image.resize((50, 40)).rotate(30).save(written, source.choice(["PNG", "JPEG", "BMP"]))
    read = image_module.open(io.BytesIO(written.getvalue()))
    if source.random() < 0.5:
        read.load()
    image.peer = draw
    return image, draw, read


# --- tables and arrays ---------------------------------------------------------------------------


@deed("numpy")
def arrays(source: random.Random) -> Any:
    numpy = import_module("numpy")
    made = numpy.arange(size(source, 200_000), dtype=source.choice(["f8", "i4", "u1", "c16"]))
    part = made[:: source.randrange(1, 5)]
    return part, made * 2, numpy.sort(made)[:10].copy(), memoryview(part), numpy.array(["text", "longer text"] * 50)


@deed("numpy")
def arrays_of_objects(source: random.Random) -> Any:
    numpy = import_module("numpy")
    made = numpy.empty(size(source, 2_000), dtype=object)
    made[:] = [{"n": n} for n in range(len(made))]
    # Arrays hide their objects from the collector, and a view holds its array: no cycles here.
    made[0] = made[1:3].copy()
    twice = numpy.vectorize(lambda row: [row], otypes=[object])(made)
    record = numpy.zeros(20, dtype=[("name", "U10"), ("x", "f8"), ("what", "O")])
    record["what"][3] = made
    return made, twice, record, quietly(numpy.add, made[1:], 1)


@deed("numpy")
def arrays_grow(source: random.Random) -> Any:
    numpy = import_module("numpy")
    made = numpy.zeros(10)
    for _ in range(size(source, 60)):
        made = numpy.concatenate([made, made[: size(source, 5_000)], numpy.fromiter(range(100), "f8")])
    return made, [made[n : n + 10] for n in range(0, 500, 10)]


@deed("pandas")
def frames(source: random.Random) -> Any:
    pandas = import_module("pandas")
    frame = pandas.DataFrame(rows(source, size(source, 400) + 20))
    frame["group"] = frame["id"] % 5
    grouped = frame.groupby("group")["x"].agg(["mean", "max"])
    merged = frame.merge(grouped, left_on="group", right_index=True)
    text = io.StringIO(merged.to_csv())
    return frame, merged.sort_values("x").head(30), pandas.read_csv(text), frame["name"].astype("category")


@deed("pandas")
def frames_with_callbacks(source: random.Random) -> Any:
    pandas = import_module("pandas")
    frame = pandas.DataFrame({"a": range(size(source, 300) + 5), "b": "text"})
    rows_of = [frame]
    rows_of.append(rows_of)
    applied = frame.apply(lambda row: {"a": row["a"], "row": row} if row["a"] % 3 else None, axis=1)
    return rows_of, applied, quietly(frame.__getitem__, "missing"), frame.pivot_table(index="b", values="a")


@deed("pyarrow")
def arrow_tables(source: random.Random) -> Any:
    arrow, compute, ipc = import_module("pyarrow"), import_module("pyarrow.compute"), import_module("pyarrow.ipc")
    table = arrow.Table.from_pylist(rows(source, size(source, 500) + 5))
    written = arrow.BufferOutputStream()
    with ipc.new_stream(written, table.schema) as writer:
        writer.write_table(table)
    read = ipc.open_stream(written.getvalue()).read_all()
    taken = compute.take(table["x"], arrow.array([0, 1, 2]))
    return (
        table.slice(2, 9),
        read,
        taken,
        arrow.array([n * 1.5 for n in range(size(source, 5_000))]),
        table.to_pylist()[:30],
    )


@deed("pyarrow")
def arrow_buffers(source: random.Random) -> Any:
    arrow = import_module("pyarrow")
    data = bytearray(size(source, 200_000) + 16)
    buffer = arrow.py_buffer(data)
    numbers = arrow.Array.from_buffers(arrow.int64(), len(data) // 8, [None, buffer])
    return numbers, memoryview(buffer)[2:9], quietly(arrow.array, [1, "two", 3])


@deed("polars")
def polars_frames(source: random.Random) -> Any:
    polars = import_module("polars")
    frame = polars.DataFrame({"a": range(size(source, 2_000) + 5), "b": "text"})
    lazy = frame.lazy().filter(polars.col("a") > 2).group_by(polars.col("a") % 7).agg(polars.col("b").count())
    return frame, lazy.collect(), frame.to_dicts()[:50], quietly(frame.get_column, "missing")


@deed("polars")
def polars_with_callbacks(source: random.Random) -> Any:
    polars = import_module("polars")
    series = polars.Series("a", range(size(source, 500) + 5))
    return series.map_elements(lambda value: value * 2, return_dtype=polars.Int64), polars.Series(
        [[object()]], dtype=polars.Object
    )
