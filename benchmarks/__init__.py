"""napixclient measured against other HTTP clients: `python -m benchmarks` (see README.md)."""
