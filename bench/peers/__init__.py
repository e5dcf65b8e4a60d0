"""The other senders: each a Django project of its own, run by the interpreter of the throw-away environment.

Only Django, the peer's own packages and `bench.processes` are there, nothing else of ours.
"""
