"""The walk in pure Python: the same objects and the same bytes as the C one, some hundred times slower.

The algorithm is told at the top of ``_walk.c``: the free is simulated with virtual reference counts, and a
second pass on request finds private cycles. What is different here:

- Looking adds references. A count is read once, when an object is met for the first time, at a moment when
  exactly these references are ours: the loop variable, the argument of ``getrefcount``, and the
  object's occurrences in the one list of referents that is being worked off. From then on the object has an
  entry, its count is never read again, and so the entry may hold it.
- Everything goes through the table, but for what leads nowhere and has one reference: no other edge can meet it.
- What is to be known of a type is kept while the type lives, and forgotten when stops or adapters are registered.
- Other threads may run in the middle, and they may change what is walked: then the figures are those of no
  single moment. The C walk cannot be interrupted.
- The slots of running frames cannot be read without leaving traces (``f_locals`` makes a snapshot that keeps
  objects alive), so frames and their value stacks are left out, with ``exact=False``.

An interpreter without reference counts that mean something (PyPy, free-threaded builds) gets an estimate:
everything that is reached counts as private, ``exact`` is False. The types to stop at are what keeps it
from being the whole program.

The interface is that of ``_walk.pyi``.
"""

from __future__ import annotations

import gc
import itertools
import sys
import weakref
from collections import Counter, deque
from collections.abc import Callable, Sequence
from operator import itemgetter
from types import CodeType, EllipsisType, FrameType, FunctionType, ModuleType, NoneType, NotImplementedType
from typing import Any, Final, NamedTuple, TypeAlias

from actorkit.heap.python.blocks import (
    EXACT,
    Sizer,
    block_bytes,
    dict_str_keys,
    flags_of,
    is_namespace,
    mro_of,
    native_base,
    sizer_for,
)

__all__ = [
    "Adapter",
    "CensusGroups",
    "Figures",
    "Followed",
    "PureWalk",
    "Record",
    "RecordPlan",
    "WalkOver",
    "census",
    "census_rows",
    "measure",
    "register",
    "size_of",
]

Adapter: TypeAlias = Callable[[Any], tuple[int, Sequence[object]]]
Record: TypeAlias = tuple[int, int, int]
"""(address, bytes, group) of an object that was counted."""
Figures: TypeAlias = tuple[int, int, int, int, int, bool, list[Record] | dict[type, tuple[int, int]] | None]
BY_TYPE: Final = 2
"""(private, mailbox, objects, after_gc, shared, exact, records)"""
CensusRow: TypeAlias = tuple[Any, int, bool, float | None, int]
"""(record, rank, idle, bytes / limit or None, bytes)"""
CensusGroups: TypeAlias = dict[tuple[int, bool, bool], tuple[list[CensusRow], int, int, CensusRow]]
"""{(rank, idle, has a limit): (rows, how many there are, the bytes of all, the largest)}"""


class RecordPlan(NamedTuple):
    """How ``census_rows`` reads its records. Slots are the class's descriptors (``Record.obj``); what is None counts as
    empty."""

    kind: type
    held: Any
    """The slot of what it holds, its root."""
    queues: tuple[Any, Any]
    """The slots of its two lists of messages."""
    state: Any
    idle: int
    """What is in ``state`` of one that is idle (a small int)."""
    dead: int
    """And of one that is left out."""
    group: Any
    rank_of: Callable[[Any], int | None]
    """The rank, 0 to 7, of those with this ``group``; None: they are left out."""
    account: Any
    limit: tuple[str, ...]
    """Attributes that lead from what is in ``account`` to a number of bytes; None on the way: it has no limit."""
    rare: tuple[Any, ...]
    """Slots of which all must be empty for a record to be read as above; the others are told of:"""
    told: Callable[[Any], tuple[Sequence[object], Sequence[object], int, bool, int | None] | None]
    """(roots, mailbox, rank, idle, limit) of any record; None: it is left out."""


STATE, MAILBOX, AFTER_GC, SHARED = range(4)

