"""The two passes of the walk in pure Python: the same objects and the same bytes as in C, some
hundred times slower.

``heap/c/_walk.c`` tells the algorithm: the free is simulated with virtual reference counts, and the
own pass, on request, finds private cycles. These are the differences:

- Looking adds references. A count is read once, when an object is met for the first time, at a
  moment when exactly these references are ours: the loop variable, the argument of ``getrefcount``,
  and the object's occurrences in the one list of referents that is being worked off. From then on
  the object has an entry and its count is never read again, so the entry may hold it.
- Everything goes through the table, except an object with one reference that leads nowhere: no
  other edge can meet it.
- Other threads may run in the middle, and they may change what is walked: then the figures are
  those of no single moment. The C walk cannot be interrupted.
- Nobody's pages are known, so in the own pass everything counts as foreign. The result is the same
  up to the cap, and rarely exact beyond it.
- The slots of running frames cannot be read without leaving traces (``f_locals`` makes a snapshot
  that keeps objects alive), so frames and their value stacks are left out, with ``exact=False``.

On an interpreter whose reference counts say nothing (PyPy, free-threaded builds) the result is an
estimate: everything that is reached counts as private, and ``exact`` is False. The types to stop at
keep it from being the whole program.
"""

from __future__ import annotations

import gc
import itertools
import sys
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from ..interpreter.memory import HAS_COUNTS, IMMORTAL
from .blocks import EXACT, block_bytes, dict_str_keys, is_namespace
from .type_facts import Adapter, TypeFacts, facts_of, known_facts

__all__ = ["AFTER_GC", "MAILBOX", "STATE", "Followed", "Observer", "PureWalk", "WalkOver", "getrefcount"]

STATE, MAILBOX, AFTER_GC, SHARED = range(4)
"""The groups of objects that are counted."""

_OURS: Final = 2  # the loop variable and the argument of getrefcount

FOREIGN_EDGES: Final = 16
"""So many references for each container under the cap lead out of foreign ones at most."""
SAMPLES: Final = 16
_DEAD, _STOP, _OPENED, _SHARED, _CYCLE = 1, 2, 4, 8, 16

getrefcount: Callable[[object], int] = getattr(sys, "getrefcount", lambda obj: _OURS + 2)


class Followed:
    """What all walks in Python have cost so far."""

    references = 0
    first_passes = 0
    own_passes = 0


class WalkOver(Exception):
    """The walk ends here: the limit or a cap is passed. ``observe`` may raise it too."""


class _Entry:
    """An object that was met, and what is left of its reference count."""

    __slots__ = ("flags", "hidden", "left", "obj", "parent")

    def __init__(self, obj: object, left: int, flags: int, parent: object = None) -> None:
        self.obj = obj
        self.left = left
        self.flags = flags
        self.parent = parent  # the dead object over which it was reached first
        self.hidden: tuple[int, list[object]] | None = None

    @property
    def hidden_bytes(self) -> int:
        return 0 if self.hidden is None else self.hidden[0]


Observer: TypeAlias = Callable[[object, int, int, object], None]
"""Called for each object that is counted: the object, its bytes, its group, and the object whose
death let it die, or over which it was reached in the own pass (None for a root)."""


