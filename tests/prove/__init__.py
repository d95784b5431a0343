"""``python -m tests.prove``: the checks that take too long for every change, part by part, with one
summary at the end.
"""
