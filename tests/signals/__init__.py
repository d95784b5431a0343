"""Signals: separate programs get SIGINT and SIGTERM in every phase, once, twice and mixed.

``programs`` is what runs in them, ``cases`` the table of what is sent when and of what must come
out, and ``driver`` runs one. No signal is sent after a sleep: a program says by a line that it is
at its spot, and that a signal has been handled.

``python -m tests.signals`` runs the whole table, ``make test`` a part of it. ``sweep`` goes without
the table: it sends signals at every point of one small program at which Python looks for them.
"""
