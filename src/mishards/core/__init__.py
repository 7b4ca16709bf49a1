"""Types and rules that every other package stands on; imports nothing of the project."""
