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

_BLOCK_BYTES = 4 << 20
"""Rows that must be gathered or scaled are copied in blocks of about this size: near a cache."""
_MERGE_CELLS = 1 << 20
"""Queries × k that are merged over blocks at a time."""

_swig_ptr = faiss.swig_ptr


def inverse_norms(vectors: Floats) -> Floats:
    """One over each row's length, 0 for a zero row; shape (n,)."""
    result = np.empty(len(vectors), dtype=np.float32)
    step = _block_rows(vectors)
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
    step = max(_block_rows(vectors), min(k, count), 1)
    if count <= step:
        block = _gather(vectors, rows, scales, 0, count)
        distances, found = _knn(block, queries, k, metric)
        return distances, found if rows is None else _translate(found, rows)
    best = _padding(len(queries), k, metric)
    group = max(1, _MERGE_CELLS // k)
    for start in range(0, count, step):
        stop = min(start + step, count)
        block = _gather(vectors, rows, scales, start, stop)
        offsets = np.arange(start, stop) if rows is None else rows[start:stop]
        for low in range(0, len(queries), group):
            part = slice(low, low + group)
            distances, found = _knn(block, queries[part], min(k, stop - start), metric)
            _merge(best, part, distances, _translate(found, offsets), metric)
    return best


def _block_rows(vectors: Floats) -> int:
    return max(1, _BLOCK_BYTES // (int(vectors.shape[1]) * 4))


def _gather(
    vectors: Floats, rows: Offsets | None, scales: Floats | None, start: int, stop: int
) -> Floats:
    chosen: Any = slice(start, stop) if rows is None else rows[start:stop]
    block: Floats = vectors[chosen]
    if scales is not None:
        block = block * scales[chosen, np.newaxis]
    return np.ascontiguousarray(block)


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


def _translate(found: Offsets, offsets: Offsets) -> Offsets:
    """Positions in a block to row offsets; -1 stays."""
    if len(offsets) == 0:
        return found
    return np.where(found < 0, -1, offsets[found])


def _padding(nq: int, k: int, metric: Metric) -> tuple[Floats, Offsets]:
    worst = np.inf if metric.smaller_is_closer else -np.inf
    return np.full((nq, k), worst, dtype=np.float32), np.full((nq, k), -1, dtype=np.int64)


def _merge(
    best: tuple[Floats, Offsets], part: slice, distances: Floats, found: Offsets, metric: Metric
) -> None:
    """Merge hits of a block into rows `part` of `best`, in place."""
    k = best[0].shape[1]
    all_distances = np.concatenate((best[0][part], distances), axis=1)
    all_found = np.concatenate((best[1][part], found), axis=1)
    scores = all_distances if metric.smaller_is_closer else -all_distances
    order = np.argsort(scores, axis=1, kind="stable")[:, :k]
    best[0][part] = np.take_along_axis(all_distances, order, axis=1)
    best[1][part] = np.take_along_axis(all_found, order, axis=1)
