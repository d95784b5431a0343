"""Hypothesis strategies for valid specs, flags and reasons."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import strategies as st

from actorkit.policy.supervision.backoff import Backoff
from actorkit.policy.supervision.child_spec import ChildSpec
from actorkit.policy.supervision.supervisor_flags import DynamicFlags, SupervisorFlags
from actorkit.reasons import KILL, KILLED, NORMAL, SHUTDOWN, Crash, ExitReason, Failure, Shutdown

NORMAL_REASONS: list[ExitReason] = [NORMAL, SHUTDOWN, Shutdown("detail")]
ABNORMAL_REASONS: list[ExitReason] = [KILLED, KILL, Failure("oops"), Crash("ValueError", "oops")]

orderly_reasons = st.sampled_from(NORMAL_REASONS)
abnormal_reasons = st.sampled_from(ABNORMAL_REASONS)
reasons = orderly_reasons | abnormal_reasons


def worker() -> None:
    """What specs start in these tests; it is never called."""


backoffs = st.builds(
    Backoff,
    first=st.floats(0.001, 1.0),
    factor=st.floats(1.0, 10.0),
    limit=st.floats(1.0, 100.0),
    jitter=st.floats(0.0, 1.0),
    reset_after=st.floats(0.1, 10.0),
)


def _make(significant: bool, restart: str, **fields: Any) -> ChildSpec[Any]:
    return ChildSpec(worker, significant=significant and restart != "permanent", restart=restart, **fields)  # type: ignore[arg-type]


def child_specs(significant: bool = True) -> st.SearchStrategy[ChildSpec[Any]]:
    return st.builds(
        _make,
        significant=st.booleans() if significant else st.just(False),
        restart=st.sampled_from(["permanent", "permanent", "transient", "temporary"]),
        id=st.sampled_from("abcdef"),
        shutdown=st.sampled_from([None, 0, 1.5, math.inf, "brutal_kill"]),
        kind=st.sampled_from(["worker", "supervisor"]),
        init_timeout=st.sampled_from([0.5, 5.0, math.inf]),
        backoff=st.none() | backoffs,
        mailbox=st.sampled_from([1, 10, math.inf]),
        overflow=st.sampled_from(["reject", "wait", "drop_oldest", "drop_newest"]),
        scheduling=st.sampled_from(["max", "high", "normal", "low"]),
    )


supervisor_flags = st.builds(
    SupervisorFlags,
    strategy=st.sampled_from(["one_for_one", "one_for_all", "rest_for_one"]),
    max_restarts=st.sampled_from([100, 20, 3, 1, 0]),
    max_seconds=st.sampled_from([0.5, 5.0, 60.0]),
    auto_shutdown=st.sampled_from(["never", "any_significant", "all_significant"]),
)
dynamic_flags = st.builds(
    DynamicFlags,
    max_restarts=st.sampled_from([100, 20, 3, 1, 0]),
    max_seconds=st.sampled_from([0.5, 5.0, 60.0]),
    max_children=st.sampled_from([3, 4, math.inf, 1, 0]),
)
