"""An actor's heap: the memory that would be free again if the actor died now.

``walk`` and ``clock`` are the doors. The walk measures a heap; the clock counts allocations as they
happen. Behind them are ``c`` and ``python``, which give the same results. ``explain`` says what a
heap consists of, ``own_heaps`` keeps its small blocks on pages of their own, ``capabilities`` says
what can be had in this process. This layer knows objects and bytes, not actors: its caller says
what belongs to an actor.
"""
