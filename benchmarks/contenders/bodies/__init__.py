"""Clients that receive and send large bodies. Each is a module with what `benchmarks.bodies.main` calls."""
