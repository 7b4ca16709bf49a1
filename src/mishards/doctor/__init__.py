"""Looks a configuration and a running cluster over, and says what to do."""
