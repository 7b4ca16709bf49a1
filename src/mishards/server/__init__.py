"""The composition root: from configuration to running roles, and back to nothing."""
