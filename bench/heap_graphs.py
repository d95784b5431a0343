"""The graphs of `python -m bench heap`, each of about the requested number of objects."""

import collections
import types
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

KEYS = tuple(f"key {number}" for number in range(9))


class Slotted:
    __slots__ = ("number", "pair", "text")

    def __init__(self, number: int) -> None:
        self.number = number + 0.5
        self.text = f"text {number}"
        self.pair = (number + 0.25, KEYS)


class Plain:
    def __init__(self, number: int) -> None:
        self.number = number + 0.5
        self.text = f"text {number}"
        self.items = [number + 0.25]


@types.coroutine
def suspend() -> Iterator[None]:
    yield


async def waiting(number: int) -> object:
    kept = [number + 0.5, f"text {number}"]
    await suspend()
    return kept


def started(number: int) -> Coroutine[Any, Any, object]:
    made = waiting(number)
    made.send(None)
    return made


def dicts(objects: int) -> list[Any]:
    """Dicts of five floats and four strings, under the same keys."""
    return [
        {key: f"text {number}" if index % 2 else number + index / 10 for index, key in enumerate(KEYS)}
        for number in range(objects // 10)
    ]


def tuples(objects: int) -> list[Any]:
    return [(number + 0.5, number + 0.25, f"text {number}", number + 0.75) for number in range(objects // 5)]


def slotted(objects: int) -> list[Any]:
    return [Slotted(number) for number in range(objects // 5)]


def instances(objects: int) -> list[Any]:
    return [Plain(number) for number in range(objects // 5)]


def mixed(objects: int) -> list[Any]:
    """Sets, deques, texts and bytes of many sizes."""
    return [
        [
            {number + 0.5, number + 0.25},
            collections.deque((f"text {number}",)),
            bytearray(number % 3000),
            "é" * (number % 900),
        ]
        for number in range(objects // 8)
    ]


def coroutines(objects: int) -> list[Any]:
    return [started(number) for number in range(objects // 6)]


SHAPES: dict[str, Callable[[int], list[Any]]] = {
    "dicts": dicts,
    "tuples": tuples,
    "slotted": slotted,
    "instances": instances,
    "mixed": mixed,
    "coroutines": coroutines,
}
