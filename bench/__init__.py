"""`make bench`: ours, the physical floor and the peers, in turn in one run; see docs/benchmarks.md."""
