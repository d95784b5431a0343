"""What one may ask a node and an actor."""
