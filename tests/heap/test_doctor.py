"""``python -m actorkit doctor`` tries what is in force, and says why the rest is not."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import attrs
import pytest

import actorkit
from actorkit.__main__ import BROKEN, doctor
from actorkit.doctor import examination, trials
from actorkit.doctor.examination import REMEDY, Row, Verdict, examine
from actorkit.heap import clock
from actorkit.heap.capabilities import Capabilities, capabilities, remedies
from actorkit.heap.capability_terms import TABLE, Need

pytestmark = pytest.mark.every_version

ROOT = Path(actorkit.__file__).parent.parent


def with_needs(*needs: Need) -> set[str]:
    """The capabilities that have one of these needs."""
    return {name for name, terms in TABLE.items() if set(needs) & set(terms.needs)}


NOWHERE = with_needs(Need.ANOTHER_PYTHON)


def test_there_is_one_table() -> None:
    """Its rows are the fields of ``Capabilities``; whatever can be had can be tried."""
    assert list(TABLE) == [field.name for field in attrs.fields(Capabilities)]
    assert set(trials.TRIALS) == set(TABLE) - with_needs(Need.ANOTHER_PYTHON)
    told = inspect.getdoc(Capabilities) or ""
    assert [name for name in TABLE if f"{name}: " not in told] == []


def test_what_is_missing_has_a_remedy() -> None:
    for own_heaps in (True, False):
        found = attrs.asdict(capabilities(own_heaps=own_heaps))
        missing = {name for name, there in found.items() if not there}
        assert set(remedies(own_heaps=own_heaps)) == missing
        assert all(remedies(own_heaps=own_heaps).values())
    assert capabilities().clock == clock.COUNTS_ALLOCATIONS


def examined(*options: str, **environ: str) -> dict[str, dict[str, str]]:
    """The rows of a doctor in a process of its own, by name. It has found nothing broken."""
    command = [sys.executable, *options, "-m", "actorkit", "doctor", "--json"]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **environ}, capture_output=True, text=True, check=False)
    rows = {row["name"]: row for row in json.loads(done.stdout)["capabilities"]}
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
    assert list(rows) == list(TABLE)
    assert {row["verdict"] for row in rows.values()} <= {"works", "no"}
    return rows


OWN = with_needs(Need.OWN_HEAPS)
LEDGER = with_needs(Need.LEDGER)
C = with_needs(Need.EXTENSION) | OWN


@pytest.mark.parametrize(
    ("options", "environ", "missing"),
    [
        ([], {}, set()),
        ([], {"ACTORKIT_PURE": "1"}, C),
        ([], {"ACTORKIT_OWN_HEAPS": "0"}, OWN),
        ([], {"PYTHONMALLOC": "malloc"}, OWN),
        ([], {"PYTHONMALLOC": "debug"}, OWN | LEDGER),
        (["-X", "dev"], {}, OWN | LEDGER),
        (["-X", "tracemalloc"], {}, OWN),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(sorted(value)),
)
def test_whatever_claims_to_be_in_force_works(options: list[str], environ: dict[str, str], missing: set[str]) -> None:
    """With this Python, however it is set up. Options are passed on to the processes that try."""
    if not clock.COUNTS_ALLOCATIONS:
        missing = C
    rows = examined(*options, **environ)
    assert {name for name, row in rows.items() if row["verdict"] == "no"} == missing | NOWHERE
    assert all(bool(row["why"]) == (row["verdict"] == "no") for row in rows.values())


def test_in_a_thread() -> None:
    """Seen from another thread than the main one, the trials run in one too."""
    found: list[Row] = []
    thread = threading.Thread(target=lambda: found.extend(examine()))
    thread.start()
    thread.join()
    verdicts = {row.name: row.verdict for row in found}
    expected = NOWHERE | with_needs(Need.MAIN_THREAD) | set(remedies())
    assert {name for name, verdict in verdicts.items() if verdict is Verdict.MISSING} == expected
    assert Verdict.BROKEN not in verdicts.values(), found


def test_the_report(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A row for each, in words; what is broken is an exit status."""
    rows = [Row("clock", Verdict.WORKS), Row("return_pages", Verdict.MISSING, "it rains: wait")]
    monkeypatch.setattr("actorkit.__main__.examine", lambda: rows)
    assert doctor() == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "  clock                works",
        "  return_pages         no: it rains: wait",
    ]
    rows.append(Row("exact_heap", Verdict.BROKEN, "it is off by one"))
    assert doctor() == BROKEN
    assert capsys.readouterr().out.splitlines()[-1] == "  exact_heap           broken: it is off by one"
    assert doctor(as_json=True) == BROKEN
    assert [row["verdict"] for row in json.loads(capsys.readouterr().out)["capabilities"]] == ["works", "no", "broken"]


