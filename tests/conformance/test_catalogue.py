"""The catalogue, the tests that bear its ids, and the document made from both agree."""

from __future__ import annotations

from collections import Counter

from .catalogue import CASES, IDS, SUITES
from .marks import ROOT, marked_tests
from .table import DOCUMENT, document


def test_every_case_has_one_row():
    assert set(CASES) == set(IDS)
    assert Counter(case.id for suite in SUITES for case in suite.cases) == Counter(IDS)


def test_tests_bear_ids_that_there_are():
    assert set(marked_tests()) <= set(IDS)


def test_every_case_that_applies_has_a_test_and_no_other_has():
    found = marked_tests()
    for case in CASES.values():
        applies = case.verdict in ("same", "differs")
        assert bool(found.get(case.id)) == applies, case


def test_what_differs_is_asserted_explained_and_in_the_semantics():
    """A row says that a case differs if and only if a test asserts what ours does; the row gives
    the reason and the section.
    """
    headings = {
        line.lstrip("#").strip()
        for line in (ROOT / "docs" / "semantics.md").read_text().splitlines()
        if line.startswith("#")
    }
    found = marked_tests()
    for case in CASES.values():
        different = any(marked.mark == "differs" for marked in found.get(case.id, []))
        assert (case.verdict == "differs") == different, case
        if different:
            assert case.why, case
            assert case.section in headings, case
        if case.verdict == "not applicable":
            assert case.why, case


def test_the_document_is_up_to_date():
    assert DOCUMENT.read_text() == document(), "run: python -m tests.conformance.table"
