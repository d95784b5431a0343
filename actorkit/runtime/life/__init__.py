"""How actors are born, run and die: the pool of workers, starts, ends."""
