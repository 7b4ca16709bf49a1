"""A cluster as it is from second to second, for a terminal."""
