"""The stateless role in front: validates, plans, scatters, merges; sends writes to the writer."""
