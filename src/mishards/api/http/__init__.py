"""A node's HTTP endpoint."""
