"""Limits that Milvus documents, in one place. Source: https://milvus.io/docs/limitations.md"""

MAX_NAME_LENGTH = 255
MAX_FIELDS = 64
MAX_VECTOR_FIELDS = 10
MIN_DIM = 2
MAX_DIM = 32_768
MAX_VARCHAR_BYTES = 65_535
MAX_JSON_BYTES = 65_536
MAX_ARRAY_CAPACITY = 4_096
MAX_TOP_K = 16_384
MAX_NQ = 16_384
MAX_QUERY_WINDOW = 16_384
"""Greatest `offset + limit` of a search or query."""
MAX_RESULTS = 16_384 * 512
"""Greatest `nq × (offset + limit)` of a search. Milvus has no such number by default, but refuses
answers beyond 100 MB, which is about as many."""
MAX_PARTITIONS = 1_024
MAX_DATABASES = 64
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""Greatest request at the gRPC edge."""
MAX_ANSWER_BYTES = 512 * 1024 * 1024
"""Greatest size of the output fields in an answer, as far as it follows from their types."""
