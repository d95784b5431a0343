"""The table: a part for each case, a row for each contender. Several runs of one contender become a
median, or a sum where a single event is one too many.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from typing import Any

from bench.survival.protocol import CLASSES

COLUMNS = (
    "",
    "runs",
    "node alive",
    "kernel kills",
    "kept",
    "lost L/N/H",
    "refused",
    "other cuts",
    "kills/min",
    "restarts/min",
    "p99 ms",
    "refusal p99 ms",
    "back s",
    "capacity",
)


def table(document: dict[str, Any]) -> str:
    parts = []
    for case, said in document["cases"].items():
        runs = [run for run in document["runs"] if run["case"] == case]
        names = list(dict.fromkeys(run["contender"] for run in runs))
        if names:
            rows = [cells(name, [run for run in runs if run["contender"] == name]) for name in names]
            parts.append("\n".join([f"### {case} {said}", "", *aligned(COLUMNS, rows)]))
    machine = document["machine"]
    slow = f", offered {document['pace']:g} times more slowly than usual" if document["pace"] != 1 else ""
    facts = [
        f"{document['connections']} connections, limit {document['limit'] / 2**20:.0f} MiB: {document['where']}{slow}",
        f"{document['date']}, {machine['cpu']} × {machine['cores']}, kernel {machine['kernel']}, "  # noqa: RUF001
        f"a million additions in {machine['addition_ms']} ms (about 30 where nothing else runs)",
        *(f"{name}: {text}" for name, text in sorted(remarks(document["runs"]).items())),
    ]
    return "\n\n".join([*parts, "\n".join(facts)])


def cells(name: str, runs: list[dict[str, Any]]) -> list[str]:
    done = [run for run in runs if "alive" in run]
    if not done:
        return [name, str(len(runs)), "n/a" if any("n/a" in run for run in runs) else "NO", *[""] * 11]
    alive = sum(run["alive"] for run in done)
    lost = [run["lost_by_class"] for run in done]
    return [
        name,
        str(len(runs)),
        ("yes" if alive else "NO") if len(runs) == 1 else f"{alive}/{len(runs)}",
        str(sum(run["oom_kills"] for run in done)),
        share(done),
        "/".join(middle((loss[klass] for loss in lost), "{:.0f}") for klass in CLASSES),
        middle((run["refused"] for run in done), "{:,.0f}"),
        middle((other_cuts(run) for run in done), "{:,.0f}"),
        middle((run["kills_per_minute"] for run in done), "{:.0f}"),
        middle((run["restarts_per_minute"] for run in done), "{:.0f}"),
        middle((run["p99_ms"]["press"] if run["alive"] else None for run in done), "{:,.0f}"),
        middle((run["refusal_p99_ms"] for run in done), "{:,.0f}", ""),
        middle((run["back_seconds"] for run in done), "{:.1f}", "never"),
        middle((run["capacity"] for run in done), "{:.2f}", ""),
    ]


def share(runs: list[dict[str, Any]]) -> str:
    """How many well-behaved clients were kept: the median, and the worst where they differ."""
    kept = [run["kept"] for run in runs]
    text = f"{statistics.median(kept):.0f} of {runs[0]['good']}"
    return text if min(kept) == max(kept) else f"{text} (min {min(kept)})"


def other_cuts(run: dict[str, Any]) -> int:
    """Ends of other than well-behaved clients that were neither asked for nor polite."""
    return int(run["counts"].get("lost", 0)) + int(run["counts"].get("unreachable", 0))


def middle(values: Iterable[float | None], how: str, none: str = "n/a") -> str:
    known = [value for value in values if value is not None]
    return how.format(statistics.median(known)) if known else none


def remarks(runs: list[dict[str, Any]]) -> dict[str, str]:
    """What a reader must know beside the figures, once for each contender."""
    found: dict[str, list[str]] = {}
    checks: tuple[tuple[str, Callable[[dict[str, Any]], Any]], ...] = (
        ("", lambda run: run.get("version")),
        ("", lambda run: run.get("capabilities")),
        ("n/a: ", lambda run: run.get("n/a")),
        ("", lambda run: run.get("problem")),
        ("", lambda run: run.get("deadline")),
        ("WRONG REPLIES: ", lambda run: "; ".join(run.get("wrong", [])[:2])),
    )
    for run in runs:
        texts = found.setdefault(run["contender"], [])
        for prefix, check in checks:
            what = check(run)
            if what and prefix + str(what) not in texts:
                texts.append(prefix + str(what))
    return {name: "; ".join(texts) for name, texts in found.items() if texts}


def aligned(header: Iterable[str], body: Iterable[Iterable[str]]) -> list[str]:
    lines = [list(header), *map(list, body)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]

    def line(texts: list[str]) -> str:
        cells = [t.rjust(w) if n else t.ljust(w) for n, (t, w) in enumerate(zip(texts, widths, strict=True))]
        return "| " + " | ".join(cells) + " |"

    rule = ["-" * (w - 1) + ":" if n else "-" * w for n, w in enumerate(widths)]
    return [line(lines[0]), "| " + " | ".join(rule) + " |", *map(line, lines[1:])]
