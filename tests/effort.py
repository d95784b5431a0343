"""How hard the models try.

Each says how much it does in ``make test``; under the hypothesis profile ``prove`` (``pytest
--hypothesis-profile=prove``) all of them do twenty times as much.
"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, Phase, settings

USUAL = 100
"""Hypothesis's own number of examples."""

# A deadline judges how fast an example is, and so how busy the machine is. No test of ours is about
# that.
settings.register_profile("usual", deadline=None)
settings.load_profile("usual")
settings.register_profile("prove", max_examples=20 * USUAL, deadline=None)


def times(count: int) -> int:
    """``count``, or twenty times that under ``prove``."""
    return count * max(1, settings().max_examples // USUAL)


def effort(examples: int, **more: Any) -> settings:
    """Settings for a property that tries this many examples in ``make test``."""
    return settings(
        max_examples=times(examples),
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
        **more,
    )
