"""The heap in C. Only the doors ``heap.walk`` and ``heap.clock`` use it, if ``heap.extensions``
lets them.
"""
