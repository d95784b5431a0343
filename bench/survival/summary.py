"""The columns of one run, from what was seen, what the server said, and what its clients
counted."""

from __future__ import annotations

from collections import Counter
from typing import Any

from bench.survival import cases, protocol
from bench.survival.latency import quantile
from bench.survival.limit import Limit
from bench.survival.observer import TICK, Observer, is_normal


def summary(
    plan: cases.Plan,
    limit: Limit,
    observer: Observer,
    reports: list[dict[str, Any]],
    times: dict[str, float],
    base: int,
    row: int,
) -> dict[str, Any]:
    """The columns of one run, and what they were made of."""
    good, kept, counts = Counter[str](), Counter[str](), Counter[str]()
    latencies = {phase: Counter[int]() for phase in ("steady", "press", "after")}
    refusals = Counter[int]()
    marks: list[list[Any]] = []
    for report in reports:
        good.update(report["good"])
        kept.update(report["kept"])
        counts.update(report["counts"])
        marks += report["marks"]
        refusals.update({int(number): count for number, count in report["refusals"].items()})
        for phase, buckets in report["latencies"].items():
            latencies[phase].update({int(number): count for number, count in buckets.items()})
    start = times["press"]
    told = [(round(at - start, 2), what) for at, what in observer.told]
    outside = [at for at, used, level in observer.timeline if not is_normal(used, level, limit.size)]
    back = None
    if observer.normal() and observer.server.alive():
        back = max(0.0, outside[-1] - times["relax"]) if outside else 0.0
    minutes = (times["verify"] - start) / 60
    return {
        "base": base,
        "good": sum(good.values()),
        "kept": sum(kept.values()),
        "lost_by_class": {name: good[name] - kept[name] for name in protocol.CLASSES},
        "good_by_class": good,
        "refused": counts["refused"],
        "counts": counts,
        "wrong": [line for report in reports for line in report["wrong"]],
        "kills_per_minute": _rate(told, "kills", minutes),
        "restarts_per_minute": _rate(told, "restarts", minutes),
        "p99_ms": {phase: _ms(quantile(buckets, 0.99)) for phase, buckets in latencies.items()},
        "refusal_p99_ms": _ms(quantile(refusals, 0.99)),
        "answered": {phase: sum(buckets.values()) for phase, buckets in latencies.items()},
        "back_seconds": None if back is None else round(back, 1),
        "outside_seconds": round(len(outside) * TICK, 1),
        "peak": max((used for _, used, _ in observer.timeline), default=0),
        "capacity": _capacity(plan, limit.size, base, sum(kept.values()), row) if plan.footprint else None,
        "times": {name: round(at - start, 2) for name, at in times.items()},
        "timeline": [(round(at - start, 2), used, level) for at, used, level in observer.timeline],
        "marks": sorted([round(at - start, 1), kind, count] for at, kind, count in marks),
        "told": told,
    }


def _rate(told: list[tuple[float, dict[str, Any]]], key: str, minutes: float) -> float | None:
    values = [what[key] for _, what in told if key in what]
    return round((values[-1] - values[0]) / minutes, 1) if values and minutes > 0 else None


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)


def _capacity(plan: cases.Plan, limit: int, base: int, kept: int, row: int) -> float:
    """What was kept, as a share of what the limit could hold for good."""
    footprint = plan.footprint * row / protocol.ROW
    room = max(1, (cases.LEAVE_SHED * limit - base) / footprint)
    return round(kept / room, 3)
