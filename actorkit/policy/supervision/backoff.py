"""How long to wait before a restart: exponential, jittered, bounded.

OTP restarts at once, and the restart intensity ends a supervisor whose child cannot be helped. That
stays the default. A child with a ``Backoff`` waits before *every* restart, its first too, and each
failure in a row waits ``factor`` times longer than the one before.

What is a failure "in a row"? A child that crashes a second after each restart has not recovered,
though it did start. So a life ends the row only if it was long **compared with the wait before
it**: at least ``reset_after`` times the last delay. (The delay counts as it was before its jitter,
so that luck has no part in it.) With the default of 2, a child that waited 30 s must live for 60 s
before its next failure counts as a first one again. A start that fails has lived for 0 s, and never
ends the row.
"""

from __future__ import annotations

import math

import attrs

from ...errors import InvalidChildSpec

__all__ = ["Backoff", "BackoffState"]


def _check(field: str, value: object, low: float, high: float, remedy: str) -> None:
    # bool is an int to Python, but nobody means ``first=True``.
    fine = isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high
    if not fine:
        raise InvalidChildSpec(f"backoff.{field}", value, "not a usable number here", remedy)


@attrs.frozen
class Backoff:
    """The delays before a child's restarts.

    ``first``        seconds before the first restart of a row (> 0)
    ``factor``       each next one is this much longer (>= 1)
    ``limit``        no delay is longer than this many seconds (>= first)
    ``jitter``       each delay is off by up to this fraction, either way (0..1)
    ``reset_after``  a life of this many times the delay before it ends the row (> 0)

    Raises InvalidChildSpec for a wrong value; it names the field as ``backoff.first`` and so on.
    """

    first: float = 0.1
    factor: float = 2.0
    limit: float = 30.0
    jitter: float = 0.2
    reset_after: float = 2.0

    def __attrs_post_init__(self) -> None:
        tiny, huge = math.ulp(0.0), math.nextafter(math.inf, 0.0)
        _check("first", self.first, tiny, huge, "give seconds > 0, finite")
        _check("factor", self.factor, 1.0, huge, "give a factor >= 1, finite")
        _check("limit", self.limit, self.first, huge, f"give seconds >= first ({self.first}), finite")
        _check("jitter", self.jitter, 0.0, 1.0, "give a fraction from 0 to 1")
        _check("reset_after", self.reset_after, tiny, huge, "give a factor > 0, finite")

    def base(self, failures: int) -> float:
        """The delay before restart number ``failures`` of a row (from 1), without its jitter."""
        try:
            return min(self.limit, self.first * float(self.factor) ** (failures - 1))
        except OverflowError:
            return self.limit


class BackoffState:
    """One child's row of failures. It is kept as long as the supervisor knows the child."""

    __slots__ = ("failures", "spec")

    def __init__(self, spec: Backoff) -> None:
        self.spec = spec
        #: How many failures there were in the present row.
        self.failures = 0

    def next_delay(self, lived: float, fraction: float) -> float:
        """Note a failure and return the seconds to wait before the restart.

        ``lived`` is how long the child ran (0 if it did not start), ``fraction`` a random number
        from 0 to 1: at 0 the jitter shortens the delay the most, at 1 it lengthens it the most.
        """
        spec = self.spec
        if self.failures and lived >= spec.reset_after * spec.base(self.failures):
            self.failures = 0
        self.failures += 1
        # Jitter first, clamp last: the limit is a promise. Children that wait at the limit for the
        # same broken thing must still not all come back at the same moment, so the lower half of
        # the jitter survives there.
        wanted = spec.base(self.failures) * (1.0 + spec.jitter * (2.0 * fraction - 1.0))
        return max(0.0, min(spec.limit, wanted))
