"""What actors hold, what they may hold, and what is done when they hold more.

``holdings`` says what an actor holds. ``budget`` is the limit of one actor: when it is looked at,
and what follows. ``budgeted_record`` sizes what arrives at an actor with a budget. ``sweep`` looks
at all of them once a second, and ``node_budgets`` is the node's table of them. ``footprints``
learns from what supervised children held.

Nothing here knows how actors are born or run. ``runtime.life`` imports this folder, makes a node's
``Budgets``, and enters a budgeted class for each kind of record that it adds.
"""