_IMMORTAL: Final = 1 << 31 if sys.version_info >= (3, 12) else 0
_OURS: Final = 2  # the loop variable and the argument of getrefcount
_COUNTS: Final = sys.implementation.name == "cpython" and hasattr(sys, "getrefcount")
_NEVER: Final = (NoneType, bool, EllipsisType, NotImplementedType, CodeType)
_LEADING_NOWHERE: Final = (str, int, bytes, float, complex, bytearray)
_TYPE_SUBCLASS: Final = 1 << 31

_DEAD, _STOP, _OPENED, _SHARED, _CYCLE = 1, 2, 4, 8, 16

_getrefcount: Callable[[object], int] = getattr(sys, "getrefcount", lambda obj: _OURS + 2)


class _Registry:
    """What was registered for all walks."""

    stop_types: tuple[type, ...] = ()
    by_type: tuple[tuple[type, Adapter], ...] = ()
    by_name: tuple[tuple[bytes, Adapter], ...] = ()


class Followed:
    """What all walks have cost so far."""

    references = 0


class WalkOver(Exception):
    """The walk ends here: the limit or a cap is passed. ``observe`` may raise it too."""


class _Facts:
    """What is to be known of a type."""

    __slots__ = (
        "adapter",
        "is_container",
        "is_dict",
        "is_function",
        "is_plain_dict",
        "leads_nowhere",
        "never",
        "of",
        "size",
        "stop",
    )

    def __init__(self, cls: type) -> None:
        bases = mro_of(cls)
        self.never = cls in _NEVER or bool(flags_of(cls) & _TYPE_SUBCLASS) or ModuleType in bases
        self.stop = self.never or any(stop in bases for stop in _Registry.stop_types)
        self.is_function = cls is FunctionType
        self.is_dict = dict in bases
        self.is_plain_dict = cls is dict
        self.is_container = cls in (list, tuple, dict, set, frozenset, deque)
        self.size: Sizer = sizer_for(cls)
        self.adapter = None if self.never else _find_adapter(cls, bases)
        self.leads_nowhere = cls in _LEADING_NOWHERE and self.adapter is None and not self.stop
        key = id(cls)
        # Nothing here may refer to the type: it would live for ever.
        self.of = weakref.ref(cls, lambda _: _known.pop(key, None))
        _known[key] = self


_known: Final[dict[int, _Facts]] = {}
"""By the address of the type, for the hash of a type may be code of its metaclass."""


def _facts_of(cls: type) -> _Facts:
    return _known.get(id(cls)) or _Facts(cls)


def _find_adapter(cls: type, bases: tuple[type, ...]) -> Adapter | None:
    for registered, adapter in _Registry.by_type:
        if registered in bases:
            return adapter
    if _Registry.by_name:
        for base in mro_of(native_base(cls)):
            name = f"{base.__module__}.{base.__qualname__}".encode()
            for wanted, adapter in _Registry.by_name:
                if name == wanted:
                    return adapter
    return None


class _Entry:
    """An object that was met."""

    __slots__ = ("flags", "hidden", "left", "obj")

    def __init__(self, obj: object, left: int, flags: int) -> None:
        self.obj = obj
        self.left = left
        self.flags = flags
        self.hidden: tuple[int, list[object]] | None = None

    @property
    def hidden_bytes(self) -> int:
        return 0 if self.hidden is None else self.hidden[0]


Observer: TypeAlias = Callable[[object, int, int, object], None]
"""Told of each object that is counted: the object, its bytes, its group, and the object whose death let
it die (None for a root)."""


