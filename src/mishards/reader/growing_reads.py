"""Reading growing rows: which are visible and match, the nearest of them, and their columns.

Pure functions of a `GrowingView` and a range of its rows; for any thread.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from mishards.core.ids import PartitionId, Timestamp
from mishards.core.schema import FieldSchema, Metric
from mishards.index.exact import nearest
from mishards.index.protocol import Floats, Offsets
from mishards.reader.filters import Mask, MaskCache, Selection
from mishards.reader.growing_view import Array, Chunk, GrowingView
from mishards.segments.bitmaps import unpack


class GrowingSpan:
    """Rows `low … high - 1` of a view, as seen by one read.

    Attributes:
        partitions: rows of others are not seen.
    """

    __slots__ = ("high", "low", "partitions", "read_ts", "view")

    def __init__(
        self,
        view: GrowingView,
        after: Timestamp,
        read_ts: Timestamp,
        partitions: Collection[PartitionId],
        expired: Timestamp,
    ) -> None:
        """Rows up to `expired` are not seen. Raises `StalePlan` when rows after `after` were let
        go."""
        self.view = view
        self.read_ts = read_ts
        self.partitions = partitions
        low, high = view.span(after, read_ts)
        if expired > after:
            low = min(max(low, int(view.timestamps.searchsorted(expired, "right"))), high)
        self.low, self.high = low, high

    @property
    def rows(self) -> int:
        return self.high - self.low

    def visible(self) -> Mask | None:
        """Per row of the span whether it is seen; None when all are."""
        view, part = self.view, slice(self.low, self.high)
        mask: Mask | None = None
        if view.any_deleted:
            mask = view.deleted[part] > self.read_ts
        if not view.partition_ids.issubset(self.partitions):
            inside = np.isin(view.partitions[part], list(self.partitions))
            mask = inside if mask is None else mask & inside
        return mask

    def matching(self, selection: Selection | None, masks: MaskCache) -> Mask | None:
        """Per row of the span whether it is seen and matches; None when all do."""
        mask = self.visible()
        if selection is None:
            return mask
        matches = self._filtered(selection, masks)
        return matches if mask is None else mask & matches

    def _filtered(self, selection: Selection, masks: MaskCache) -> Mask:
        parts = []
        start = 0
        for chunk in self.view.chunks:
            end = start + chunk.rows
            if end > self.low and start < self.high:
                rows = _chunk_mask(self.view, chunk, start, selection, masks)
                parts.append(rows[max(self.low - start, 0) : self.high - start])
            start = end
        return np.concatenate(parts) if parts else np.zeros(0, np.bool_)

    def nearest(
        self, field: FieldSchema, metric: Metric, queries: Floats, k: int, mask: Mask | None
    ) -> tuple[Floats, Offsets]:
        """As `search_segment`, over the rows of the span that `mask` allows; hits are places in
        the view."""
        part = slice(self.low, self.high)
        if field.nullable:
            present = self.view.present[field.name][part]
            mask = present if mask is None else mask & present
        scales = self.view.scales[field.name][part] if metric is Metric.COSINE else None
        distances, found = nearest(
            self.view.vectors[field.name][part],
            queries,
            k,
            metric,
            rows=None if mask is None else np.flatnonzero(mask),
            scales=scales,
        )
        if self.low:
            found = np.where(found < 0, found, found + self.low)
        return distances, found

    def with_keys(self, keys: pa.Array) -> Mask:
        """Per row of the span whether its primary key is one of `keys`."""
        held = self.view.keys
        if isinstance(held, np.ndarray):
            return np.isin(held[self.low : self.high], keys.to_numpy())
        wanted = set(keys.to_pylist())
        return np.fromiter(
            (key in wanted for key in held[self.low : self.high]), np.bool_, self.rows
        )


def _chunk_mask(
    view: GrowingView, chunk: Chunk, start: int, selection: Selection, masks: MaskCache
) -> Mask:
    def make() -> Mask:
        columns = {name: _column(view, chunk, start, name) for name in selection.filter.columns}
        return selection.filter.mask(columns, chunk.rows)

    if selection.key is None:
        return make()
    return unpack(masks.mask((-chunk.serial, selection.key), make).bits, chunk.rows)


def _column(view: GrowingView, chunk: Chunk, start: int, name: str) -> pa.Array:
    if name in view.vectors:
        return _vectors(view, name, np.arange(start, start + chunk.rows))
    return chunk.columns.column(name)


def keys_at(view: GrowingView, places: Array) -> Array | list[str]:
    """Primary keys of rows: int64, or text."""
    if isinstance(view.keys, np.ndarray):
        return view.keys[places]
    held = view.keys
    return [held[place] for place in places.tolist()]


def take_growing(view: GrowingView, names: Sequence[str], places: Array) -> pa.RecordBatch:
    """Columns of rows, in the order given; a copy."""
    arrays = []
    chunk_of, inside = _locate(view, places)
    for name in names:
        if name in view.vectors:
            arrays.append(_vectors(view, name, places))
        else:
            arrays.append(_take_scalars(view, name, chunk_of, inside))
    return pa.RecordBatch.from_arrays(arrays, names=list(names))


def _vectors(view: GrowingView, name: str, places: Array) -> pa.Array:
    chosen = view.vectors[name][places]
    kind = pa.list_(pa.float32(), chosen.shape[1])
    present = view.present.get(name)
    mask = None
    if present is not None and not (valid := present[places]).all():
        mask = pa.array(~valid)
    return pa.FixedSizeListArray.from_arrays(pa.array(chosen.reshape(-1)), type=kind, mask=mask)


def _locate(view: GrowingView, places: Array) -> tuple[Array, Array]:
    """Per row the number of its chunk, and its place in there."""
    ends = np.cumsum([chunk.rows for chunk in view.chunks])
    chunk_of = ends.searchsorted(places, "right")
    starts = np.concatenate(([0], ends))
    return chunk_of, places - starts[chunk_of]


def _take_scalars(view: GrowingView, name: str, chunk_of: Array, inside: Array) -> pa.Array:
    numbers = np.unique(chunk_of)
    if len(numbers) == 1:
        return view.chunks[numbers[0]].columns.column(name).take(pa.array(inside))
    parts: list[Any] = []
    order = []
    for number in numbers:
        chosen = np.flatnonzero(chunk_of == number)
        parts.append(view.chunks[number].columns.column(name).take(pa.array(inside[chosen])))
        order.append(chosen)
    back = np.argsort(np.concatenate(order), kind="stable")
    return pa.concat_arrays(parts).take(pa.array(back))
