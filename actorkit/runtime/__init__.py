"""Actors: their life, their messages and budgets, and the node that they live on."""
