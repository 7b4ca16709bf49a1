"""Normalization.

Invariant: a zero vector normalizes to itself, so no distance is ever NaN.
"""

from __future__ import annotations

import numpy as np

from mishards.core.schema import Metric
from mishards.index.protocol import Floats

_BLOCK_BYTES = 512 << 10
"""Rows are squared in blocks of this size: they stay in a cache."""


def inverse_norms(vectors: Floats) -> Floats:
    """One over each row's length, 0 for a zero row; shape (n,)."""
    result = np.empty(len(vectors), dtype=np.float32)
    step = max(1, _BLOCK_BYTES // (4 * int(vectors.shape[1])))
    for start in range(0, len(vectors), step):
        block = vectors[start : start + step]
        squares = np.einsum("ij,ij->i", block, block, dtype=np.float64)
        with np.errstate(divide="ignore"):
            result[start : start + step] = np.where(squares > 0, 1 / np.sqrt(squares), 0)
    return result


def normalize(vectors: Floats) -> Floats:
    """A copy with rows of length one; zero rows stay zero."""
    return np.multiply(vectors, inverse_norms(vectors)[:, np.newaxis], dtype=np.float32)


def prepare_queries(queries: Floats, metric: Metric) -> Floats:
    """Queries as indexes and exact search want them: contiguous, normalized for COSINE."""
    if metric is Metric.COSINE:
        return normalize(queries)
    return np.ascontiguousarray(queries, dtype=np.float32)