class PureWalk:
    """One walk. ``width`` bounds how many elements of one container are looked at."""

    bytes = 0
    objects = 0
    shared = 0
    after_gc = 0
    exact = EXACT
    _group = STATE
    _edges = 0
    _edge_cap = sys.maxsize

    def __init__(self, limit: int = -1, observe: Observer | None = None, width: int | None = None) -> None:
        self.limit = limit
        self._width = width
        self._observe = observe
        self._entries: dict[int, _Entry] = {}
        self._pending: list[_Entry] = []
        self._waiting: list[tuple[_Entry, object]] = []

    # --- First pass ---------------------------------------------------------------------------

    def drop(self, roots: Sequence[object], group: int = STATE) -> None:
        """Let the roots die, and all that only they hold."""
        self._group = group
        marked = []
        for root in roots:
            facts = _facts_of(type(root))
            if facts.never or _getrefcount(root) & _IMMORTAL:
                continue
            entry = self._entries.get(id(root))
            if entry is None:
                entry = self._entries[id(root)] = _Entry(root, 0, 0)
            if not entry.flags & _DEAD:
                entry.flags = _DEAD
                entry.left = 0
                marked.append(entry)
        for entry in marked:
            self._charge(entry, None)
            self._drain()

    def drop_references(self, edges: list[Any], parent: object, group: int = STATE) -> None:
        """Take references away that something holds which is no object, such as a frame: one for each
        occurrence in the list, which must be the only other one to hold them."""
        self._group = group
        self._release_edges(edges, parent)
        self._drain()

    def _drain(self) -> None:
        while self._pending or self._waiting:
            while self._pending:
                entry = self._pending.pop()
                self._release_edges(self._edges_of(entry), entry.obj)
            if self._waiting:
                # An adapter's answer holds references, so it is asked only now, and what it tells of is met at once.
                entry, parent = self._waiting.pop()
                self._ask_for(entry)
                self._count(entry.obj, _facts_of(type(entry.obj)).size(entry.obj) + entry.hidden_bytes, parent)
                self._pending.append(entry)

    def _charge(self, entry: _Entry, parent: object) -> None:
        facts = _facts_of(type(entry.obj))
        if facts.adapter is not None:
            self._waiting.append((entry, parent))
            return
        self._count(entry.obj, facts.size(entry.obj), parent)
        if not facts.leads_nowhere:
            self._pending.append(entry)

    def _count(self, obj: object, size: int, parent: object) -> None:
        self.bytes += size
        self.objects += 1
        if self._observe is not None:
            self._observe(obj, size, self._group, parent)
        if 0 <= self.limit < self.bytes:
            raise WalkOver

    def _ask_for(self, entry: _Entry) -> None:
        adapter = _facts_of(type(entry.obj)).adapter
        if adapter is not None:
            entry.hidden = self._ask(adapter, entry.obj)

    def _ask(self, adapter: Adapter, obj: object) -> tuple[int, list[object]]:
        try:
            size, referents = adapter(obj)
            # A list of our own: each reference in it is one edge.
            hidden = list(referents)
            if size < 0:
                raise ValueError(size)
        except Exception:
            self.exact = False
            return 0, []
        return block_bytes(size) if size else 0, hidden

    def _edges_of(self, entry: _Entry) -> list[Any]:
        """The objects that the entry's object owns a reference to, once for each reference."""
        obj: Any = entry.obj
        facts = _facts_of(type(obj))
        if self._width is not None and facts.is_container and len(obj) > self._width:
            return _first_elements(obj, self._width)
        edges = gc.get_referents(obj)
        if facts.is_function:
            # Closure, defaults and the dicts: never the globals or builtins.
            namespaces = (id(obj.__globals__), id(obj.__builtins__))
            edges = [edge for edge in edges if isinstance(edge, (dict, tuple)) and id(edge) not in namespaces]
        elif facts.is_dict:
            edges += dict_str_keys(obj)
        if entry.hidden is not None:
            edges += entry.hidden[1]
            if not entry.flags & _OPENED:
                # Only ``edges`` may hold them while they are met for the first time.
                entry.hidden[1].clear()
        return edges

    def _meet(self, child: Any, count: int, facts: _Facts) -> _Entry:
        """The new entry of an object with this many references."""
        entry = self._entries[id(child)] = _Entry(child, max(0, count - 1), 0)
        if entry.left and facts.is_plain_dict and is_namespace(child):
            entry.flags = _STOP
        return entry

    def _release_edges(self, edges: list[Any], parent: object) -> None:
        """Take the references of a dead object away from their targets."""
        if not edges:
            return
        Followed.references += len(edges)
        entries, known = self._entries, _known
        occurrences = _occurrences(edges)
        for child in edges:
            facts = known.get(id(type(child))) or _Facts(type(child))
            if facts.stop:
                continue
            entry = entries.get(id(child))
            if entry is None:
                count = _getrefcount(child)
                if count & _IMMORTAL:
                    continue
                if not _COUNTS:
                    count = _OURS + 2
                    occurrences = None
                count -= _OURS + (occurrences[id(child)] if occurrences else 1)
                if count <= 1 and facts.leads_nowhere:
                    self._count(child, facts.size(child), parent)
                    continue
                entry = self._meet(child, count, facts)
            elif entry.flags & (_DEAD | _STOP) or not entry.left:
                continue
            else:
                entry.left -= 1
            if not entry.left and not entry.flags & _STOP:
                entry.flags |= _DEAD
                self._charge(entry, parent)

    # --- Second pass --------------------------------------------------------------------------

    def find_cycles(self, edge_cap: int) -> None:
        """Tell the private cycles among the leftovers from what others hold."""
        self._edge_cap = edge_cap
        try:
            for entry in list(self._entries.values()):
                self._open(entry)
                while self._pending:
                    self._count_all(self._pending.pop())
        except WalkOver:
            self.exact = False
            return
        entries = list(self._entries.values())
        for entry in entries:
            if entry.left:
                self.shared += self._settle(entry, _SHARED, SHARED)
        for entry in entries:
            self.after_gc += self._settle(entry, _CYCLE, AFTER_GC)

    def _open(self, entry: _Entry) -> None:
        if entry.flags & (_DEAD | _STOP | _OPENED):
            return
        self._pending.append(entry)

    def _count_all(self, parent: _Entry) -> None:
        self._ask_for(parent)
        hidden = list(map(id, parent.hidden[1])) if parent.hidden is not None else None
        edges = self._edges_of(parent)
        parent.flags |= _OPENED
        Followed.references += len(edges)
        occurrences = _occurrences(edges)
        for child in edges:
            facts = _facts_of(type(child))
            if facts.stop:
                continue
            entry = self._entries.get(id(child))
            if entry is None:
                count = _getrefcount(child)
                if count & _IMMORTAL:
                    continue
                self._count_edge()
                count -= _OURS + (occurrences[id(child)] if occurrences else 1)
                self._open(self._meet(child, count, facts))
            else:
                self._count_edge()
                if entry.left and not entry.flags & (_DEAD | _STOP):
                    entry.left -= 1
        if parent.hidden is not None and hidden is not None:
            # Every one of them has its entry now, and may be held again.
            known = [self._entries[key].obj for key in hidden if key in self._entries]
            parent.hidden = (parent.hidden[0], known)

    def _count_edge(self) -> None:
        self._edges += 1
        if self._edges > self._edge_cap:
            raise WalkOver

    def _settle(self, entry: _Entry, mark: int, group: int) -> int:
        """Mark a leftover and all that it reaches; returns their bytes."""
        total = 0
        done = _DEAD | _STOP | _SHARED | _CYCLE
        pending = [entry]
        while pending:
            entry = pending.pop()
            if entry.flags & done:
                continue
            entry.flags |= mark
            size = _facts_of(type(entry.obj)).size(entry.obj) + entry.hidden_bytes
            total += size
            if self._observe is not None:
                self._observe(entry.obj, size, group, None)
            for child in self._edges_of(entry):
                known = self._entries.get(id(child))
                if known is not None and not known.flags & done:
                    pending.append(known)
        return total


