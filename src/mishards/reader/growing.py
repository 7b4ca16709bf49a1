"""Growing rows of one collection: logged, and not yet in a sealed segment a reader relies on.

Invariants: the loop's thread alone changes them; searches in other threads work on the published
`GrowingView`. Arrays grow by doubling, and a row's place in them never changes while a view refers
to them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from mishards.core.columns import vector_view
from mishards.core.ids import PartitionId, Timestamp
from mishards.core.schema import CollectionSchema, DataType, FieldSchema
from mishards.core.timestamps import MAX_TIMESTAMP
from mishards.index.distance import inverse_norms
from mishards.reader.growing_view import Array, Chunk, GrowingView

_LARGEST_MERGE = 65_536


class GrowingRows:
    """Holds and publishes the growing rows of a collection. From the loop's thread."""

    _rows: int
    _capacity: int
    _text: list[str]
    _keys: Array
    _timestamps: Array
    _partitions: Array
    _offsets: Array
    _deleted: Array
    _vectors: dict[str, Array]
    _scales: dict[str, Array]
    _present: dict[str, Array]
    _chunks: list[Chunk]
    _any_deleted: bool
    _partition_ids: frozenset[PartitionId]
    _places: dict[Any, list[int]]
    _indexed: int

    def __init__(self, schema: CollectionSchema, floor: Timestamp) -> None:
        """`floor`: rows up to this timestamp are never added here."""
        self._schema = schema
        self._text_keys = schema.primary.type is DataType.VARCHAR
        self._scalars = [field.name for field in schema.scalars]
        self._floor = floor
        self._reset(0)
        self.view = self._publish()

    @property
    def size_bytes(self) -> int:
        """What the rows take in memory, room for more among it; text keys are left out."""
        arrays = (self._keys, self._timestamps, self._partitions, self._offsets, self._deleted)
        named = (self._vectors, self._scales, self._present)
        found: int = sum(array.nbytes for array in arrays)
        found += sum(array.nbytes for held in named for array in held.values())
        found += sum(chunk.columns.nbytes for chunk in self._chunks)
        return found

    def append(self, batch: pa.RecordBatch, timestamp: Timestamp, partition: PartitionId) -> None:
        """Add the rows of one mutation, primary keys included; its timestamp is the newest."""
        rows = batch.num_rows
        start, end = self._rows, self._rows + rows
        self._reserve(end)
        key_column = batch.column(self._schema.primary.name)
        if self._text_keys:
            self._text.extend(key_column.to_pylist())
        else:
            self._keys[start:end] = key_column.to_numpy(zero_copy_only=False)
        self._timestamps[start:end] = timestamp
        self._partitions[start:end] = partition
        self._offsets[start:end] = np.arange(rows)
        self._deleted[start:end] = MAX_TIMESTAMP
        for field in self._schema.vectors:
            column = batch.column(field.name)
            vectors = _filled(column, field)
            self._vectors[field.name][start:end] = vectors
            self._scales[field.name][start:end] = inverse_norms(vectors)
            if field.nullable:
                self._present[field.name][start:end] = column.is_valid().to_numpy(
                    zero_copy_only=False
                )
        self._add_chunk(batch.select(self._scalars))
        self._partition_ids = self._partition_ids | {partition}
        self._rows = end
        self.view = self._publish()

    def delete(self, keys: list[Any], timestamp: Timestamp, partition: PartitionId) -> None:
        """Mark the rows of `keys` that are older than `timestamp`; of all partitions when 0."""
        if self._rows == 0:
            return
        self._index()
        hit = False
        for key in keys:
            places = self._places.pop(key, None)
            if places is None:
                continue
            for place in places:
                if partition and self._partitions[place] != partition:
                    self._places.setdefault(key, []).append(place)
                else:
                    self._deleted[place] = timestamp
                    hit = True
        if hit and not self._any_deleted:
            self._any_deleted = True
            self.view = self._publish()

    def prune(self, checkpoint: Timestamp) -> None:
        """Let go of the rows up to `checkpoint`."""
        if checkpoint <= self._floor:
            return
        self._floor = checkpoint
        old, rows = self.view, self._rows
        first = int(old.timestamps.searchsorted(checkpoint, "right"))
        if first:
            kept = rows - first
            text = self._text[first:]
            self._reset(kept)
            self._text = text
            if not self._text_keys:
                self._keys[:kept] = old.keys[first:]
            self._timestamps[:kept] = old.timestamps[first:]
            self._partitions[:kept] = old.partitions[first:]
            self._offsets[:kept] = old.offsets[first:]
            self._deleted[:kept] = old.deleted[first:]
            for name, vectors in old.vectors.items():
                self._vectors[name][:kept] = vectors[first:]
                self._scales[name][:kept] = old.scales[name][first:]
            for name, present in old.present.items():
                self._present[name][:kept] = present[first:]
            self._chunks = _chunks_from(old.chunks, first)
            self._rows = kept
            self._any_deleted = bool((self._deleted[:kept] != MAX_TIMESTAMP).any())
            self._partition_ids = frozenset(
                PartitionId(int(p)) for p in np.unique(self._partitions[:kept])
            )
        self.view = self._publish()

    def _reset(self, capacity: int) -> None:
        self._rows = 0
        self._capacity = capacity
        self._text = []
        self._keys = np.empty(0 if self._text_keys else capacity, np.int64)
        self._timestamps = np.empty(capacity, np.int64)
        self._partitions = np.empty(capacity, np.int64)
        self._offsets = np.empty(capacity, np.int64)
        self._deleted = np.empty(capacity, np.int64)
        self._vectors = {
            f.name: np.empty((capacity, f.dim), np.float32) for f in self._schema.vectors
        }
        self._scales = {f.name: np.empty(capacity, np.float32) for f in self._schema.vectors}
        self._present = {
            f.name: np.empty(capacity, np.bool_) for f in self._schema.vectors if f.nullable
        }
        self._chunks = []
        self._any_deleted = False
        self._partition_ids = frozenset()
        self._places = {}
        self._indexed = 0

    def _reserve(self, rows: int) -> None:
        if rows <= self._capacity:
            return
        capacity = max(rows, 2 * self._capacity, 64)
        if not self._text_keys:
            self._keys = _grown(self._keys, capacity, self._rows)
        self._timestamps = _grown(self._timestamps, capacity, self._rows)
        self._partitions = _grown(self._partitions, capacity, self._rows)
        self._offsets = _grown(self._offsets, capacity, self._rows)
        self._deleted = _grown(self._deleted, capacity, self._rows)
        for held in (self._vectors, self._scales, self._present):
            for name, array in held.items():
                held[name] = _grown(array, capacity, self._rows)
        self._capacity = capacity

    def _add_chunk(self, columns: pa.RecordBatch) -> None:
        """Keep few chunks: like a binary counter, equal neighbours become one.

        `concat_batches` copies, so that a chunk does not keep its entry's bytes alive.
        """
        parts = [columns]
        rows = columns.num_rows
        while self._chunks and self._chunks[-1].rows <= rows <= _LARGEST_MERGE:
            last = self._chunks.pop()
            parts.insert(0, last.columns)
            rows += last.rows
        self._chunks.append(Chunk(pa.concat_batches(parts)))

    def _index(self) -> None:
        """Bring the look-up by key up to the last row; loads without deletes never pay for it."""
        start, end = self._indexed, self._rows
        keys = self._text[start:end] if self._text_keys else self._keys[start:end].tolist()
        live = (self._deleted[start:end] == MAX_TIMESTAMP).tolist()
        for place, (key, alive) in enumerate(zip(keys, live, strict=True), start):
            if alive:
                self._places.setdefault(key, []).append(place)
        self._indexed = end

    def _publish(self) -> GrowingView:
        rows = self._rows
        view = GrowingView()
        view.rows = rows
        view.floor = self._floor
        view.keys = self._text if self._text_keys else self._keys[:rows]
        view.timestamps = self._timestamps[:rows]
        view.partitions = self._partitions[:rows]
        view.offsets = self._offsets[:rows]
        view.deleted = self._deleted[:rows]
        view.any_deleted = self._any_deleted
        view.partition_ids = self._partition_ids
        view.vectors = {name: array[:rows] for name, array in self._vectors.items()}
        view.scales = {name: array[:rows] for name, array in self._scales.items()}
        view.present = {name: array[:rows] for name, array in self._present.items()}
        view.chunks = tuple(self._chunks)
        return view


def _grown(array: Array, capacity: int, rows: int) -> Array:
    larger = np.empty((capacity, *array.shape[1:]), array.dtype)
    larger[:rows] = array[:rows]
    return larger


def _filled(column: pa.Array, field: FieldSchema) -> Array:
    """The vectors of a column, zeros where it is null."""
    vectors = vector_view(column, field.dim)
    if column.null_count:
        vectors = np.where(
            column.is_valid().to_numpy(zero_copy_only=False)[:, None], vectors, np.float32(0)
        )
    return vectors


def _chunks_from(chunks: tuple[Chunk, ...], first: int) -> list[Chunk]:
    """The chunks less their first rows."""
    kept = []
    for chunk in chunks:
        if first >= chunk.rows:
            first -= chunk.rows
        elif first:
            kept.append(Chunk(pa.concat_batches([chunk.columns.slice(first)])))
            first = 0
        else:
            kept.append(chunk)
    return kept
