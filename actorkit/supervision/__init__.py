"""Supervisors: the shells around the machines of ``policy.supervision``."""
