"""In all tests of the policies the machines check their invariants after each step."""

from tests.validated import validating

_validated = validating()
