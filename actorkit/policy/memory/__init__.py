"""What a governor decides: levels, victims, restarts held back, work admitted. Samples in, actions out."""
