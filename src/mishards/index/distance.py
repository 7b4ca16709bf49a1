"""Normalization and exact search over plain arrays.

Invariants: a zero vector normalizes to itself, so no distance is ever NaN; exact search holds a
bounded amount of memory beside its answer, whatever the numbers of rows and queries.
"""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np

from mishards.core.schema import Metric
from mishards.index.protocol import Floats, Offsets
from mishards.index.threads import limit_threads

_BLOCK_BYTES = 512 << 10
"""Rows that must be gathered or scaled are copied in blocks of this size: they stay in a cache."""
_HELD_HITS = 4 << 20
"""Hits (queries × k, with those of blocks not yet merged) that are held at a time."""
_MERGED_WIDTH = 1024
"""Hits per query of several blocks that are held before they are merged."""

_swig_ptr = faiss.swig_ptr


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


def nearest(
    vectors: Floats,
    queries: Floats,
    k: int,
    metric: Metric,
    *,
    rows: Offsets | None = None,
    scales: Floats | None = None,
    threads: int = 1,
) -> tuple[Floats, Offsets]:
    """The exact nearest rows of each query.

    Args:
        vectors: shape (n, dim), C-contiguous; a memory map is fine.
        queries: shape (nq, dim), prepared.
        rows: offsets that may be hit, ascending; None for all.
        scales: for COSINE the inverse norms of all rows; None when they are of length one.
        threads: most threads to use.

    Returns:
        Distances and row offsets, shape (nq, k), best first; offset -1 beyond the last hit.
    """
    limit_threads(threads)
    if rows is None and scales is None:
        return _knn(vectors, queries, k, metric)
    count = len(vectors) if rows is None else len(rows)
    if count == 0:
        return _padding(len(queries), k, metric)
    # A group of queries sees all blocks before the next: what is held stays small.
    group = max(1, _HELD_HITS // (2 * k))
    if len(queries) <= group:
        return _scan(vectors, queries, k, metric, rows, scales, count)
    parts = [
        _scan(vectors, queries[low : low + group], k, metric, rows, scales, count)
        for low in range(0, len(queries), group)
    ]
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def _scan(
    vectors: Floats,
    queries: Floats,
    k: int,
    metric: Metric,
    rows: Offsets | None,
    scales: Floats | None,
    count: int,
) -> tuple[Floats, Offsets]:
    """Search blocks of copied rows one after the other, and merge what they gave."""
    # Many queries pay for the block once; one query wants it to stay in the cache.
    size = _BLOCK_BYTES if len(queries) == 1 else 4 * _BLOCK_BYTES
    step = min(count, max(1, size // (4 * int(vectors.shape[1])), k // 2))
    buffer = np.empty((step, vectors.shape[1]), dtype=np.float32)
    held: list[tuple[Floats, Offsets]] = []
    width = 0
    for start in range(0, count, step):
        stop = min(start + step, count)
        block = buffer[: stop - start]
        chosen: Any = slice(start, stop)
        if rows is not None:
            chosen = rows[chosen]
            np.take(vectors, chosen, axis=0, out=block, mode="clip")
            if scales is not None:
                block *= scales[chosen, np.newaxis]
        else:
            assert scales is not None
            np.multiply(vectors[chosen], scales[chosen, np.newaxis], out=block)
        distances, found = _knn(block, queries, min(k, stop - start), metric)
        found = rows[start:stop][found] if rows is not None else found + start
        held.append((distances, found))
        width += distances.shape[1]
        if width > max(4 * k, _MERGED_WIDTH):
            held = [_merge(held, k, metric)]
            width = held[0][0].shape[1]
    distances, offsets = _merge(held, k, metric) if len(held) > 1 else held[0]
    missing = k - distances.shape[1]
    if missing == 0:
        return distances, offsets
    padding = _padding(len(queries), missing, metric)
    return (
        np.concatenate((distances, padding[0]), axis=1),
        np.concatenate((offsets, padding[1]), axis=1),
    )


def _knn(vectors: Floats, queries: Floats, k: int, metric: Metric) -> tuple[Floats, Offsets]:
    distances = np.empty((len(queries), k), dtype=np.float32)
    found = np.empty((len(queries), k), dtype=np.int64)
    call = faiss.knn_L2sqr if metric is Metric.L2 else faiss.knn_inner_product
    call(
        _swig_ptr(queries),
        _swig_ptr(vectors),
        vectors.shape[1],
        len(queries),
        len(vectors),
        k,
        _swig_ptr(distances),
        _swig_ptr(found),
    )
    return distances, found


def _padding(nq: int, k: int, metric: Metric) -> tuple[Floats, Offsets]:
    worst = np.inf if metric.smaller_is_closer else -np.inf
    return np.full((nq, k), worst, dtype=np.float32), np.full((nq, k), -1, dtype=np.int64)


def _merge(held: list[tuple[Floats, Offsets]], k: int, metric: Metric) -> tuple[Floats, Offsets]:
    """The best k of hits side by side; fewer when there are fewer."""
    distances = np.concatenate([part[0] for part in held], axis=1)
    offsets = np.concatenate([part[1] for part in held], axis=1)
    scores = distances if metric.smaller_is_closer else -distances
    order = np.argsort(scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distances, order, axis=1), np.take_along_axis(offsets, order, axis=1)
