"""Pure decisions: supervision, exit signals, and how a node copes with memory pressure.

Nothing in here waits, reads a clock, draws a random number, logs or touches another actor. Time
comes in with the events, and decisions go out as actions for the shell to perform.
"""
