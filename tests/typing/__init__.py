"""What must type-check and what must not, for mypy and for pyright.

The other modules here are never run: the checkers read them. A line that ends in ``# error`` must
be refused by both, one that ends in ``# error: mypy`` or ``# error: pyright`` by that one only, and
no other line by any. ``assert_type`` says which type an expression has. ``test_typing`` runs the
checkers.
"""
