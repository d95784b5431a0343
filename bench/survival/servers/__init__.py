"""The servers of the survival table, one process each, all speaking the protocol of
``bench.survival.protocol``.
"""
