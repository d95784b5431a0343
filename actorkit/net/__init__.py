"""Connections as actors: listeners, limits, TLS, framing."""
