"""Exact search over plain arrays.

Invariants: beside its answer and four bytes per row it holds a bounded amount of memory, whatever
the numbers of rows and queries; equal arguments give equal answers.
"""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np

from mishards.core.schema import Metric
from mishards.index.protocol import Floats, Offsets
from mishards.index.threads import limit_threads

_FEW_QUERIES = 8
"""Up to so many queries are scored one by one, without copying a row; more share copied blocks."""
_DENSE_SHARE = 0.25
"""From this share of the rows on, scoring all of them in order is quicker than picking."""
_BLOCK_BYTES = 2 << 20
"""Rows that must be gathered or scaled are copied in blocks of this size: they stay in a cache."""
_HELD_HITS = 4 << 20
"""Hits (queries × k, with those of blocks not yet merged) that are held at a time."""
_MERGED_WIDTH = 1024
"""Hits per query of several blocks that are held before they are merged."""

_pointer = faiss.swig_ptr
_FAISS: dict[str, Any] = vars(faiss)


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
    if rows is None and scales is None and len(queries) <= _FEW_QUERIES:
        return _knn(vectors, queries, k, metric)
    count = len(vectors) if rows is None else len(rows)
    if count == 0:
        return _padding(len(queries), k, metric)
    if len(queries) <= _FEW_QUERIES:
        return _score_all(vectors, queries, k, metric, rows, scales)
    # A group of queries sees all blocks before the next: what is held stays small.
    group = max(1, _HELD_HITS // (2 * k))
    if len(queries) <= group:
        return _scan(vectors, queries, k, metric, rows, scales, count)
    parts = [
        _scan(vectors, queries[low : low + group], k, metric, rows, scales, count)
        for low in range(0, len(queries), group)
    ]
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def _score_all(
    vectors: Floats,
    queries: Floats,
    k: int,
    metric: Metric,
    rows: Offsets | None,
    scales: Floats | None,
) -> tuple[Floats, Offsets]:
    """Score the allowed rows query by query, where they lie, and pick the best of the scores."""
    answer = _padding(len(queries), k, metric)
    picked = None if rows is None or len(rows) >= _DENSE_SHARE * len(vectors) else rows
    scores = np.empty(len(vectors) if picked is None else len(picked), dtype=np.float32)
    factors = scales if scales is None or picked is None else scales[picked]
    for number in range(len(queries)):
        _score(vectors, queries[number], metric, picked, scores)
        if factors is not None:
            scores *= factors
        eligible = scores if rows is None or picked is not None else scores[rows]
        best = _best(eligible if metric.smaller_is_closer else -eligible, k)
        answer[0][number, : len(best)] = eligible[best]
        answer[1][number, : len(best)] = best if rows is None else rows[best]
    return answer


def _score(
    vectors: Floats, query: Floats, metric: Metric, rows: Offsets | None, scores: Floats
) -> None:
    """Fill `scores` with the distances of all rows, or of `rows`, to one query."""
    dim = vectors.shape[1]
    x, y, out = _pointer(query), _pointer(vectors), _pointer(scores)
    name = "L2sqr" if metric is Metric.L2 else "inner_products"
    if rows is None:
        _FAISS[f"fvec_{name}_ny"](out, x, y, dim, len(vectors))
    else:
        _FAISS[f"fvec_{name}_by_idx"](out, x, y, _pointer(rows), dim, 1, len(rows))


def _best(scores: Floats, k: int) -> Offsets:
    """Positions of the k least scores, the least first."""
    if k < len(scores):
        nearest_ones = np.argpartition(scores, k - 1)[:k]
        return nearest_ones[np.argsort(scores[nearest_ones], kind="stable")]
    return np.argsort(scores, kind="stable")


def _scan(
    vectors: Floats,
    queries: Floats,
    k: int,
    metric: Metric,
    rows: Offsets | None,
    scales: Floats | None,
    count: int,
) -> tuple[Floats, Offsets]:
    """Search blocks of rows one after the other, and merge what they gave: for many queries
    this is twice as quick as one pass, because a block stays in the cache."""
    step = min(count, max(1, _BLOCK_BYTES // (4 * int(vectors.shape[1])), k // 2))
    copied = rows is not None or scales is not None
    buffer = np.empty((step, vectors.shape[1]) if copied else (0, 0), dtype=np.float32)
    held: list[tuple[Floats, Offsets]] = []
    width = 0
    for start in range(0, count, step):
        stop = min(start + step, count)
        block = vectors[start:stop]
        if copied:
            block = _copy_rows(vectors, rows, scales, start, stop, buffer[: stop - start])
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


def _copy_rows(
    vectors: Floats,
    rows: Offsets | None,
    scales: Floats | None,
    start: int,
    stop: int,
    out: Floats,
) -> Floats:
    """Rows `start … stop` of those allowed, scaled where there are scales, in `out`."""
    chosen: Any = slice(start, stop) if rows is None else rows[start:stop]
    if rows is not None:
        np.take(vectors, chosen, axis=0, out=out, mode="clip")
    source = vectors[chosen] if rows is None else out
    if scales is not None:
        np.multiply(source, scales[chosen, np.newaxis], out=out)
    return out


def _knn(vectors: Floats, queries: Floats, k: int, metric: Metric) -> tuple[Floats, Offsets]:
    distances = np.empty((len(queries), k), dtype=np.float32)
    found = np.empty((len(queries), k), dtype=np.int64)
    call = faiss.knn_L2sqr if metric is Metric.L2 else faiss.knn_inner_product
    call(
        _pointer(queries),
        _pointer(vectors),
        vectors.shape[1],
        len(queries),
        len(vectors),
        k,
        _pointer(distances),
        _pointer(found),
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
