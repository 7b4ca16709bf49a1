"""Backups: a consistent state copied elsewhere while writes go on, and the way back."""
