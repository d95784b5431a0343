"""What a heap consists of: the largest types, and the paths that hold the most.

For reports, not for decisions. The figures of ``usage`` come from the walk that is in force. Types
and paths come from the passes in Python, which can tell which object let another one die: the one
that held the last reference to it. So each private object has one parent, and the result is a tree
of bytes. An object in a private cycle hangs from the one over which it was reached first.

The work is bounded: at most ``OBJECTS`` objects are visited, and the first ``OBJECTS`` elements of
a container; strings are cut. Beyond that only ``usage`` is right, and ``complete`` is False.

The names of attributes come from the instance's dict, which has to be made for this if it does not
exist yet: only for the few objects on the paths. No code of the objects is called.
"""

from __future__ import annotations

import heapq
import itertools
import sys
from collections import deque
from collections.abc import Sequence
from types import (
    AsyncGeneratorType,
    CellType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
    MethodType,
)
from typing import Any, Final

import attrs

from . import clock, walk
from .python.blocks import mro_of
from .python.passes import AFTER_GC, MAILBOX, PureWalk, WalkOver
from .usage import HeapUsage

__all__ = ["Explanation", "explain"]

OBJECTS: Final = 100_000
PATHS: Final = 5
TEXT: Final = 60
DEPTH: Final = 30
SEARCHED: Final = 1000
"""How many elements of a container are searched for an object."""


@attrs.frozen
class Explanation:
    """What some roots hold.

    ``usage``     the figures of the whole
    ``types``     (name, count, bytes) of the objects in ``usage.held``, the largest first
    ``paths``     (path, bytes) of the few parts that hold the most, such as
                  ``.rooms['a'].history``; one into a private cycle ends with `` (in a cycle)``
    ``complete``  False if there were too many objects: then types and paths cover only a part
    """

    usage: HeapUsage
    types: tuple[tuple[str, int, int], ...]
    paths: tuple[tuple[str, int], ...]
    complete: bool

    def __str__(self) -> str:
        """A table of a few lines, however much there is."""
        usage = self.usage
        in_cycles = f", {usage.after_gc:,} B in cycles" if usage.after_gc else ""
        lines = [
            f"{usage.held:,} B: {usage.private:,} B private, {usage.mailbox:,} B in the mailbox"
            f"{in_cycles}{'' if usage.exact else ' (an estimate)'}"
        ]
        if usage.unseen:
            lines.append(f"{usage.unseen:,} B more that it has allocated are garbage, or in the hands of others.")
        if self.types:
            lines.append(f"{'bytes':>15}  {'count':>11}  type")
            lines += [f"{size:>15,}  {count:>11,}  {name}" for name, count, size in self.types]
        if self.paths:
            lines.append(f"{'bytes':>15}  path")
            lines += [f"{size:>15,}  {path}" for path, size in self.paths]
        if not self.complete:
            lines.append("There were too many objects: types and paths cover only a part.")
        return "\n".join(lines)


class _Node:
    """A private object, the bytes of it and of all that only it holds, and what held it."""

    __slots__ = ("bytes", "children", "cyclic", "obj", "parent", "root")

    def __init__(self, obj: object, size: int, parent: _Node | None, root: str, cyclic: bool) -> None:
        self.obj = obj
        self.bytes = size
        self.parent = parent
        self.root = root
        self.cyclic = cyclic
        self.children: list[_Node] = []


def explain(
    roots: Sequence[object],
    mailbox: Sequence[object] = (),
    *,
    frames: Sequence[FrameType] = (),
    names: Sequence[str] | None = None,
    top: int = 10,
    account: clock.Account | None = None,
) -> Explanation:
    """Say what the roots and the mailbox hold, private cycles included.

    Args:
        account: of the actor. Without it the walk for ``usage`` also looks into all that is shared,
            up to a cap.
        frames: running frames, which count in ``usage`` only.
        names: how the paths from each of the roots begin.
        top: how many types.
    """
    usage = walk.measure(roots, mailbox, frames=frames, account=account, cycles=account is None)
    nodes: dict[int, _Node] = {}
    counts: dict[type, list[int]] = {}
    if names is None:
        names = [""] if len(roots) == 1 else [f"({number})" for number in range(len(roots))]
    begins = {id(root): name for root, name in zip(roots, names, strict=True)}
    begins |= {id(message): f"mailbox[{number}]" for number, message in enumerate(mailbox) if id(message) not in begins}

    def observe(obj: object, size: int, group: int, parent: object) -> None:
        if len(nodes) >= OBJECTS:
            raise WalkOver
        root = begins.get(id(obj), "mailbox" if group == MAILBOX else "") if parent is None else ""
        # ``nodes`` keeps the object: its address is its own until the end.
        nodes[id(obj)] = _Node(obj, size, nodes.get(id(parent)), root, group == AFTER_GC)
        count = counts.setdefault(type(obj), [0, 0])
        count[0] += 1
        count[1] += size

    pure = PureWalk(observe=observe, width=OBJECTS)
    complete = True
    try:
        pure.drop(roots)
        pure.drop(mailbox, MAILBOX)
        pure.find_cycles(sys.maxsize, OBJECTS)
    except WalkOver:
        complete = False
    # Children were counted after their parents.
    for node in reversed(nodes.values()):
        if node.parent is not None:
            node.parent.bytes += node.bytes
            node.parent.children.append(node)
    largest = heapq.nlargest(max(0, top), counts.items(), key=lambda item: item[1][1])
    types = tuple((_type_name(cls), count, size) for cls, (count, size) in largest)
    complete = complete and sum(size for _, size in counts.values()) >= usage.held
    paths = _largest_paths([node for node in nodes.values() if node.parent is None])
    for node in nodes.values():
        node.children.clear()  # or the cycle would keep the objects, and they would look shared
    return Explanation(usage, types, paths, complete)


