"""TopK over the units of one reader.

Invariants: the answer is sorted, distinct by primary key and cut to k, so a proxy may pass on a
single partial as it is; with exact units it equals the top k of all their rows. Runs in whatever
thread; touches nothing that changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from mishards.core.columns import encode_batch
from mishards.core.errors import FieldNotFound, IndexNotFound, InvalidParameter
from mishards.core.schema import FieldSchema, Metric
from mishards.index.distance import prepare_queries
from mishards.index.protocol import Floats, Offsets, VectorIndex
from mishards.index.registry import family
from mishards.metadata.models import IndexMeta
from mishards.metadata.snapshot import CollectionView
from mishards.observability.tracing import Recorder
from mishards.reader.filters import FilterCache, MaskCache, Selection
from mishards.reader.gather import gather_columns
from mishards.reader.growing_reads import GrowingSpan, keys_at
from mishards.reader.opened import OpenSegment
from mishards.reader.partial import (
    Merged,
    UnitHits,
    flat_hits,
    join_merged,
    merge_units,
    no_hits,
    single_unit,
)
from mishards.reader.plan import ReadState, rows_of_segment
from mishards.rpc.messages import Search, SearchPartial
from mishards.segments.search import search_segment

_US_PER_NUMBER = 1.5e-4
"""Time to compare one float32 of a row with a query (measured, brute force, one thread)."""
_US_PER_FILTERED_ROW = 0.02
_US_PER_UNIT = 10.0
_HELD_HITS = 2 << 20
"""Hits (queries × k × units) that are held before they are merged; more queries go in groups."""


class Target(NamedTuple):
    """What is searched for, checked against the collection's metadata.

    Attributes:
        params: checked search parameters of the index's family.
    """

    field: FieldSchema
    meta: IndexMeta
    params: Mapping[str, Any]
    selection: Selection | None

    @property
    def metric(self) -> Metric:
        return self.meta.metric


class Searcher:
    """Answers searches on a `ReadState`. Thread-safe."""

    def __init__(self, filters: FilterCache, masks: MaskCache) -> None:
        self._filters = filters
        self._masks = masks

    def target(self, view: CollectionView, message: Search) -> Target:
        """Check a search.

        Raises:
            FieldNotFound, IndexNotFound, InvalidParameter, FilterError: name what is wrong.
        """
        meta = view.meta
        index = meta.index_by_field.get(message.field)
        field = meta.schema.by_name.get(message.field)
        if field is None or not field.type.is_vector:
            raise FieldNotFound(
                f"vector field {message.field!r} not found in collection {meta.name!r}"
            )
        if index is None:
            raise IndexNotFound(f"no index on field {message.field!r} of collection {meta.name!r}")
        return Target(
            field,
            index,
            family(index.family).check_search(message.params, message.k),
            self._filters.selection(view.id, meta.schema, message.filter, message.templates)
            if message.filter
            else None,
        )

    def cost_us(self, state: ReadState, target: Target, message: Search) -> float:
        """About how long `search` will take."""
        rows = state.growing.rows if state.growing else 0.0
        filtered = 0
        for opened in state.segments:
            index = opened.index(target.meta)
            count = opened.segment.rows
            rows += count if index is None else index.work(message.k, target.params, count)
            selection = target.selection
            if selection and (opened.meta.id, selection.key) not in self._masks:
                filtered += count
        return (
            rows * message.nq * target.field.dim * _US_PER_NUMBER
            + filtered * _US_PER_FILTERED_ROW
            + len(state.segments) * _US_PER_UNIT
        )

    def search(
        self,
        state: ReadState,
        target: Target,
        message: Search,
        recorder: Recorder | None = None,
    ) -> SearchPartial:
        """The best hits of all units.

        Args:
            recorder: records what is done, where the caller asked for it.

        Raises:
            InvalidParameter: the queries do not have the field's dimension.
        """
        nq, k = message.nq, message.k
        queries = checked_queries(message, target)
        if state.growing is None and len(state.segments) == 1 and not message.output:
            opened = state.segments[0]
            if opened.unique_keys:
                fetch = min(k, opened.segment.rows)
                found = self._search_segment(opened, state, target, queries, fetch, recorder)
                if found is not None:
                    if recorder is not None:
                        recorder.begin("merge")
                    return _answer_of_one(state, opened, *found)
        group = max(1, _HELD_HITS // (k * (len(state.segments) + 1)))
        if nq <= group:
            merged = self._merged(state, target, queries, k, recorder)
            return partial_of(state, message, merged, recorder)
        parts = [
            self._merged(state, target, queries[low : low + group], k, recorder)
            for low in range(0, nq, group)
        ]
        return partial_of(state, message, join_merged(parts), recorder)

    def _merged(
        self,
        state: ReadState,
        target: Target,
        queries: Floats,
        k: int,
        recorder: Recorder | None,
    ) -> Merged:
        """The best `k` hits of each query over all units."""
        nq = len(queries)
        limit = most_rows(state)
        fetch = min(k, max(limit, 1))
        while True:
            units = self._search_units(state, target, queries, fetch, recorder)
            if recorder is not None:
                recorder.begin("merge").attributes = {"units": len(units)}
            merged = best_of_units(state, target, units, nq, k)
            if merged.complete or fetch >= limit:
                return merged
            fetch = min(2 * fetch, limit)

    def _search_units(
        self,
        state: ReadState,
        target: Target,
        queries: Floats,
        k: int,
        recorder: Recorder | None,
    ) -> list[UnitHits]:
        units = []
        for source, opened in enumerate(state.segments):
            found = self._search_segment(opened, state, target, queries, k, recorder)
            if found is not None:
                units.append(segment_hits(source, opened, *found))
        span = state.growing
        if span is not None:
            found = search_growing(span, target, self._masks, queries, k, recorder)
            if found is not None:
                units.append(growing_hits(len(state.segments), span, *found))
        return units

    def _search_segment(
        self,
        opened: OpenSegment,
        state: ReadState,
        target: Target,
        queries: Floats,
        k: int,
        recorder: Recorder | None,
    ) -> tuple[Floats, Offsets] | None:
        index: VectorIndex | None = opened.index(target.meta)
        told: dict[str, Any] | None = None
        if recorder is not None and not recorder.is_full:
            told = recorder.begin("search_segment").attributes
            told["segment"], told["rows"] = opened.meta.id, opened.segment.rows
            told["index"] = "none" if index is None else target.meta.family
        rows = rows_of_segment(opened, state, target.selection, self._masks)
        if told is not None and rows is not None:
            told["rows_allowed"] = rows.rows
        if rows is not None and rows.rows == 0:
            return None
        bits, count = (None, 0) if rows is None else rows
        return search_segment(
            opened.segment,
            target.field,
            target.meta.metric,
            index,
            target.params,
            queries,
            k,
            bits,
            count,
            told=told,
        )


def search_growing(
    span: GrowingSpan,
    target: Target,
    masks: MaskCache,
    queries: Floats,
    k: int,
    recorder: Recorder | None = None,
) -> tuple[Floats, Offsets] | None:
    """The nearest growing rows; None where none is seen and matches."""
    told = None if recorder is None else recorder.begin("search_growing").attributes
    mask = span.matching(target.selection, masks)
    if told is not None:
        told["rows"] = span.rows
        told["rows_scanned"] = span.rows if mask is None else int(np.count_nonzero(mask))
        told["method"] = "brute_force"
    if mask is not None and not mask.any():
        return None
    return span.nearest(target.field, target.meta.metric, queries, k, mask)


def best_of_units(
    state: ReadState, target: Target, units: list[UnitHits], nq: int, k: int
) -> Merged:
    """The best `k` hits of each query over all units."""
    if not units:
        return no_hits(nq)
    if len(units) == 1 and _is_distinct(state, units[0]):
        return single_unit(units[0], nq)
    return merge_units(units, nq, k, smaller_is_closer=target.metric.smaller_is_closer)


def _answer_of_one(
    state: ReadState, opened: OpenSegment, distances: Floats, offsets: Offsets
) -> SearchPartial:
    """The answer where all hits are of one segment without duplicates: as little as possible is
    done, since this is the path that is taken most."""
    if offsets[0, -1] >= 0 and len(offsets) == 1:
        near, rows = distances[0], offsets[0]
        counts = len(rows).to_bytes(4, "little")
    else:
        valid = offsets >= 0
        near, rows = distances[valid], offsets[valid]
        counts = np.count_nonzero(valid, axis=1).astype(np.int32).tobytes()
    segment = opened.segment
    keys = segment.take_keys(rows)
    return SearchPartial(
        counts=counts,
        keys=keys.tobytes() if isinstance(keys, np.ndarray) else keys.to_pylist(),
        distances=near.tobytes(),
        timestamps=segment.timestamps[rows].tobytes(),
        units=opened.meta.id.to_bytes(8, "little", signed=True) * len(rows),
        offsets=rows.tobytes(),
        failures=state.failures,
        read_ts=state.read_ts,
    )


def checked_queries(message: Search, target: Target) -> Floats:
    flat = np.frombuffer(message.queries, np.float32)
    dim = target.field.dim
    if len(flat) != message.nq * dim or message.nq < 1 or message.k < 1:
        raise InvalidParameter(
            f"{len(flat)} numbers are not {message.nq} queries of dimension {dim} "
            f"(top {message.k}) for field {target.field.name!r}"
        )
    return prepare_queries(flat.reshape(message.nq, dim), target.meta.metric)


def most_rows(state: ReadState) -> int:
    sizes = [opened.segment.rows for opened in state.segments]
    if state.growing:
        sizes.append(state.growing.rows)
    return max(sizes, default=0)


def _is_distinct(state: ReadState, unit: UnitHits) -> bool:
    """Whether one unit's hits cannot repeat a primary key."""
    if unit.source < len(state.segments):
        return state.segments[unit.source].unique_keys
    keys = unit.keys if isinstance(unit.keys, list) else unit.keys.tolist()
    return len(set(keys)) == len(keys)


