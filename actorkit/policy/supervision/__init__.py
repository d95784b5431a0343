"""What a supervisor decides about its children's lives and restarts: events in, actions out."""
