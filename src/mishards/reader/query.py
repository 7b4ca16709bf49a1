"""Rows by filter or by key over the units of one reader, sorted by primary key.

Invariants: an answer holds a primary key once, its newest row; the limit cuts before any output
column is read. A count counts rows, as Milvus does.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mishards.core.columns import arrow_type, decode_batch, encode_batch, primary_key_type
from mishards.core.errors import FieldNotFound
from mishards.core.schema import CollectionSchema
from mishards.observability.tracing import Recorder
from mishards.reader.filters import FilterCache, MaskCache, Selection
from mishards.reader.gather import gather_columns
from mishards.reader.growing_reads import GrowingSpan, keys_at
from mishards.reader.opened import OpenSegment
from mishards.reader.plan import ReadState, rows_of_segment, rows_with_keys
from mishards.rpc.messages import Query, QueryPartial
from mishards.segments.bitmaps import unpack

TIMESTAMP_COLUMN = "$ts"
Array = np.ndarray[Any, Any]


class _Rows(NamedTuple):
    """Rows of one unit; `offsets` are places in the view for growing rows."""

    keys: pa.Array
    timestamps: Array
    offsets: Array
    source: int


class Querier:
    """Answers queries on a `ReadState`. Thread-safe."""

    def __init__(self, filters: FilterCache, masks: MaskCache) -> None:
        self._filters = filters
        self._masks = masks

    def query(
        self, state: ReadState, message: Query, recorder: Recorder | None = None
    ) -> QueryPartial:
        """The rows, or their number.

        Args:
            recorder: records what is done, where the caller asked for it.

        Raises:
            FilterError: points at the place.
            FieldNotFound: an output column does not exist.
        """
        schema = state.view.schema
        for name in message.output:
            if name not in schema.by_name:
                raise FieldNotFound(f"field {name!r} not found in collection {schema.name!r}")
        selection = (
            self._filters.selection(state.view.id, schema, message.filter, message.templates)
            if message.filter
            else None
        )
        keys = decode_batch(message.keys).column(0) if len(message.keys) else None
        if message.count:
            if recorder is not None:
                recorder.begin("count")
            return QueryPartial(
                count=self._count(state, selection, keys),
                failures=state.failures,
                read_ts=state.read_ts,
            )
        units = []
        for source, opened in enumerate(state.segments):
            told = None
            if recorder is not None and not recorder.is_full:
                told = recorder.begin("filter_segment").attributes
            places = self._places(opened, state, selection, keys)
            if told is not None:
                told["segment"], told["rows"] = opened.meta.id, opened.segment.rows
                told["rows_allowed"] = len(places)
            units.append(_segment_rows(source, opened, places))
        if (span := state.growing) is not None:
            if recorder is not None:
                recorder.begin("filter_growing").attributes = {"rows": span.rows}
            places = self._growing_places(span, selection, keys)
            units.append(_growing_rows(len(units), span, schema, places))
        if recorder is not None:
            recorder.begin("merge")
        units = [unit for unit in units if len(unit.offsets)]
        return _answer(state, message, units)

    def _count(self, state: ReadState, selection: Selection | None, keys: pa.Array | None) -> int:
        total = 0
        for opened in state.segments:
            if keys is not None:
                total += len(self._places(opened, state, selection, keys))
                continue
            rows = rows_of_segment(opened, state, selection, self._masks)
            total += opened.segment.rows if rows is None else rows.rows
        if (span := state.growing) is not None:
            total += len(self._growing_places(span, selection, keys))
        return total

    def _places(
        self,
        opened: OpenSegment,
        state: ReadState,
        selection: Selection | None,
        keys: pa.Array | None,
    ) -> Array:
        """Offsets of the rows that are visible, match and have one of the keys, ascending."""
        rows = rows_of_segment(opened, state, selection, self._masks)
        if rows is None:
            if keys is None:
                return np.arange(opened.segment.rows)
            return np.flatnonzero(rows_with_keys(opened, keys))
        mask = unpack(rows.bits, opened.segment.rows)
        if keys is not None:
            mask = mask & rows_with_keys(opened, keys)
        return np.flatnonzero(mask)

    def _growing_places(
        self,
        span: GrowingSpan,
        selection: Selection | None,
        keys: pa.Array | None,
    ) -> Array:
        mask = span.matching(selection, self._masks)
        if keys is not None:
            wanted = span.with_keys(keys)
            mask = wanted if mask is None else mask & wanted
        if mask is None:
            return np.arange(span.low, span.high)
        return np.flatnonzero(mask) + span.low


def _segment_rows(source: int, opened: OpenSegment, offsets: Array) -> _Rows:
    keys = opened.segment.take_keys(offsets)
    if isinstance(keys, np.ndarray):
        keys = pa.array(keys)
    return _Rows(keys, opened.segment.timestamps[offsets], offsets, source)


def _growing_rows(source: int, span: GrowingSpan, schema: CollectionSchema, places: Array) -> _Rows:
    keys = pa.array(keys_at(span.view, places), primary_key_type(schema))
    return _Rows(keys, span.view.timestamps[places], places, source)


def _answer(state: ReadState, message: Query, units: list[_Rows]) -> QueryPartial:
    schema = state.view.schema
    primary = schema.primary.name
    names = [primary, *(name for name in message.output if name != primary)]
    if not units:
        empty = pa.schema(
            [
                *(pa.field(name, arrow_type(schema.by_name[name])) for name in names),
                pa.field(TIMESTAMP_COLUMN, pa.int64()),
            ]
        )
        batch = pa.RecordBatch.from_pylist([], schema=empty)
    else:
        sources = np.repeat([u.source for u in units], [len(u.offsets) for u in units])
        offsets = np.concatenate([u.offsets for u in units])
        stamps = np.concatenate([u.timestamps for u in units])
        chosen = _first(pa.concat_arrays([u.keys for u in units]), stamps, message.limit)
        rows = gather_columns(state, names, sources[chosen], offsets[chosen])
        batch = rows.append_column(TIMESTAMP_COLUMN, pa.array(stamps[chosen]))
    return QueryPartial(
        columns=encode_batch(batch),
        count=batch.num_rows,
        failures=state.failures,
        read_ts=state.read_ts,
    )


def _first(keys: pa.Array, timestamps: Array, limit: int) -> Array:
    """The newest row of each key, by key, at most `limit` (0: all)."""
    order = pc.sort_indices(
        pa.table({"key": keys, "ts": timestamps}),
        sort_keys=[("key", "ascending"), ("ts", "descending")],
    )
    ordered = keys.take(order)
    chosen: Array = order.to_numpy()
    if len(ordered) > 1:
        fresh = pc.not_equal(ordered.slice(1), ordered.slice(0, len(ordered) - 1))
        if not pc.all(fresh).as_py():
            chosen = chosen[np.concatenate(([True], fresh.to_numpy(zero_copy_only=False)))]
    return chosen[:limit] if limit else chosen
