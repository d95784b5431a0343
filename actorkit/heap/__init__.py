"""Every actor's heap: how much it has allocated, and (with the walk) how much is its own."""
