"""Conformance: what the test suites of OTP and Elixir assert, asserted here.

``catalogue`` has a row for each of their cases, by id: what the case asserts, and whether ours is
the same, differs (and why), or cannot have it. Tests bear the ids of the cases that they assert
(``marks``), in this folder or where they already stood. ``table`` writes docs/conformance.md from
both. ``test_catalogue`` fails when a case has no row or no test, or when the document is out of
date.
"""
