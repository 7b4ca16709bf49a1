"""Which node serves which segment: pure functions."""