def _largest_paths(roots: list[_Node]) -> tuple[tuple[str, int], ...]:
    """Go down as long as a few children hold most of a node. A path ends where they do not."""
    total = sum(node.bytes for node in roots)
    order = itertools.count()
    candidates = [(-node.bytes, next(order), 0, node) for node in heapq.nlargest(PATHS, roots, key=_bytes_of)]
    heapq.heapify(candidates)
    found: list[tuple[str, int]] = []
    while candidates and len(found) < PATHS:
        _, _, depth, node = heapq.heappop(candidates)
        heavy = [child for child in heapq.nlargest(PATHS, node.children, key=_bytes_of) if child.bytes * 10 > total]
        if depth < DEPTH and sum(map(_bytes_of, heavy)) * 2 > node.bytes:
            for child in heavy:
                heapq.heappush(candidates, (-child.bytes, next(order), depth + 1, child))
        else:
            found.append((_path(node), node.bytes))
    return tuple(found)


def _bytes_of(node: _Node) -> int:
    return node.bytes


def _cut(text: str) -> str:
    return text if len(text) <= TEXT else text[: TEXT - 1] + "…"


def _type_name(cls: type) -> str:
    name = type.__dict__["__qualname__"].__get__(cls)
    module = type.__dict__["__module__"].__get__(cls)
    return _cut(name if module == "builtins" else f"{module}.{name}")


def _path(node: _Node) -> str:
    steps: list[str] = []
    cyclic, cls = node.cyclic, type(node.obj)
    while node.parent is not None:
        steps.append(_step(node.parent, node.obj))
        node = node.parent
    path = "".join([node.root, *reversed(steps)]) or _type_name(cls)
    return f"{path} (in a cycle)" if cyclic else path


def _step(parent: _Node, child: object) -> str:
    """The step of a path from the parent to the child."""
    obj: Any = parent.obj
    cls = type(obj)
    bases = mro_of(cls)
    if dict in bases:
        owned = parent.parent is not None and _attributes(parent.parent.obj) is obj
        return _key_step(obj, child, owned)
    if list in bases or tuple in bases or deque in bases:
        base: Any = list if list in bases else tuple if tuple in bases else deque
        for number, element in enumerate(itertools.islice(base.__iter__(obj), SEARCHED)):
            if element is child:
                return f"[{number}]"
    attributes = _attributes(obj)
    if attributes is not None:
        if attributes is child:
            return ""
        for name, value in itertools.islice(dict.items(attributes), SEARCHED):
            if value is child:
                return f".{_cut(str(name))}"
    for base in bases:
        for name, slot in type.__dict__["__dict__"].__get__(base).items():
            if type(slot) is _MEMBER and _slot_value(slot, obj) is child:
                return f".{_cut(str(name))}"
    if cls in (CoroutineType, GeneratorType, AsyncGeneratorType):
        return f"<in {_cut(obj.__qualname__)}>"
    if cls is FunctionType:
        return (
            ".__closure__"
            if obj.__closure__ is child
            else ".__defaults__"
            if obj.__defaults__ is child
            else "<function>"
        )
    if cls is CellType:
        return ""
    if cls is MethodType:
        return ".__self__"
    return f"<{_type_name(type(child))}>"


def _key_step(mapping: dict[Any, Any], child: object, attributes: bool) -> str:
    for key, value in itertools.islice(dict.items(mapping), SEARCHED):
        if value is child:
            if attributes:
                return f".{_cut(str(key))}"
            plain = type(key) in (str, int, float, bool, bytes) or key is None
            short = key[:TEXT] if isinstance(key, (str, bytes)) and plain else key
            return f"[{_cut(repr(short))}]" if plain else "[…]"
    return f"<{_type_name(type(child))}>"


def _attributes(obj: object) -> dict[Any, Any] | None:
    """The instance dict, read past whatever the class may define. None if there is none."""
    for base in mro_of(type(obj)):
        getter = type.__dict__["__dict__"].__get__(base).get("__dict__")
        if type(getter) is _GETTER:
            found = getter.__get__(obj)
            return found if isinstance(found, dict) else None
    return None


def _slot_value(slot: Any, obj: object) -> object:
    try:
        return slot.__get__(obj)
    except (AttributeError, TypeError):
        return None


_GETTER: Final = type(type.__dict__["__dict__"])
_MEMBER: Final = type(FunctionType.__dict__["__globals__"])
