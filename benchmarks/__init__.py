"""Measurements beside peers, each pair in one run on one machine."""
