"""A server that answers as a Kubernetes API server does, as far as providers depend on it."""
