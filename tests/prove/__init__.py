"""``python -m tests.prove``: what takes too long for every change, part by part, with one summary
at the end.
"""
