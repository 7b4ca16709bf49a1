"""Stores around a store, each with one concern: retries, counts, faults."""
