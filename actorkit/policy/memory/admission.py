"""Whether new work is let in: by count, by rate, and by the bytes that such work takes.

A connection costs what connections cost: the machine learns the footprint of each *kind* of work,
as a high quantile (0.9) and not as a mean, since work that does not fit is paid for by the work
that is in already. New work is admitted if its predicted bytes fit into what is free, less a
reserve, less what was admitted and cannot have shown in a sample yet. What is free goes by what is
*needed*: pages that Python has freed are there for the next one.

The reserve (20 % of the limit by default) is where SHED begins. From there on nothing is admitted
anyway, so ``capacity`` tells the truth. A refusal names a time after which asking again makes
sense, and costs next to nothing. Exempt kinds (health checks, an operator's console) are counted,
and never refused.

Quantiles are kept as a histogram of sizes with 4 buckets to a doubling, halved when it is full: old
sizes fade, memory is bounded, and the order does not matter. The error is at most one bucket, 19 %,
upwards.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final

import attrs

from .memory_sample import MemorySample

__all__ = ["AdmissionMachine", "AdmissionSettings", "Admit", "KindLimits", "LearnedSize", "Refuse"]

BUCKETS_PER_DOUBLING: Final = 4
"""Of the histogram of sizes."""


@attrs.frozen
class Admit:
    """It may come in."""

    predicted: int
    """Bytes that it will probably take."""


@attrs.frozen
class Refuse:
    """It may not come in now."""

    retry_after: float
    """Seconds until asking again makes sense."""
    because: str = attrs.field(default="", eq=False)


@attrs.frozen
class KindLimits:
    """What one kind of work may do.

    Args:
        count: how many may be in at a time; None: no limit.
        rate: admissions a second; None: no limit.
        burst: how many at once, after a rest; None: a second's worth, at least one.
        first_guess: bytes that one of them is assumed to take until enough have been seen.
        exempt: counted, never refused.

    Raises ValueError for values that cannot be: the author's fault.
    """

    count: int | None = None
    rate: float | None = None
    burst: float | None = None
    first_guess: int = 16_384
    exempt: bool = False

    def __attrs_post_init__(self) -> None:
        if self.count is not None and self.count < 0:
            raise ValueError(f"count={self.count!r}: give how many may be there at a time, or None")
        if self.rate is not None and not 0 < self.rate < math.inf:
            raise ValueError(f"rate={self.rate!r}: give admissions a second, more than 0, or None")
        if self.burst is not None and self.burst < 1:
            raise ValueError(f"burst={self.burst!r}: give at least 1, or nobody would ever be admitted")
        if self.first_guess < 0:
            raise ValueError(f"first_guess={self.first_guess!r}: give bytes")
        if not isinstance(self.exempt, bool):
            raise ValueError(f"exempt={self.exempt!r} is neither yes nor no: give True or False")


@attrs.frozen
class AdmissionSettings:
    """How admission decides.

    Args:
        kinds: limits by kind of work.
        other: for kinds not listed.
        reserve: part of the limit that admission never fills.
        settle: seconds after which what was admitted shows in the samples.
        retry_after: seconds after which to ask again, where nothing better is known.
        quantile: this part of the footprints seen is no larger than the prediction.
        enough: how many footprints must be seen before they replace ``first_guess``.

    Raises ValueError for values that cannot be: the author's fault.
    """

    kinds: Mapping[str, KindLimits] = attrs.field(factory=dict)
    other: KindLimits = attrs.field(factory=KindLimits)
    reserve: float = 0.2
    settle: float = 2.0
    retry_after: float = 1.0
    quantile: float = 0.9
    enough: int = 10

    def __attrs_post_init__(self) -> None:
        if not 0 <= self.reserve < 1 or not 0 < self.quantile <= 1:
            raise ValueError(f"reserve={self.reserve!r} and quantile={self.quantile!r} are parts: give 0 to 1")
        if not 0 <= self.settle < math.inf or not 0 < self.retry_after < math.inf:
            raise ValueError(f"settle={self.settle!r} and retry_after={self.retry_after!r} are times: give seconds")


class LearnedSize:
    """A quantile of sizes, in which newer ones count for more."""

    __slots__ = ("_buckets", "_keep", "_known", "_total")

    def __init__(self, keep: int = 1024) -> None:
        #: How many sizes fell into each bucket, those that faded counted in part.
        self._buckets: dict[int, float] = {}
        #: The sum of these.
        self._total = 0.0
        #: When there are that many, all are halved.
        self._keep = keep
        #: Quantiles that were asked for since the last change.
        self._known: dict[float, int] = {}

    @property
    def seen(self) -> float:
        """How many sizes it knows, those that faded counted in part."""
        return self._total

    def note(self, size: int) -> None:
        """One more."""
        bucket = math.ceil(BUCKETS_PER_DOUBLING * math.log2(max(1, size)))
        self._buckets[bucket] = self._buckets.get(bucket, 0.0) + 1.0
        self._total += 1.0
        self._known.clear()
        if self._total >= self._keep:
            # What has faded to less than half a size goes, or rare sizes would stay for ever.
            self._buckets = {at: count / 2 for at, count in self._buckets.items() if count >= 1.0}
            self._total = sum(self._buckets.values())

    def quantile(self, part: float) -> int:
        """The smallest size, rounded up to a bucket, that ``part`` of them do not exceed; 0 if
        there are none."""
        # It is asked for at every admission, and changes only when something is learned.
        known = self._known.get(part)
        if known is None:
            known = self._known[part] = self._quantile(part)
        return known

    def _quantile(self, part: float) -> int:
        below, wanted = 0.0, part * self._total
        for bucket in sorted(self._buckets):
            below += self._buckets[bucket]
            if below >= wanted:
                return math.ceil(math.pow(2.0, bucket / BUCKETS_PER_DOUBLING))
        return 0


class _Kind:
    """What is known of one kind of work."""

    __slots__ = ("burst", "count", "filled_at", "learned", "limits", "predicted", "tokens")

    def __init__(self, limits: KindLimits) -> None:
        self.limits = limits
        #: How many are in.
        self.count = 0
        #: The footprints seen.
        self.learned = LearnedSize()
        #: A prediction from outside, which goes before what is learned here.
        self.predicted: int | None = None
        #: The bucket of tokens that limits the rate: its size, what is in it, and since when.
        self.burst = limits.burst if limits.burst is not None else max(1.0, limits.rate or 1.0)
        self.tokens = self.burst
        self.filled_at = -math.inf

    def wait_for_token(self, now: float) -> float:
        """Seconds until there is a token."""
        rate = self.limits.rate
        if rate is None:
            return 0.0
        if now > self.filled_at:
            self.tokens = min(self.burst, self.tokens + (now - self.filled_at) * rate)
            self.filled_at = now
        return 0.0 if self.tokens >= 1.0 else (1.0 - self.tokens) / rate


class AdmissionMachine:
    """The gate for new work. Each ``ask`` that is admitted needs an ``ended`` when it is over.

    Example::

        admission = AdmissionMachine(AdmissionSettings({"connection": KindLimits(count=10_000)}))
        match admission.ask("connection", now):
            case Refuse(retry_after=seconds): ...
    """

    def __init__(self, settings: AdmissionSettings | None = None) -> None:
        self.settings = settings or AdmissionSettings()
        self._kinds: dict[str, _Kind] = {}
        #: What was admitted and may not show in the samples yet: when, and bytes.
        self._promised: deque[tuple[float, int]] = deque()
        #: The sum of these bytes.
        self._promised_bytes = 0
        #: The last look; None before the first.
        self._sample: MemorySample | None = None
        #: Why everything is refused; "" if it is not.
        self._refusing = ""
        #: By kind: the refusal that is given while everything is refused.
        self._refusals: dict[str, Refuse] = {}

    def validate(self) -> None:
        """Check what must hold between two calls."""
        assert self._promised_bytes == sum(size for _, size in self._promised)
        for name, kind in self._kinds.items():
            assert kind.count >= 0, name
            assert 0 <= kind.tokens <= kind.burst, name

    # --- What it is told ---

    def looked(self, sample: MemorySample) -> None:
        """The governor has looked."""
        self._sample = sample
        while self._promised and self._promised[0][0] <= sample.now - self.settings.settle:
            self._promised_bytes -= self._promised.popleft()[1]

    def refuse_all(self, because: str) -> None:
        """From now on all but exempt kinds are refused (RefuseAdmission)."""
        self._refusing = because or "memory is short"
        self._refusals.clear()

    def allow(self) -> None:
        """The rules decide again (AllowAdmission)."""
        self._refusing = ""

    def learn(self, kind: str, sizes: Iterable[int]) -> None:
        """Footprints of work of that kind, in bytes: from a census, or at its end."""
        learned = self._kind(kind).learned
        for size in sizes:
            learned.note(size)

    def predict(self, kind: str, predicted: int) -> None:
        """One more of that kind will take so many bytes: a prediction from outside, which goes
        before what ``learn`` was given."""
        self._kind(kind).predicted = predicted

    def ended(self, kind: str, footprint: int | None = None) -> None:
        """Work of that kind is over. ``footprint``: what it held at last, if that is known."""
        known = self._kind(kind)
        known.count = max(0, known.count - 1)
        if footprint is not None:
            known.learned.note(footprint)

    # --- What it is asked ---

    def ask(self, kind: str, now: float, *, exempt: bool = False) -> Admit | Refuse:
        """May one more of that kind come in? If it is admitted, it counts until ``ended``.
        ``exempt``: it is not refused, even if its kind may be."""
        known = self._kind(kind)
        predicted = self.predicted(kind)
        exempt = exempt or known.limits.exempt
        refusal = None if exempt else self._refusal(known, kind, now, predicted)
        if refusal is not None:
            return refusal
        known.count += 1
        if known.limits.rate is not None and not exempt:
            known.tokens -= 1.0
        self._promised.append((now, predicted))
        self._promised_bytes += predicted
        return Admit(predicted)

    def count(self, kind: str) -> int:
        """How many of that kind are in."""
        return self._kind(kind).count

    def predicted(self, kind: str) -> int:
        """Bytes that one more of that kind will probably take."""
        known, settings = self._kind(kind), self.settings
        if known.predicted is not None:
            return known.predicted
        size = known.learned.quantile(settings.quantile)
        return size if known.learned.seen >= settings.enough else max(size, known.limits.first_guess)

    def room(self) -> int | None:
        """Bytes that new work may take up now; None before the first sample: nothing is known then
        that would speak against it."""
        sample = self._sample
        if sample is None:
            return None
        reserve = math.ceil(self.settings.reserve * sample.limit)
        return max(0, sample.limit - sample.needed - reserve - self._promised_bytes)

    def capacity(self, kind: str) -> float:
        """How many more of that kind would be let in now, apart from their rate; inf if nothing
        limits them."""
        known, room, predicted = self._kind(kind), self.room(), self.predicted(kind)
        if known.limits.exempt:
            return math.inf
        if self._refusing:
            return 0
        by_count = math.inf if known.limits.count is None else max(0, known.limits.count - known.count)
        by_bytes = math.inf if room is None or not predicted else room // predicted
        return min(by_count, by_bytes)

    # --- Rules ---

    def _kind(self, kind: str) -> _Kind:
        known = self._kinds.get(kind)
        if known is None:
            known = self._kinds[kind] = _Kind(self.settings.kinds.get(kind, self.settings.other))
        return known

    def _refusal(self, known: _Kind, kind: str, now: float, predicted: int) -> Refuse | None:
        later = self.settings.retry_after
        if self._refusing:
            refusal = self._refusals.get(kind)
            if refusal is None:
                refusal = self._refusals[kind] = Refuse(later, f"no {kind} is admitted: {self._refusing}")
            return refusal
        count = known.limits.count
        if count is not None and known.count >= count:
            return Refuse(later, f"no {kind} is admitted: {known.count:,} are in, and {count:,} may be")
        wait = known.wait_for_token(now)
        if wait > 0:
            return Refuse(wait, f"no {kind} is admitted: {known.limits.rate:g} a second are, the next in {wait:.3g} s")
        room = self.room()
        if room is not None and predicted > room:
            return Refuse(
                later, f"no {kind} is admitted: {predicted:,} bytes are predicted for it, and {room:,} may be taken up"
            )
        return None
