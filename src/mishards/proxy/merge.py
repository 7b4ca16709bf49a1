"""Merging the partial results of readers: pure functions of lists of any length.

Invariant: the merged top-k equals the top-k of one node that holds all the segments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mishards.core.columns import decode_batch
from mishards.core.errors import InternalError
from mishards.index.topk import key_codes, select_top, select_top_few
from mishards.rpc.messages import QueryPartial, SearchPartial

TIMESTAMP_COLUMN = "$ts"
_FEW_HITS = 64
Ints = np.ndarray[Any, np.dtype[np.int64]]


class Hits(msgspec.Struct, frozen=True, kw_only=True):
    """Hits of all queries in a row, best first; `columns` where the readers gave them."""

    counts: np.ndarray[Any, np.dtype[np.int32]]
    keys: Ints | list[str]
    distances: np.ndarray[Any, np.dtype[np.float32]]
    units: Ints
    offsets: Ints
    columns: pa.RecordBatch | None


def hits_of(partial: SearchPartial) -> Hits:
    """The arrays of one partial."""
    keys = partial.keys
    return Hits(
        counts=np.frombuffer(partial.counts, np.int32),
        keys=keys if isinstance(keys, list) else np.frombuffer(keys, np.int64),
        distances=np.frombuffer(partial.distances, np.float32),
        units=np.frombuffer(partial.units, np.int64),
        offsets=np.frombuffer(partial.offsets, np.int64),
        columns=decode_batch(partial.columns) if len(partial.columns) else None,
    )


def merge_hits(
    partials: Sequence[SearchPartial], nq: int, k: int, *, smaller_is_closer: bool
) -> Hits:
    """The best `k` hits of each query over all partials.

    A single partial is taken as it is: readers give their hits sorted, distinct and cut to k.
    """
    if len(partials) == 1:
        return hits_of(partials[0])
    parts = [hits_of(partial) for partial in partials]
    if not parts:
        return _no_hits(nq)
    for part in parts:
        if len(part.counts) != nq:
            raise InternalError(f"a reader answered {len(part.counts)} queries instead of {nq}")
    keys = _joined_keys(parts)
    queries = (
        None
        if nq == 1
        else np.concatenate([np.repeat(np.arange(nq), part.counts) for part in parts])
    )
    distances = np.concatenate([part.distances for part in parts])
    stamps = np.concatenate([np.frombuffer(p.timestamps, np.int64) for p in partials])
    chosen = _chosen(queries, distances, keys, stamps, k, smaller_is_closer)
    counts = (
        np.array([len(chosen)], np.int32)
        if queries is None
        else np.bincount(queries[chosen], minlength=nq).astype(np.int32)
    )
    columns = [part.columns for part in parts if part.columns is not None]
    return Hits(
        counts=counts,
        keys=[keys[i] for i in chosen] if isinstance(keys, list) else keys[chosen],
        distances=distances[chosen],
        units=np.concatenate([part.units for part in parts])[chosen],
        offsets=np.concatenate([part.offsets for part in parts])[chosen],
        columns=concat_batches(columns).take(pa.array(chosen)) if columns else None,
    )


def _chosen(
    queries: Ints | None,
    distances: np.ndarray[Any, np.dtype[np.float32]],
    keys: Ints | list[str],
    stamps: Ints,
    k: int,
    smaller_is_closer: bool,
) -> Ints:
    """Places of the hits to keep."""
    if queries is None and len(distances) <= _FEW_HITS:
        named = keys if isinstance(keys, list) else keys.tolist()
        places = select_top_few(
            distances.tolist(), named, stamps.tolist(), k, smaller_is_closer=smaller_is_closer
        )
        return np.array(places, np.int64)
    numbers = key_codes(keys) if isinstance(keys, list) else keys
    return select_top(queries, distances, numbers, stamps, k, smaller_is_closer=smaller_is_closer)


def _joined_keys(parts: Sequence[Hits]) -> Ints | list[str]:
    if any(isinstance(part.keys, list) for part in parts):
        return [key for part in parts for key in part.keys]
    return np.concatenate([part.keys for part in parts])


def _no_hits(nq: int) -> Hits:
    none = np.empty(0, np.int64)
    return Hits(
        counts=np.zeros(nq, np.int32),
        keys=none,
        distances=np.empty(0, np.float32),
        units=none,
        offsets=none,
        columns=None,
    )


def skip_hits(hits: Hits, offset: int) -> Hits:
    """Without the first `offset` hits of each query."""
    if offset == 0:
        return hits
    ends = np.cumsum(hits.counts)
    starts = ends - hits.counts
    place = np.arange(len(hits.distances)) - np.repeat(starts, hits.counts)
    kept = np.flatnonzero(place >= offset)
    keys = hits.keys
    return Hits(
        counts=np.maximum(hits.counts - offset, 0).astype(np.int32),
        keys=[keys[i] for i in kept] if isinstance(keys, list) else keys[kept],
        distances=hits.distances[kept],
        units=hits.units[kept],
        offsets=hits.offsets[kept],
        columns=None if hits.columns is None else hits.columns.take(pa.array(kept)),
    )


def concat_batches(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """One batch of all rows, in order."""
    if len(batches) == 1:
        return batches[0]
    return pa.concat_batches(batches)


def merge_rows(
    partials: Sequence[QueryPartial], primary: str, offset: int, limit: int
) -> pa.RecordBatch | None:
    """Rows of all partials by primary key, one per key (the newest), cut to offset and limit.

    Returns:
        The rows without `$ts`; None when no reader was asked.
    """
    batches = [decode_batch(partial.columns) for partial in partials if len(partial.columns)]
    if not batches:
        return None
    rows = concat_batches(batches)
    keys, stamps = rows.column(primary), rows.column(TIMESTAMP_COLUMN)
    order = pc.sort_indices(
        pa.table({"key": keys, "ts": stamps}),
        sort_keys=[("key", "ascending"), ("ts", "descending")],
    )
    ordered = keys.take(order)
    if len(ordered) > 1:
        fresh = pc.not_equal(ordered.slice(1), ordered.slice(0, len(ordered) - 1))
        order = order.filter(pa.concat_arrays([pa.array([True]), fresh]))
    order = order.slice(offset, limit) if limit else order.slice(offset)
    return rows.take(order).drop_columns([TIMESTAMP_COLUMN])
