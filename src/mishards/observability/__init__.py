"""Logs of the process."""