def segment_hits(source: int, opened: OpenSegment, distances: Floats, offsets: Offsets) -> UnitHits:
    queries, near, rows, full = flat_hits(distances, offsets)
    segment = opened.segment
    keys = segment.take_keys(rows)
    return UnitHits(
        queries,
        near,
        keys if isinstance(keys, np.ndarray) else keys.to_pylist(),
        segment.timestamps[rows],
        np.full(len(rows), opened.meta.id, np.int64),
        rows,
        rows,
        source,
        full,
    )


def growing_hits(source: int, span: GrowingSpan, distances: Floats, places: Offsets) -> UnitHits:
    queries, near, rows, full = flat_hits(distances, places)
    view = span.view
    stamps = view.timestamps[rows]
    return UnitHits(
        queries, near, keys_at(view, rows), stamps, -stamps, view.offsets[rows], rows, source, full
    )


def partial_of(
    state: ReadState, message: Search, hits: Merged, recorder: Recorder | None = None
) -> SearchPartial:
    columns = b""
    if message.output and len(hits.units):
        if recorder is not None:
            recorder.begin("fetch_columns").attributes = {"rows": len(hits.units)}
        columns = encode_batch(gather_columns(state, message.output, hits.sources, hits.places))
    keys = hits.keys
    return SearchPartial(
        counts=hits.counts.tobytes(),
        keys=keys if isinstance(keys, list) else keys.tobytes(),
        distances=hits.distances.tobytes(),
        timestamps=hits.timestamps.tobytes(),
        units=hits.units.tobytes(),
        offsets=hits.offsets.tobytes(),
        columns=columns,
        failures=state.failures,
        read_ts=state.read_ts,
    )
