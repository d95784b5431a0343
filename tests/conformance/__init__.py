"""Conformance: what OTP's and Elixir's own test suites assert, asserted here.

``catalogue`` has a row for every case of theirs, by id: what it asserts, and whether ours is the
same, differs (and why), or cannot have it. Tests bear the ids of the cases that they assert
(``marks``), here or where they stood before. ``table`` writes docs/conformance.md from both;
``test_catalogue`` fails when a case has no row or no test, or the document is old.
"""
