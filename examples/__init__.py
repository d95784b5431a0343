"""Programs that show actorkit at work; see README.md beside this file."""
