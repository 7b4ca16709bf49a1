"""Sends traces to where they are kept and looked at."""
