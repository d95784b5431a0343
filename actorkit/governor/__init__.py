"""What keeps a node alive when memory runs out: the shell around ``policy.governor`` and ``pressure``.

``opening`` is ``ak.open_node``. ``shell`` senses, asks the machine, and does what it says; ``census``, ``reclaim``,
``shedding`` and ``kills`` are the acts; ``gate`` and ``quota`` hold back restarts and families of actors; ``subtree``
is the same for those below one supervisor.
"""
