"""What OTP and Elixir have beside supervisors.

Finding actors: ``registry`` (by key, one or many; its table is ``registry_table``) and
``process_groups`` (addressed together). Both hold tables of actors, which ``actor_set`` keeps free
of dead ones.

Running functions: ``task_supervisor`` runs one as a process; ``task_stream`` runs one over many
items, with ``stream_pump``, ``stream_source`` and ``basket`` as its parts.
"""
