"""gRPC servers that carry raw bytes between clients and a method table."""
