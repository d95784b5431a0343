"""The heap in pure Python: the twin of ``heap/c/``, for where that cannot be built, and equal to it
by test."""