# --- What claims to be in force and is not -------------------------------------------------------

counting = pytest.mark.skipif(not clock.COUNTS_ALLOCATIONS, reason="the extension is not built")

LOST_HOOKS = """
from actorkit.heap import clock
clock.install = lambda *functions: None
"""

BLIND = """
from actorkit.heap import walk
measured = walk.measure
import attrs
walk.measure = lambda *args, **kwargs: attrs.evolve(measured(*args, **kwargs), private=1000)
"""

NEVER_RAISES = """
from actorkit.runtime.budgets import budget
budget.may_raise = lambda *args, **kwargs: False
"""


def damaged(fault: str, names: set[str], monkeypatch: pytest.MonkeyPatch, folder: Path) -> dict[str, Row]:
    """What is found of these where the processes that try have this fault, and this one has not."""
    (folder / "sitecustomize.py").write_text(
        f"import sys\nif 'actorkit.doctor.trials' in sys.orig_argv:\n    exec({fault!r})\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setattr(examination, "TABLE", {name: TABLE[name] for name in names})
    return {row.name: row for row in examine()}


@counting
@pytest.mark.parametrize(
    ("fault", "names", "words"),
    [
        (LOST_HOOKS, {"clock", "stop_in_handler", "refuse_large"}, "MiB"),
        (BLIND, {"exact_heap"}, "measured as"),
        (NEVER_RAISES, {"stop_in_handler"}, "under a limit of 8 MiB one message took"),
    ],
    ids=["lost hooks", "blind", "never raises"],
)
def test_a_claim_that_is_wrong(
    fault: str, names: set[str], words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = damaged(fault, names, monkeypatch, tmp_path)
    assert {name for name, row in found.items() if row.verdict is Verdict.BROKEN} == names
    for name in names:
        assert words in found[name].why
        assert REMEDY in found[name].why


def patched(trial: str, body: str) -> str:
    """A fault: this trial does something else."""
    return f"""
import os, time, trio
run = trio.run
def other(trial, *args):
    if trial.__name__ == {trial!r}:
        {body}
    return run(trial, *args)
trio.run = other
"""


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("os.abort()", "its process ended with -6"),
        ("time.sleep(3600)", "was not done after"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("os.write(1, b'nonsense')", ""),
    ],
    ids=["crash", "hang", "interrupt", "noise"],
)
def test_a_trial_that_does_not_end_well(body: str, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is a row like any other, and the others are tried all the same."""
    hangs = "sleep" in body
    short = "from actorkit.doctor import examination; examination.SECONDS = 5.0"
    wanted = {"exact_heap"} if hangs or not clock.COUNTS_ALLOCATIONS else {"exact_heap", "refuse_large"}
    found = damaged(patched("exact_heap", body) + (short if hangs else ""), wanted, monkeypatch, tmp_path)
    row = found.pop("exact_heap")
    assert words in row.why
    assert row.verdict is (Verdict.BROKEN if words else Verdict.WORKS)
    assert [each for each in found.values() if each.verdict is Verdict.BROKEN] == []


def test_nothing_can_be_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a process that tries, nothing is said to work."""

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise PermissionError("no processes here")

    monkeypatch.setattr(examination.subprocess, "run", refuse)
    verdicts = {row.name: row for row in examine()}
    assert verdicts["exact_heap"].verdict is Verdict.BROKEN
    assert "no processes here" in verdicts["exact_heap"].why
