"""The heap in C. Nothing but its doors ``heap.walk`` and ``heap.clock`` imports from here."""
