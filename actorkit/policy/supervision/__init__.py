"""What a supervisor decides about the lives and restarts of its children: events in, actions out."""
