"""TopK in one segment: by its index where that is quicker, else over the raw vectors.

Invariants: rows that are not allowed, and rows whose vector is null, are never hit; whenever at
least k rows may be hit under a filter, k are given.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from mishards.core.schema import FieldSchema, Metric
from mishards.index.distance import prepare_queries
from mishards.index.exact import nearest
from mishards.index.protocol import Bitmap, Floats, Offsets, VectorIndex
from mishards.segments import bitmaps
from mishards.segments.read import Segment

__all__ = ["prepare_queries", "search_segment"]

_CPUS = os.cpu_count() or 1
_ROW_COST = 0.4
"""What comparing a row where it lies costs, beside gathering and comparing it (measured)."""
_PARALLEL_QUERIES = 16
"""Fewer queries than this are searched in the calling thread: other calls keep the rest busy."""


def search_segment(
    segment: Segment,
    field: FieldSchema,
    metric: Metric,
    index: VectorIndex | None,
    params: Mapping[str, Any],
    queries: Floats,
    k: int,
    allowed: Bitmap | None,
    allowed_count: int,
    threads: int = _CPUS,
    told: dict[str, Any] | None = None,
) -> tuple[Floats, Offsets]:
    """The nearest rows of each query. Blocking; thread-safe; releases the GIL while it compares.

    Args:
        index: of this field and metric; None to search the raw vectors.
        params: search parameters checked by the index's family; ignored without `index`.
        queries: float32, shape (nq, dim), from `prepare_queries`.
        k: at least 1.
        allowed: rows that may be hit (visible and matching the filter); None for all.
        allowed_count: rows in `allowed`; ignored when that is None.
        threads: most threads for a call with many queries.
        told: is told `method` (`index`, `brute_force`, or one after the other) and `rows_scanned`,
            the rows compared with each query, which of an index are estimated.

    Returns:
        Distances float32 and row offsets int64, shape (nq, k), best first; offset -1 beyond the
        last hit.
    """
    if len(queries) < _PARALLEL_QUERIES:
        threads = 1
    if field.nullable and (valid := segment.valid_bitmap(field.name)) is not None:
        allowed = valid if allowed is None else allowed & valid
        allowed_count = bitmaps.count(allowed)
    if allowed is None or allowed_count == segment.rows:
        if index is not None and index.work(k, params, segment.rows) < segment.rows * _ROW_COST:
            if told is not None:
                told["method"] = "index"
                told["rows_scanned"] = int(index.work(k, params, segment.rows))
            return index.search(queries, k, params, None, 0, threads)
        if told is not None:
            told["method"], told["rows_scanned"] = "brute_force", segment.rows
        return _exact(segment, field, metric, queries, k, None, threads)
    if index is None or index.work(k, params, allowed_count) >= allowed_count:
        if told is not None:
            told["method"], told["rows_scanned"] = "brute_force", allowed_count
        return _exact(segment, field, metric, queries, k, allowed, threads)
    if told is not None:
        told["method"] = "index"
        told["rows_scanned"] = int(index.work(k, params, allowed_count))
    distances, offsets = index.search(queries, k, params, allowed, allowed_count, threads)
    short = np.flatnonzero(offsets[:, min(k, allowed_count) - 1] < 0)
    if len(short):
        if told is not None:
            told["method"], told["rows_scanned"] = "index, then brute_force", allowed_count
        exact = _exact(segment, field, metric, queries[short], k, allowed, threads)
        distances[short], offsets[short] = exact
    return distances, offsets


def _exact(
    segment: Segment,
    field: FieldSchema,
    metric: Metric,
    queries: Floats,
    k: int,
    allowed: Bitmap | None,
    threads: int,
) -> tuple[Floats, Offsets]:
    """Brute force over the raw vectors."""
    name = field.name
    return nearest(
        segment.vectors(name),
        queries,
        k,
        metric,
        rows=None if allowed is None else bitmaps.offsets(allowed, segment.rows),
        scales=segment.inverse_norms(name) if metric is Metric.COSINE else None,
        threads=threads,
    )
