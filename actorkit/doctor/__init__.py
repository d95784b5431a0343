"""The doctor: each capability is tried here and now, in processes of their own, and reported row by
row.

What is built is not what works: an allocator that was loaded first, a container's limits, or a bug
may come in between. So ``python -m actorkit doctor`` believes no flag. ``examination`` starts a
process with this process's Python and environment; in it ``trials`` forks one child for each
capability that claims to be in force, each with a time limit and an address-space limit.
``patients`` is what runs inside the actors: code that a budget must stop, see, refuse, or leave
alone.
"""
