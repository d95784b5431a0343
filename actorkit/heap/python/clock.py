"""The clock without the extension: the same names, but allocations are not counted.

``bytes`` grows only by ``charge``: by what an actor receives. So there is no alarm within a message
and no refusal, and budgets are checked at the boundaries between messages. The thresholds are kept,
so that the same code works with both clocks.

Looking now and then finds what an actor allocates by itself: its account is due after a number of
activations. A look is a walk in Python, thousands of times as expensive as an activation if the
actor holds much. So the number follows from the cost of the last look: ``PER_REFERENCE``
activations for each reference that it followed, as if it had followed ``OF_A_LOOK`` more. That
keeps looks to about a twentieth of the time that activations take, whatever the actor holds. No
time is read: the same messages lead to the same looks.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from operator import attrgetter, index
from typing import Any, Final, TypeVar, final

__all__ = [
    "COUNTS_ALLOCATIONS",
    "ENVELOPE",
    "REARM_STEP",
    "REFUSABLE",
    "Account",
    "can_interrupt",
    "collect_own",
    "current",
    "deliver_to",
    "enter",
    "guard_imports",
    "heap_statistics",
    "install",
    "installed",
    "others_in",
    "keeps_ledgers",
    "never_refuse",
    "nobodys",
    "own_heaps",
    "purge",
    "pymalloc_report",
    "reinstall",
    "size_with",
    "switch",
    "uninstall",
    "verify",
]

COUNTS_ALLOCATIONS: Final[bool] = False
"""Are allocations counted as they happen? This tells the two clocks apart."""
ENVELOPE: Final[int] = 96
"""Bytes of a message's own tuple and its place in a queue."""
REFUSABLE: Final[int] = 64 * 1024
"""Requests smaller than this are never refused."""
REARM_STEP: Final[int] = 64 * 1024
"""Bytes between two alarms that change nothing."""

FIRST_LOOK: Final = 16
"""A new account is due after so many activations: nothing else shows what it has allocated."""
PER_REFERENCE: Final = 4
"""Activations until the next look for each reference that the last one followed."""
OF_A_LOOK: Final = 32
"""The fixed cost of a look, as a number of references."""

LARGEST: Final = 2**63 - 1

F = TypeVar("F", bound=Callable[..., Any])


def _size(value: int, name: str) -> int:
    number = index(value)
    if number < 0:
        raise ValueError(f"{name} must not be negative, but is {number}")
    if number > LARGEST:
        raise OverflowError(f"{name} does not fit into 64 bits: {number}")
    return number


