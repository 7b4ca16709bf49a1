"""The Milvus gRPC API; its protobuf goes no further than this package."""
