"""The ordered, checksummed entries of a log, and how they lie on shared storage."""
