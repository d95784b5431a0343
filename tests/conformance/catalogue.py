"""The catalogue of cases, read from catalogue.toml, which says what its fields mean."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Final, Literal

import attrs

Verdict = Literal["same", "differs", "not applicable", "needs two nodes"]

VERDICTS: Final[dict[str, Verdict]] = {
    "same": "same",
    "differs": "differs",
    "absent": "not applicable",
    "remote": "needs two nodes",
}


@attrs.frozen
class Case:
    """One row. ``why`` says why it differs or is not applicable, or gives a note; ``section`` is
    one of docs/semantics.md.
    """

    id: str
    what: str
    verdict: Verdict
    why: str
    section: str

    @classmethod
    def of(cls, row: dict[str, Any]) -> Case:
        (field,) = row.keys() & VERDICTS.keys()
        why = row[field] if isinstance(row[field], str) else ""
        return cls(row["id"], row["what"], VERDICTS[field], why, row.get("in", ""))


@attrs.frozen
class Suite:
    title: str
    cases: tuple[Case, ...]


SUITES: Final = tuple(
    Suite(suite["title"], tuple(Case.of(row) for row in suite["cases"]))
    for suite in tomllib.loads(Path(__file__).with_suffix(".toml").read_text())["suite"]
)
CASES: Final = {case.id: case for suite in SUITES for case in suite.cases}

NUMBERED: Final = {
    "SUP": 74, "DYN": 41, "ESUP": 16, "SIG": 20, "MON": 20, "ALI": 5, "HEAP": 10, "INFO": 9, "PRIO": 2, "HIB": 1,
    "SRV": 22, "PL": 1, "SYS": 1, "STM": 1, "TMR": 1, "MEM": 9, "ALM": 1, "HRT": 1, "LOG": 8,
}  # fmt: skip
"""How many ids each area has; they are numbered from 01."""

UNNUMBERED: Final = ("REG-U", "REG-D", "REG-L", "PG", "PART", "TASK")

IDS: Final = (
    *(f"{area}-{number:02d}" for area, count in NUMBERED.items() for number in range(1, count + 1)),
    *UNNUMBERED,
)
"""All ids."""
