"""A node under random abuse for minutes, with its invariants checked: `python -m bench soak`."""
