"""TopK in one segment over the raw vectors, a bounded piece of work at a time.

Invariant: the answer is that of `search_segment` without an index.
"""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from mishards.core.schema import FieldSchema, Metric
from mishards.index.exact import nearest
from mishards.index.protocol import Bitmap, Floats, Offsets
from mishards.segments import bitmaps
from mishards.segments.read import Segment


def scan_segment(
    segment: Segment,
    field: FieldSchema,
    metric: Metric,
    queries: Floats,
    k: int,
    allowed: Bitmap | None,
    numbers: int,
) -> Generator[None, None, tuple[Floats, Offsets]]:
    """The exact nearest rows of each query. Each step blocks, on whatever thread.

    Args:
        queries, allowed: as of `search_segment`.
        numbers: most float32 of rows that one step compares with queries.
    """
    if field.nullable and (valid := segment.valid_bitmap(field.name)) is not None:
        allowed = valid if allowed is None else allowed & valid
    vectors = segment.vectors(field.name)
    scales = segment.inverse_norms(field.name) if metric is Metric.COSINE else None
    rows = None if allowed is None else bitmaps.offsets(allowed, segment.rows)
    step = max(1, numbers // (len(queries) * int(vectors.shape[1])))
    best = nearest(vectors[:0], queries, k, metric, rows=np.empty(0, np.int64))
    for low in range(0, len(vectors) if rows is None else len(rows), step):
        picked = None if rows is None else rows[low : low + step]
        first, last = (low, low + step) if picked is None else (picked[0], picked[-1] + 1)
        distances, found = nearest(
            vectors[first:last],
            queries,
            k,
            metric,
            rows=None if picked is None else picked - first,
            scales=None if scales is None else scales[first:last],
        )
        best = _best_of(best, (distances, np.where(found < 0, found, found + first)), k, metric)
        yield
    return best


def _best_of(
    one: tuple[Floats, Offsets], other: tuple[Floats, Offsets], k: int, metric: Metric
) -> tuple[Floats, Offsets]:
    distances = np.concatenate((one[0], other[0]), axis=1)
    offsets = np.concatenate((one[1], other[1]), axis=1)
    score = distances if metric.smaller_is_closer else -distances
    order = np.argsort(score, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distances, order, axis=1), np.take_along_axis(offsets, order, axis=1)
