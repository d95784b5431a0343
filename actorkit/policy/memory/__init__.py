"""What a governor decides: levels, victims, restarts, admission. Samples in, actions out."""
