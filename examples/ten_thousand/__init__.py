"""Ten thousand TCP connections, each an actor, and a bad day for some of them.

``python -m examples.ten_thousand`` starts two processes and watches them:

* ``service.py``  the actors: connections, rooms, supervisors. Start reading here.
* ``load.py``     the clients, plain trio: they check every reply and know nothing of actorkit.

``protocol.py`` is what the two say to each other over TCP, ``pipes.py`` what they say to the
watching process, ``display.py`` what you see of it.
"""
