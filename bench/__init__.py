"""Benchmarks of actorkit beside the BEAM and plain trio: `python -m bench NAME`."""