class PureWalk:
    """One walk. ``width`` bounds how many elements of a container are visited."""

    bytes = 0
    objects = 0
    shared = 0
    after_gc = 0
    exact = EXACT
    capped = False
    _group = STATE
    _edges = 0
    _edge_cap = sys.maxsize
    _foreign_cap: int | None = None
    _foreign_entered = 0
    _foreign_edges = 0

    def __init__(self, limit: int = -1, observe: Observer | None = None, width: int | None = None) -> None:
        self.limit = limit
        self._width = width
        self._observe = observe
        self._entries: dict[int, _Entry] = {}
        self._pending: list[_Entry] = []
        self._waiting: list[tuple[_Entry, object]] = []
        self._foreign: deque[_Entry] = deque()

    # --- First pass ---------------------------------------------------------------------------

    def drop(self, roots: Sequence[object], group: int = STATE) -> None:
        """Let the roots die, and everything that only they hold."""
        self._group = group
        marked = []
        for root in roots:
            facts = facts_of(type(root))
            if facts.never or getrefcount(root) & IMMORTAL:
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

    def _drain(self) -> None:
        while self._pending or self._waiting:
            while self._pending:
                entry = self._pending.pop()
                self._release_edges(self._edges_of(entry), entry.obj)
            if self._waiting:
                # An adapter's answer holds references, so adapters are asked only now, and what one
                # tells of is met at once.
                entry, parent = self._waiting.pop()
                self._ask_for(entry)
                self._count(entry.obj, facts_of(type(entry.obj)).size(entry.obj) + entry.hidden_bytes, parent)
                self._pending.append(entry)

    def _charge(self, entry: _Entry, parent: object) -> None:
        facts = facts_of(type(entry.obj))
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
        adapter = facts_of(type(entry.obj)).adapter
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
        """The objects to which the object of the entry owns a reference, once for each
        reference."""
        obj: Any = entry.obj
        facts = facts_of(type(obj))
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

    def _meet(self, child: Any, count: int, facts: TypeFacts, parent: object = None) -> _Entry:
        """Make the entry of an object that has so many references."""
        entry = self._entries[id(child)] = _Entry(child, max(0, count - 1), 0, parent)
        if entry.left and facts.is_plain_dict and is_namespace(child):
            entry.flags = _STOP
        return entry

    def _release_edges(self, edges: list[Any], parent: object) -> None:
        """Take the references of a dead object away from their targets."""
        if not edges:
            return
        Followed.references += len(edges)
        entries, known = self._entries, known_facts
        occurrences = _occurrences(edges)
        for child in edges:
            facts = known.get(id(type(child))) or TypeFacts(type(child))
            if facts.stop:
                continue
            entry = entries.get(id(child))
            if entry is None:
                count = getrefcount(child)
                if count & IMMORTAL:
                    continue
                if not HAS_COUNTS:
                    count = _OURS + 2
                    occurrences = None
                count -= _OURS + (occurrences[id(child)] if occurrences else 1)
                if count <= 1 and facts.leads_nowhere:
                    self._count(child, facts.size(child), parent)
                    continue
                entry = self._meet(child, count, facts, parent)
            elif entry.flags & (_DEAD | _STOP) or not entry.left:
                continue
            else:
                entry.left -= 1
            if not entry.left and not entry.flags & _STOP:
                entry.flags |= _DEAD
                self._charge(entry, parent)

    # --- Own pass -----------------------------------------------------------------------------

    def find_cycles(self, edge_cap: int, foreign_cap: int | None = None) -> None:
        """Tell the private cycles among the leftovers from what others hold. No object is known to
        be its own here, so all count for ``foreign_cap``; without it, all are opened."""
        self._edge_cap, self._foreign_cap = edge_cap, foreign_cap
        try:
            for entry in list(self._entries.values()):
                self._meet_leftover(entry)
                self._open_pending()
            self._open_foreign()
        except WalkOver:
            self.exact = False
            return
        entries = list(self._entries.values())
        for entry in entries:
            if not entry.flags & (_DEAD | _STOP | _OPENED):
                entry.flags |= _SHARED  # what it holds was not counted, so that is held anyway
            elif entry.left:
                self.shared += self._settle(entry, _SHARED, SHARED)
        if foreign_cap is not None:
            self.shared = 0
        for entry in entries:
            self.after_gc += self._settle(entry, _CYCLE, AFTER_GC)

    def leftovers(self) -> list[object]:
        """The containers that were reached and did not die: cycles hide there, and shared data lie
        there."""
        entries = self._entries.values()
        return [
            entry.obj
            for entry in entries
            if not entry.flags & (_DEAD | _STOP) and not facts_of(type(entry.obj)).is_leaf
        ]

    def is_shared(self, obj: object) -> bool:
        """After the own pass: was it not found to be private?"""
        return bool(self._entries[id(obj)].flags & _SHARED)

    def _meet_leftover(self, entry: _Entry) -> None:
        """An object is met that is not opened: open it, put it off, or leave it."""
        if entry.flags & (_DEAD | _STOP | _OPENED):
            return
        if self._foreign_cap is None:
            self._pending.append(entry)
        elif facts_of(type(entry.obj)).is_leaf:
            entry.flags |= _OPENED
        elif self._foreign_entered >= self._foreign_cap:
            self.capped = True
        else:
            self._foreign_entered += 1
            self._foreign.append(entry)

    def _open_pending(self) -> None:
        while self._pending:
            self._count_all(self._pending.pop())

    def _open_foreign(self) -> None:
        """Open what was put off: at any time first what is explained. Each of the others gets a
        part of the cap, and is followed into the depth; what is left of them comes last."""
        stack: list[_Entry] = []
        self._open_explained(stack)
        first = list(stack)
        stack.clear()
        for entry in first:
            base, until = len(stack), self._foreign_entered + (self._foreign_cap or 0) // 4
            stack.append(entry)
            while len(stack) > base and (self._foreign_entered < until or stack[-1] is entry):
                self._open_one(stack.pop())
                self._open_explained(stack)
        while stack:
            self._open_one(stack.pop())
            self._open_explained(stack)

    def _open_explained(self, stack: list[_Entry]) -> None:
        while self._foreign:
            entry = self._foreign.popleft()
            if entry.left:
                stack.append(entry)
            else:
                self._open_one(entry)

    def _open_one(self, entry: _Entry) -> None:
        cap = self._foreign_cap or 0
        room = 0 if entry.left else cap - self._foreign_entered
        if self._foreign_edges >= cap * FOREIGN_EDGES or _is_others_table(entry.obj, cap, room):
            self.capped = True
        else:
            self._foreign_edges += 1 + self._count_all(entry)

    def _count_all(self, parent: _Entry) -> int:
        """Open an object. Returns how many references leave it."""
        self._ask_for(parent)
        hidden = list(map(id, parent.hidden[1])) if parent.hidden is not None else None
        edges = self._edges_of(parent)
        parent.flags |= _OPENED
        Followed.references += len(edges)
        occurrences = _occurrences(edges)
        for child in edges:
            facts = facts_of(type(child))
            if facts.stop:
                continue
            entry = self._entries.get(id(child))
            if entry is None:
                count = getrefcount(child)
                if count & IMMORTAL:
                    continue
                self._count_edge()
                if self._foreign_cap is not None and self._foreign_entered >= self._foreign_cap and not facts.is_leaf:
                    self.capped = True
                    continue
                count -= _OURS + (occurrences[id(child)] if occurrences else 1)
                self._meet_leftover(self._meet(child, count, facts))
            else:
                self._count_edge()
                if entry.left and not entry.flags & (_DEAD | _STOP):
                    entry.left -= 1
        if parent.hidden is not None and hidden is not None:
            # Every one of them has its entry now, and may be held again.
            known = [self._entries[key].obj for key in hidden if key in self._entries]
            parent.hidden = (parent.hidden[0], known)
        return len(edges)

    def _count_edge(self) -> None:
        self._edges += 1
        if self._edges > self._edge_cap:
            raise WalkOver

    def _settle(self, entry: _Entry, mark: int, group: int) -> int:
        """Mark a leftover and everything that it reaches. Returns their bytes."""
        total = 0
        done = _DEAD | _STOP | _SHARED | _CYCLE
        pending = [(entry, entry.parent)]
        while pending:
            entry, parent = pending.pop()
            if entry.flags & done:
                continue
            entry.flags |= mark
            if not entry.flags & _OPENED:
                continue
            size = facts_of(type(entry.obj)).size(entry.obj) + entry.hidden_bytes
            total += size
            if self._observe is not None and (group == AFTER_GC or self._foreign_cap is None):
                self._observe(entry.obj, size, group, parent)
            for child in self._edges_of(entry):
                known = self._entries.get(id(child))
                if known is not None and not known.flags & done:
                    pending.append((known, entry.obj))
        return total


def _is_others_table(obj: Any, cap: int, room: int) -> bool:
    """Is this a long container of other containers? Then it is a table of somebody else's. A few
    elements are asked, unless there is room for all."""
    if not isinstance(obj, (list, tuple, dict, set, frozenset)) or len(obj) <= max(cap // 8, room):
        return False
    if isinstance(obj, (set, frozenset)) or len(obj) > cap * FOREIGN_EDGES:
        return True
    elements = list(dict.values(obj)) if isinstance(obj, dict) else obj
    asked = [elements[number * (len(elements) - 1) // (SAMPLES - 1)] for number in range(SAMPLES)]
    return 2 * sum(not facts_of(type(element)).is_leaf for element in asked) > SAMPLES


def _first_elements(container: Any, width: int) -> list[object]:
    first = list(itertools.islice(container, width))
    return first + list(itertools.islice(container.values(), width)) if type(container) is dict else first


def _occurrences(edges: list[object]) -> Counter[int] | None:
    """How often each object is in the list, by its id; None if each is in it once."""
    if len(edges) < 2:
        return None
    keys = list(map(id, edges))
    return None if len(set(keys)) == len(keys) else Counter(keys)
