"""The door to the walk, which says how much memory some objects hold: in C where the extension was
built, otherwise in Python.

**Roots count as dropped.** Their own reference counts are ignored, and other references to them do
not matter; so a prediction comes true only if the roots are really emptied at death. Everything
else counts only if nothing but the roots holds it. To have an object judged by its count, give what
holds it: when a message may have gone to several actors, give the list of the mailbox, not the
messages in it.

**Where the walk stops.** At modules, types, code, None and its like, immortal objects, module
namespaces, and at instances of the types registered with ``stop_at``: these never count. It looks
through functions (closure, defaults, attributes, annotations), bound methods, partials, cells, and
suspended generators and coroutines. A weak reference does not lead to its referent. A root may be
an instance of a registered type: the walk does not stop at roots. A root that is a module, a type,
code or immortal counts as nothing.

**Two implementations.** ``IMPLEMENTATION`` says which one is in force. ``ACTORKIT_PURE=1`` in the
environment forces the one in Python, and so does the lack of the extension. On interpreters whose
reference counts say nothing about ownership the figures are estimates, and ``exact`` is False.

Nothing is allocated per actor, and only a small buffer is kept between walks. The C walk holds the
GIL from its beginning to its end: give a limit when there may be many objects.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from . import clock
from .extensions import why_not
from .interpreter.stack_depth import stacks_of
from .python import adapters as shipped
from .python import clock as portable_clock
from .python import walk as pure_walk
from .python.passes import Followed
from .python.type_facts import Adapter
from .record_plan import CensusFound, CensusGroups, RecordPlan
from .usage import HeapUsage

__all__ = [
    "IMPLEMENTATION",
    "CensusFound",
    "CensusGroups",
    "RecordPlan",
    "adapter",
    "census",
    "census_found",
    "census_rows",
    "measure",
    "passes_made",
    "references_followed",
    "size_of",
    "stop_at",
    "types_of",
]

FOREIGN_CAP: Final = 4096
"""So many containers of others are looked into in the own pass, unless something else is said."""
TOLD: Final = 4096
"""Less than this may be unseen without a word."""

T = TypeVar("T")

IMPLEMENTATION: Literal["c", "python"] = "python" if why_not("_walk", pure_walk.__all__) else "c"
"""Which walk is in force."""

if TYPE_CHECKING or IMPLEMENTATION == "c":
    from .c import _walk as _in_force
else:
    _in_force = pure_walk

_lock = threading.Lock()
_stop_types: tuple[type, ...] = ()
_adapters: dict[type, Adapter] = {}


def _register() -> None:
    by_name = tuple((name.encode(), function) for name, function in shipped.ADAPTERS.items())
    for walk in (_in_force, pure_walk):
        walk.register(_stop_types, tuple(_adapters.items()), by_name)


_register()


def _listed(roots: Sequence[object]) -> Sequence[object]:
    return roots if type(roots) in (tuple, list) else list(roots)


def measure(
    roots: Sequence[object],
    mailbox: Sequence[object] = (),
    *,
    frames: Sequence[FrameType] = (),
    limit: int | None = None,
    cycles: bool = False,
    edge_cap: int = 1_000_000,
    account: clock.Account | None = None,
    foreign_cap: int = FOREIGN_CAP,
) -> HeapUsage:
    """Measure what the roots hold, and what the mailbox holds besides.

    Args:
        roots: what is dropped first.
        mailbox: what is dropped after that.
        frames: running frames whose local variables are roots too. A suspended coroutine needs no
            frame: it is a root itself. For one that runs, give its frames, from the innermost
            outwards. The first must be one that a pending call interrupted, or one that called
            Python code, but never one that a finalizer interrupted. The value stack counts too (the
            list that a ``for`` iterates over). Further down, only the locals of frames that called
            Python code through C are certain: what is held by nothing but their value stack is not
            seen, and ``exact`` is False. References of C code are never seen: a list looks shared
            while C iterates over it, and an instance while C initializes it.
        limit: end as soon as private + mailbox is more; then ``exact`` is False. What is counted
            until then is certainly private, so more than the limit is a proof.
        cycles: make the own pass without its cap, for ``after_gc`` and ``shared``. It also
            traverses all that is shared, so it is for one actor at a time, on request.
        edge_cap: end that pass after so many references; both figures are 0 then.
        account: of the actor whose these are. If it has more in use than was found (by an eighth of
            the limit, or without a limit at all events), and containers were met that something
            else seems to hold, the own pass follows, for ``after_gc``:
            private cycles among what the actor has allocated itself. What it costs depends on the
            actor, not on what it shares with others.
        foreign_cap: so many containers at most that are not on the account's own pages are looked
            into in the own pass.

    Raises MemoryError if there is no memory for the walk itself.
    """
    if limit is not None and limit < 0:
        raise ValueError("a limit is a number of bytes, 0 or more")
    figures = _figures(roots, mailbox, frames, limit, cycles, edge_cap, account, foreign_cap, 0)
    private, received, objects, after_gc, shared, exact, elsewhere, surplus, capped, _ = figures
    held = private + received + after_gc
    if account is None:
        return HeapUsage(private, shared, received, objects, exact and not capped, after_gc)
    in_use = account.own_live + account.large_live
    if not in_use:
        exact = exact and not capped
    if not in_use or IMPLEMENTATION == "python":
        elsewhere = max(0, held - in_use)
    unseen = in_use - (held - elsewhere + surplus)
    if unseen <= TOLD or (limit is not None and private + received > limit):
        unseen = 0
    return HeapUsage(private, shared, received, objects, exact and not unseen, after_gc, unseen, elsewhere)


def types_of(
    roots: Sequence[object],
    mailbox: Sequence[object] = (),
    *,
    frames: Sequence[FrameType] = (),
    limit: int | None = None,
    account: clock.Account | None = None,
    foreign_cap: int = 64 * FOREIGN_CAP,
) -> dict[type, tuple[int, int]]:
    """How many objects of each type ``measure`` counts, and their bytes; with a ``limit``, up to
    it. With an ``account`` private cycles are included."""
    figures = _figures(roots, mailbox, frames, limit, False, 0, account, foreign_cap, pure_walk.BY_TYPE)
    sums = figures[-1]
    return sums if isinstance(sums, dict) else {}


def _figures(
    roots: Sequence[object],
    mailbox: Sequence[object],
    frames: Sequence[FrameType],
    limit: int | None,
    cycles: bool,
    edge_cap: int,
    account: clock.Account | None,
    foreign_cap: int,
    record: int,
) -> pure_walk.Figures:
    given = tuple(frames)
    enough = 0
    if account is not None:
        # If the first pass finds so much, there is nothing for the own pass to find.
        knows = limit is not None and clock.COUNTS_ALLOCATIONS
        enough = account.held_at_most - max((limit or 0) // 8, TOLD) if knows else sys.maxsize
    return _in_force.measure(
        _listed(roots),
        _listed(mailbox),
        given,
        stacks_of(given),
        -1 if limit is None else limit,
        cycles,
        edge_cap,
        record,
        account,
        enough,
        foreign_cap,
    )


def census(actors: Sequence[tuple[Sequence[object], Sequence[object]]]) -> list[int]:
    """Private + mailbox of each actor: a pair (roots, mailbox) of tuples or lists. What two actors
    share counts for neither."""
    return _in_force.census(actors)


def census_found(records: Sequence[object], plan: RecordPlan) -> CensusFound:
    """The census of records: what each would free if it alone died. In C, records are read as for
    ``census_rows``.

    It makes the first pass only. Those that may hold much more by their account's ``held_at_most``
    (64 KiB and a quarter more, at least) are named as suspects, if something was reached behind
    which it may lie.
    """
    return CensusFound.of(_in_force.census_found(records, plan))


def census_rows(
    records: Sequence[object],
    plan: RecordPlan,
    best: int | None = None,
    floor: int = 0,
    *,
    cycles: dict[Any, tuple[int, int]] | None = None,
    suspects: list[tuple[int, int]] | None = None,
) -> CensusGroups:
    """A census for ranking: a row (record, rank, idle, bytes / limit or None, bytes) for each
    record that holds something and is not left out, in groups, with the count, the sum and the
    largest row of each. In C, records are read as the ``plan`` says without a call of Python,
    except those that have something in a rare slot.

    Args:
        best: at most so many rows of a group with at least ``floor`` bytes, and as many with less:
            those most over their limits, or the largest where there is no limit. Counts and sums
            cover all records. None: all rows.
        floor: see ``best``.
        cycles: what is known of the private cycles of some records: (bytes, the part of all that
            was found that no account counts). They count as far as their accounts say that so much
            may be in use.
        suspects: gets the suspects, as of ``census_found``, beyond ``cycles``.
    """
    return _in_force.census_rows(records, plan, best, floor, cycles, suspects)


passes_made = _in_force.passes_made
"""``passes_made() -> (first, own)``: how often ``measure`` has made the first pass and the own pass
so far, for tests and benches. A census is not counted."""

# Called for each message, so nothing stands in between.
size_of = _in_force.size_of
"""``size_of(*objects) -> int``: the bytes that the receiver of the objects will own if the sender
drops them right after. References that the sender still has to the objects themselves do not
matter."""


def references_followed() -> int:
    """How many references all walks in Python have followed so far, as a measure of their cost. The
    C walk, which is a hundred times cheaper, is not counted."""
    return Followed.references


def size_messages() -> None:
    """Let both clocks size messages as ``size_of`` does. Done at import."""
    in_c = IMPLEMENTATION == "c" and clock.COUNTS_ALLOCATIONS
    clock.size_with(_in_force._message_bound if in_c else size_of)
    portable_clock.size_with(size_of)


size_messages()


def stop_at(*types: type) -> None:
    """Never count instances of these types or of their subclasses, nor what only they hold.
    Process-wide; for handles and for what belongs to the runtime. Roots are exempt."""
    global _stop_types
    with _lock:
        _stop_types += tuple(cls for cls in dict.fromkeys(types) if cls not in _stop_types)
        _register()


def adapter(cls: type[T], function: Any) -> None:
    """Register what the instances of ``cls`` and its subclasses hold without showing it to a
    traversal.

    ``function(obj)`` returns ``(bytes, referents)``: the bytes that are freed with ``obj`` besides
    its own block, and the objects to which it owns a hidden reference, once for each reference. It
    must not create the referents. It is called in the middle of a walk, at a moment when everything
    that the walk holds is safe. If it raises an Exception, the hidden memory of that object is left
    out and the walk is not exact; other exceptions end the walk.

    Process-wide. A second registration replaces the first, and those that actorkit ships.
    """
    with _lock:
        _adapters[cls] = function
        _register()