def _first_elements(container: Any, width: int) -> list[object]:
    first = list(itertools.islice(container, width))
    return first + list(itertools.islice(container.values(), width)) if type(container) is dict else first


def _occurrences(edges: list[object]) -> Counter[int] | None:
    """How often each object is in the list, by its id; None if each is in it once."""
    if len(edges) < 2:
        return None
    keys = list(map(id, edges))
    return None if len(set(keys)) == len(keys) else Counter(keys)


# --- The interface of the C walk -----------------------------------------------------------------


def measure(
    roots: Sequence[object],
    mailbox: Sequence[object],
    frames: tuple[FrameType, ...],
    stacks: tuple[int, ...],
    limit: int,
    cycles: bool,
    edge_cap: int,
    record: int,
    /,
) -> Figures:
    """See ``walk.measure``. A negative ``limit`` is none. ``record``: 1 for a row for each object, ``BY_TYPE`` for the
    count and bytes of each type."""
    records: list[Record] | None = [] if record and record != BY_TYPE else None
    sums: dict[type, tuple[int, int]] = {}
    observer: Observer | None = None
    if record == BY_TYPE:

        def add(obj: object, size: int, group: int, parent: object) -> None:
            count, sum_ = sums.get(type(obj), (0, 0))
            sums[type(obj)] = count + 1, sum_ + size

        observer = add
    elif records is not None:
        append = records.append

        def note(obj: object, size: int, group: int, parent: object) -> None:
            append((id(obj), size, group))

        observer = note

    walk = PureWalk(limit, observer)
    state: int | None = None
    try:
        walk.drop(roots)
        state = walk.bytes
        walk.drop(mailbox, MAILBOX)
        if cycles:
            walk.find_cycles(edge_cap)
    except WalkOver:
        walk.exact = False
        if state is None:
            state = walk.bytes
    exact = walk.exact and not frames
    told = sums if record == BY_TYPE else records
    return state, walk.bytes - state, walk.objects, walk.after_gc, walk.shared, exact, told


