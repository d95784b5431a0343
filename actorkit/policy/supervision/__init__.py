"""What a supervisor decides: specs, lives and restarts of its children, as events in and actions out."""
