"""Ten thousand TCP connections, each an actor, and a bad day for some of them.

``python -m examples.ten_thousand`` starts two processes and watches them:

* ``service.py``  the actors: connections, rooms, supervisors. Start reading here.
* ``load.py``     the clients (``clients.py``), in plain trio: they check every reply, and know
  nothing of actorkit.

``protocol.py`` is what the two say to each other over TCP, and ``pipes.py`` how they talk to the
process that watches them (``__main__.py``, with ``workers.py``). ``display.py`` shows it, and
``outcome.py`` judges it. With a memory limit, ``chain_reaction.py`` makes clients greedy, and
``under_limit.py`` plans that.
"""
