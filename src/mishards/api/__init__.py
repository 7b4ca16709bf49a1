"""The protocols that clients speak, each in its own package."""
