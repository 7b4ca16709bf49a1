"""Nodes among nodes: who is there, who leads, and how a log is followed."""
