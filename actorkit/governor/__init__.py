"""What keeps a node alive when memory runs out: the shells around ``policy.memory``, and
``pressure``.

``open`` is ``ak.open_node``. ``governor_base`` has the way of a memory sample and the table of
actions; ``node_governor`` and ``subtree_governor`` are the two governors. ``census``, ``kills``,
``shed`` and ``reclaim`` are what they do. ``restart_gate``, ``admission`` and ``quota`` hold back
restarts, new work and families of actors. ``steps`` is how a governor looks without waiting for its
turn.
"""
