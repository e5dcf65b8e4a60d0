"""Faults that must be survived, made on purpose: `make faults`, or `python -m faults F1 F6 --seed 7`.

Each runs the product's own workers and beat against a PostgreSQL, a Valkey and a mail server of its own,
breaks something at random moments, and compares what it counted with the figures RELIABILITY promises; after
each, every invariant is asked. The seed is printed: the same seed breaks at the same moments.
"""
