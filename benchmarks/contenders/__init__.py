"""One file per client. Each does the same work and prints one line of JSON (see benchmarks/work.py)."""
