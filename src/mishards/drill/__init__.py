"""Drills: a fault in a running cluster, on purpose, and what its clients saw of it."""
