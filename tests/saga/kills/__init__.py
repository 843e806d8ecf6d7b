"""Sagas whose process is killed at random points: what is left is undone, or named."""
