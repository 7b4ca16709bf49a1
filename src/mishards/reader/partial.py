"""From the hits of several units to one partial: pure functions on arrays.

Invariants: hits of a query are sorted best first, distinct by primary key (the newest row's) and
at most k; what the units left out could not have been among them, or `is_complete` says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mishards.index.protocol import Floats, Offsets
from mishards.index.topk import Ints, key_codes, select_top

Array = np.ndarray[Any, Any]


class UnitHits(NamedTuple):
    """Hits of one unit, flat, best first within each query.

    Attributes:
        keys: int64, or text.
        units: as they go over the wire, one per hit.
        places: where the rows lie: as `offsets`, or in the view of the growing rows.
        full: per query whether the unit may have further hits beyond these.
    """

    queries: Ints
    distances: Array
    keys: Ints | list[str]
    timestamps: Ints
    units: Ints
    offsets: Ints
    places: Ints
    source: int
    full: Array


class Merged(NamedTuple):
    """The chosen hits of all units, query after query."""

    counts: Array
    distances: Array
    keys: Ints | list[str]
    timestamps: Ints
    units: Ints
    offsets: Ints
    places: Ints
    sources: Array
    complete: bool


def merge_units(units: Sequence[UnitHits], nq: int, k: int, *, smaller_is_closer: bool) -> Merged:
    """The best `k` hits of each query over all units."""
    queries = np.concatenate([u.queries for u in units])
    distances = np.concatenate([u.distances for u in units])
    keys = _joined(units)
    numbers = key_codes(keys) if isinstance(keys, list) else keys
    stamps = np.concatenate([u.timestamps for u in units])
    sources = np.repeat([u.source for u in units], [len(u.queries) for u in units])
    score = distances if smaller_is_closer else -distances
    chosen = _top_of_distinct(units, score, numbers, nq, k)
    distinct = chosen is not None
    if chosen is None:
        chosen = select_top(
            None if nq == 1 else queries,
            distances,
            numbers,
            stamps,
            k,
            smaller_is_closer=smaller_is_closer,
        )
    counts = np.bincount(queries[chosen], minlength=nq).astype(np.int32)
    return Merged(
        counts,
        distances[chosen],
        [keys[i] for i in chosen.tolist()] if isinstance(keys, list) else keys[chosen],
        stamps[chosen],
        np.concatenate([u.units for u in units])[chosen],
        np.concatenate([u.offsets for u in units])[chosen],
        np.concatenate([u.places for u in units])[chosen],
        sources[chosen],
        distinct or _is_complete(units, counts, score[chosen], k, smaller_is_closer),
    )


def single_unit(unit: UnitHits, nq: int) -> Merged:
    """The hits of the only unit, distinct as they are."""
    if nq == 1:
        counts = np.array([len(unit.queries)], np.int32)
    else:
        counts = np.bincount(unit.queries, minlength=nq).astype(np.int32)
    sources: Array = np.full(len(unit.queries), unit.source)
    return Merged(
        counts,
        unit.distances,
        unit.keys,
        unit.timestamps,
        unit.units,
        unit.offsets,
        unit.places,
        sources,
        True,
    )


def no_hits(nq: int) -> Merged:
    """Of `nq` queries that hit nothing."""
    none = np.empty(0, np.int64)
    return Merged(
        np.zeros(nq, np.int32), none.astype(np.float32), none, none, none, none, none, none, True
    )


def join_merged(parts: Sequence[Merged]) -> Merged:
    """The hits of groups of queries, one group after the other."""

    def joined(name: str) -> Array:
        return np.concatenate([getattr(part, name) for part in parts])

    texts = any(isinstance(part.keys, list) for part in parts)
    return Merged(
        joined("counts"),
        joined("distances"),
        [key for part in parts for key in part.keys] if texts else joined("keys"),
        joined("timestamps"),
        joined("units"),
        joined("offsets"),
        joined("places"),
        joined("sources"),
        all(part.complete for part in parts),
    )


def _top_of_distinct(
    units: Sequence[UnitHits], score: Array, keys: Ints, nq: int, k: int
) -> Ints | None:
    """Positions of the best `k` hits of each query, where no query hits a key twice.

    None where one does, or where units gave some queries fewer hits than others.
    """
    if nq == 1:
        if len(set(keys.tolist())) < len(keys):
            return None
        return np.lexsort((keys, score))[:k]
    widths = [len(unit.queries) // nq for unit in units]
    if any(width * nq != len(u.queries) for width, u in zip(widths, units, strict=True)):
        return None
    if not all(unit.full.all() for unit in units):
        return None
    starts = np.cumsum([0, *(len(unit.queries) for unit in units[:-1])])
    places = np.concatenate(
        [
            start + np.arange(nq * width).reshape(nq, width)
            for start, width in zip(starts, widths, strict=True)
        ],
        axis=1,
    )
    sorted_keys = np.sort(keys[places], axis=1)
    if (sorted_keys[:, 1:] == sorted_keys[:, :-1]).any():
        return None
    best = np.argsort(score[places], axis=1, kind="stable")[:, :k]
    top: Ints = np.take_along_axis(places, best, axis=1).reshape(-1)
    return top


def _joined(units: Sequence[UnitHits]) -> Ints | list[str]:
    if isinstance(units[0].keys, list):
        return [key for unit in units for key in unit.keys]
    return np.concatenate([unit.keys for unit in units])


def _is_complete(
    units: Sequence[UnitHits], counts: Array, score: Array, k: int, smaller_is_closer: bool
) -> bool:
    """Whether no unit's unseen hit could belong to the result.

    Duplicate keys take places in a unit's list of best hits. A unit with more to give matters
    where its last hit is better than the result's worst, or where the result is short.
    """
    worst = np.full(len(counts), np.inf)
    filled = counts == k
    worst[filled] = score[np.cumsum(counts)[filled] - 1]
    for unit in units:
        if not unit.full.any():
            continue
        last = np.full(len(counts), np.inf)
        # Hits are sorted within a query, so the worst of each is what stays.
        last[unit.queries] = unit.distances if smaller_is_closer else -unit.distances
        if bool((unit.full & (last < worst)).any()):
            return False
    return True


def flat_hits(distances: Floats, offsets: Offsets) -> tuple[Ints, Array, Ints, Array]:
    """Rows of hits, padded with -1, as flat arrays: queries, distances, offsets, full."""
    nq, k = offsets.shape
    if nq == 1:
        row = offsets[0]
        count = k if row[-1] >= 0 else int(np.count_nonzero(row >= 0))
        return np.zeros(count, np.int64), distances[0, :count], row[:count], np.array([count == k])
    valid = offsets >= 0
    full = valid[:, -1]
    if full.all():
        return np.repeat(np.arange(nq), k), distances.reshape(-1), offsets.reshape(-1), full
    return np.nonzero(valid)[0], distances[valid], offsets[valid], full
