"""What actors hold, what they may hold, and what is done when they hold more.

``holdings`` says what an actor holds. ``budget`` is the limit of one actor: when it is looked at,
and what follows. ``budgeted_record`` sizes what arrives at an actor with a budget. ``sweep`` looks
at all of them once a second, and ``node_budgets`` is the node's table of them. ``footprints``
learns from what supervised children held.

Nothing here knows how actors are born or run. ``runtime.life`` imports this folder and makes a
node's ``Budgets``. Whoever defines a kind of record enters the class that it becomes with a budget
(``budgeted_record.budgeted``).
"""