@final
class Account:
    """What one actor has been charged with, and the thresholds that apply to it."""

    __slots__ = (
        "__weakref__",
        "_activation",
        "_due",
        "_elsewhere",
        "_giant",
        "_hard",
        "_limit",
        "_look_at",
        "_origin",
        "_soft",
        "_total",
        "bound",
        "foreign_due",
        "measured",
        "owner",
        "verdict",
    )

    def __init__(self, owner: object | None = None) -> None:
        self.owner: object | None = owner
        """Whose account this is; the clock does not use it."""
        self.bound = sys.maxsize
        """accept() leaves messages to its caller when so many are waiting."""
        self.foreign_due = False
        """See the extension. Never set here: each look looks into the objects of others anyway."""
        self.measured = False
        """receive() leaves every message to its caller, which measures it, shared parts too."""
        self.verdict: object | None = None
        """Set by the judge of the budget; it stands until it is cleared."""
        self._total = self._origin = self._soft = self._hard = self._giant = self._activation = 0
        self._elsewhere = self._limit = 0
        self._look_at = FIRST_LOOK
        self._due = False

    @property
    def bytes(self) -> int:
        """Bytes charged since the last reset."""
        return self._total - self._origin

    @bytes.setter
    def bytes(self, value: int) -> None:
        self._origin = self._total - _size(value, "bytes")

    @property
    def total(self) -> int:
        """Bytes charged since the account was made."""
        return self._total

    @property
    def due(self) -> bool:
        """Has bytes reached soft since the last reset?"""
        return self._due

    @property
    def live(self) -> int | None:
        """None: it has no heap of its own."""
        return None

    @property
    def own_live(self) -> int:
        """0: it has no heap of its own."""
        return 0

    @property
    def large_live(self) -> int:
        """0: there are no ledgers."""
        return 0

    @property
    def elsewhere(self) -> int:
        """What the last exact look has found, and what was charged since then."""
        return self._elsewhere

    @property
    def held_at_most(self) -> int:
        """A bound of what it has received and may still hold: the same as ``elsewhere``."""
        return self._elsewhere

    @property
    def resident(self) -> int | None:
        """None: it has no heap of its own."""
        return None

    @property
    def own_heap(self) -> bool:
        """False: that needs the extension."""
        return False

    @own_heap.setter
    def own_heap(self, value: bool) -> None:
        """Changes nothing."""

    def settle(self, held: int, /) -> None:
        """A look has found that it holds so many bytes. Nothing follows from that here."""
        _size(held, "what is held")

    @property
    def soft(self) -> int:
        """The account is due when bytes has reached this; 0 for never."""
        return self._soft

    @soft.setter
    def soft(self, value: int) -> None:
        self._soft = _size(value, "a threshold")

    @property
    def limit(self) -> int:
        """While held_at_most is no more than this, soft moves on by itself when it is reached; 0
        for none."""
        return self._limit

    @limit.setter
    def limit(self, value: int) -> None:
        self._limit = _size(value, "a threshold")

    @property
    def hard(self) -> int:
        """Kept, not enforced: nothing is refused without the extension."""
        return self._hard

    @hard.setter
    def hard(self, value: int) -> None:
        self._hard = _size(value, "a threshold")

    @property
    def giant(self) -> int:
        """Kept, not enforced: nothing is refused without the extension."""
        return self._giant

    @giant.setter
    def giant(self, value: int) -> None:
        self._giant = _size(value, "a threshold")

    @property
    def peak_request(self) -> int:
        """0: requests are not seen."""
        return 0

    @property
    def refused(self) -> int:
        """0: nothing is refused."""
        return 0

    @property
    def last_refused(self) -> int:
        """0: nothing is refused."""
        return 0

    @property
    def activation(self) -> int:
        """How often the account was entered."""
        return self._activation

    def reset(self, bytes: int = 0, elsewhere: int | None = None) -> None:
        """Begin anew: ``bytes`` is this number, and the account is no longer due. The thresholds
        stay. After an exact look, ``elsewhere`` is all that it has found; None: it was not
        exact."""
        if elsewhere is not None:
            self._elsewhere = _size(elsewhere, "elsewhere")
        self._origin = self._total - _size(bytes, "bytes")
        self._due = False

    def _keeps_limit(self) -> bool:
        """Has it certainly received no more than it may hold? Then soft moves on."""
        if not self._limit or self.verdict is not None or self._elsewhere > self._limit:
            return False
        self._soft = self.bytes + self._limit - self._elsewhere + 1
        return True

    def _has_room(self, number: int) -> bool:
        return not self._soft or self.bytes + number < self._soft

    def charge(self, n: int, /) -> None:
        """Add bytes that others have allocated for the account: a message that its actor
        receives."""
        size = _size(n, "a charge")
        self._total += size
        self._elsewhere += size
        if not (self._has_room(0) or self._keeps_limit()):
            self._due = True

    def fits(self, n: int, /) -> bool:
        """Charge ``n`` bytes if that leaves ``bytes`` below ``soft``, and say whether it did."""
        size = _size(n, "a charge")
        if not (self._has_room(size) or (self._keeps_limit() and self._has_room(size))):
            return False
        self._total += size
        self._elsewhere += size
        return True

    def receive(self, arguments: tuple[object, ...], /) -> bool:
        """Charge the account with a message of these arguments if that leaves ``bytes`` below
        ``soft``, and say whether it did. The charge is their size if all others let go of them, and
        ENVELOPE. False at once if ``measured`` is set."""
        if type(arguments) is not tuple:
            raise TypeError(f"the arguments must be a tuple, not {type(arguments).__name__}")
        if self.measured:
            return False
        return self.fits(_Sizing.sizer(*arguments) + ENVELOPE)

    def accept(self, record: Any, function: object, arguments: tuple[object, ...], /) -> bool | None:
        """As ``receive``, and append the message (function, arguments, None) to the record's inbox,
        if fewer than ``bound`` messages wait there and in its outbox (see ``deliver_to``). True: it
        is behind others. None: it is in an inbox made for it, since there was none. False: nothing
        was charged or queued."""
        if type(arguments) is not tuple:
            raise TypeError(f"the arguments must be a tuple, not {type(arguments).__name__}")
        if self.measured:
            return False
        size = _Sizing.sizer(*arguments) + ENVELOPE
        inbox, outbox = _Delivery.queues_of(record)  # only now: sizing may have run Python code
        if (
            record.account is not self
            or not (inbox is None or type(inbox) is list)
            or len(inbox or ()) + len(outbox or ()) >= self.bound
            or not self.fits(size)
        ):
            return False
        if inbox is None:
            setattr(record, _Delivery.inbox, [(function, arguments, None)])
            return None
        inbox.append((function, arguments, None))
        return True


def _no_queues(record: Any) -> tuple[Any, Any]:
    return False, None  # not a list, so nothing is delivered


class _Delivery:
    """Where ``accept`` delivers to."""

    inbox = ""
    queues_of: Callable[[Any], tuple[Any, Any]] = staticmethod(_no_queues)


def deliver_to(inbox: str, outbox: str, /) -> None:
    """Let ``accept`` deliver to the attributes of these names: the queue that senders append to,
    and the queue that the actor takes from."""
    _Delivery.inbox = inbox
    _Delivery.queues_of = staticmethod(attrgetter(inbox, outbox))


def _no_sizer(*objects: object) -> int:
    raise RuntimeError("nothing can size messages yet: import actorkit.heap.walk")


class _Sizing:
    sizer: Callable[..., int] = staticmethod(_no_sizer)


