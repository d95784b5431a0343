"""The heap in C. Only the doors ``heap.walk`` and ``heap.clock`` import from here."""
