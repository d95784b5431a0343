"""What actors hold, what they may hold, and what is done when they hold more."""