def size_with(sizer: Callable[..., int], /) -> None:
    """Let ``receive`` size messages with this function of the objects."""
    if not callable(sizer):
        raise TypeError(f"the sizer must be callable, not {type(sizer).__name__}")
    _Sizing.sizer = staticmethod(sizer)


class _Entered(threading.local):
    account: Account | None = None


_entered: Final = _Entered()


class _Installation:
    users = 0
    alarm: Callable[[Account, int], object] | None = None
    boundary: Callable[[Account], object] | None = None


def enter(account: Account | None, /) -> Account | None:
    """Let this thread be in the account (None: nobody's). Returns the former one, to be entered
    again afterwards."""
    if account is not None:
        if not isinstance(account, Account):
            raise TypeError(f"the account must be an Account or None, not {type(account).__name__}")
        account._activation += 1
    previous = _entered.account
    _entered.account = account
    return previous


def nobodys(function: F, /) -> F:
    """The function, made so that what it allocates is charged to no account, whoever calls it. This
    clock charges no allocations, so it is the function itself."""
    if not callable(function):
        raise TypeError(f"nobodys takes a function, not {type(function).__name__}")
    return function


def current() -> Account | None:
    """The account that this thread is in, or None."""
    return _entered.account


def others_in(account: Account | None, /) -> None:
    """Let ``switch`` enter this account for records that have none. Nothing follows from that here,
    where no allocation is counted."""
    if account is not None and not isinstance(account, Account):
        raise TypeError(f"the account must be an Account or None, not {type(account).__name__}")


def switch(record: object | None, /) -> None:
    """Enter the account of a record: its attribute ``account``. None, or a record without one, is
    nobody's. The boundary is called with the account that is left, if that is due."""
    previous = enter(getattr(record, "account", None))
    if previous is not None:
        if previous._activation >= previous._look_at:
            previous._due = True
        if previous._due and _Installation.boundary is not None:
            followed = _Installation.boundary(previous)
            if not previous.due:
                cost = OF_A_LOOK + (followed if isinstance(followed, int) else 0)
                previous._look_at = previous._activation + PER_REFERENCE * cost


def install(alarm: Callable[[Account, int], object], boundary: Callable[[Account], object] | None = None, /) -> None:
    """Count one more user of the clock. This clock never calls the alarm, but one alarm serves all
    users, as in C. ``boundary(account)`` is called when ``switch`` leaves a due account. It returns
    how many references it has followed: if it has reset the account, that decides when the next
    look is due."""
    if not callable(alarm):
        raise TypeError(f"the alarm must be callable, not {type(alarm).__name__}")
    if _Installation.users and _Installation.alarm != alarm:
        raise ValueError(
            "the clock is installed with another alarm, and one alarm serves all: tell accounts apart by account.owner"
        )
    _Installation.alarm = alarm
    _Installation.boundary = boundary
    _Installation.users += 1


def uninstall() -> bool:
    """One user less. Returns False if users are left."""
    if _Installation.users:
        _Installation.users -= 1
    if _Installation.users == 0:
        _Installation.alarm = _Installation.boundary = None
    return _Installation.users == 0


def installed() -> bool:
    """Has the clock been installed, and not uninstalled since?"""
    return _Installation.users > 0


def pymalloc_report() -> bytes | None:
    """None: this clock does not stand in front of pymalloc, so pymalloc itself can be asked."""
    return None


def verify() -> bool:
    """Is the clock in place? It has no hook that could be lost: True while it is installed."""
    return installed()


def reinstall() -> bool:
    """Put lost hooks back: there is nothing to do here. Returns what verify() says."""
    return verify()


def can_interrupt() -> bool:
    """May the alarm interrupt this thread's code? Never without the extension."""
    return False


def own_heaps(wanted: bool = True, /) -> bool:
    """False: accounts have no heaps of their own here."""
    return False


def guard_imports() -> bool:
    """False: nothing is counted that modules or finalisers allocate, so nothing needs a guard."""
    return False


def collect_own(account: Account, /) -> int:
    """0: there is no telling which containers are the account's."""
    if not isinstance(account, Account):
        raise TypeError(f"collect_own takes an Account, not {type(account).__name__}")
    return 0


def never_refuse(begin: tuple[str, ...], but: tuple[str, ...] = (), tables: tuple[str, ...] = (), /) -> None:
    """Refuse no request of code whose file begins like one of these, but for those that begin like
    one of the others. ``tables``: files of code whose requests of 16 KiB and more are for tables,
    which are in nobody's account. Nothing is refused or counted here."""
    for path in (*begin, *but, *tables):
        if not isinstance(path, str):
            raise TypeError(f"the files must be tuples of str, not of {type(path).__name__}")


def keeps_ledgers() -> bool:
    """False: nothing counts blocks here."""
    return False


def purge(seconds: float, /) -> int:
    """0: there is nothing to give back."""
    return 0


def heap_statistics(live: bool = False, /) -> tuple[int, int, int, int, int, int, int, int]:
    """All 0: there are no such heaps."""
    return (0, 0, 0, 0, 0, 0, 0, 0)