def census(actors: Sequence[tuple[Sequence[object], Sequence[object]]], /) -> list[int]:
    """See ``walk.census``."""
    result = []
    for roots, mailbox in actors:
        walk = PureWalk()
        walk.drop(roots)
        walk.drop(mailbox, MAILBOX)
        result.append(walk.bytes)
    return result


def census_rows(records: Sequence[object], plan: RecordPlan, best: int | None, floor: int, /) -> CensusGroups:
    """See ``walk.census_rows``. Every record is told of by the plan's function."""
    groups: dict[tuple[int, bool, bool], list[CensusRow]] = {}
    for record in records:
        told = plan.told(record)
        if told is None:
            continue
        roots, mailbox, rank, idle, limit = told
        walk = PureWalk()
        walk.drop(roots)
        walk.drop(mailbox, MAILBOX)
        size = walk.bytes
        if size:
            over = size / limit if limit else None
            groups.setdefault((rank, idle, bool(limit)), []).append((record, rank, idle, over, size))
    return {
        key: (_best_of(rows, best, floor), len(rows), sum(row[4] for row in rows), max(rows, key=itemgetter(4)))
        for key, rows in groups.items()
    }


def _best_of(rows: list[CensusRow], best: int | None, floor: int) -> list[CensusRow]:
    """Those that rank first, of the large and of the small, in their old order; of those alike the earlier ones."""
    if best is None or best >= len(rows):
        return rows
    order = sorted(range(len(rows)), key=lambda at: (rows[at][3] or 0.0, rows[at][4]), reverse=True)
    large = [at for at in order if rows[at][4] >= floor]
    small = [at for at in order if rows[at][4] < floor]
    return [rows[at] for at in sorted(large[:best] + small[:best])]


def size_of(*objects: object) -> int:
    """See ``walk.size_of``."""
    total = 0
    for obj in objects:
        facts = _facts_of(type(obj))
        if facts.leads_nowhere:
            if not _getrefcount(obj) & _IMMORTAL:
                total += facts.size(obj)
        elif not facts.never:
            break
    else:
        if len(objects) < 2 or len(set(map(id, objects))) == len(objects):
            return total
    walk = PureWalk()
    walk.drop(objects)
    return walk.bytes


def register(
    stop_types: tuple[type, ...],
    adapters_by_type: tuple[tuple[type, Adapter], ...],
    adapters_by_name: tuple[tuple[bytes, Adapter], ...],
    /,
) -> None:
    """Replace what is registered."""
    _Registry.stop_types = stop_types
    _Registry.by_type = adapters_by_type
    _Registry.by_name = adapters_by_name
    _known.clear()
