"""Writing a segment: rows in, a folder of durable files out.

Invariants: rows are sorted by primary key, equal keys by timestamp; every file is on the disk
before the manifest is; the memory held is that of the rows plus one block of vectors.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mishards.core.checksum import crc32
from mishards.core.columns import arrow_type, vector_view
from mishards.core.errors import InternalError
from mishards.core.ids import CollectionId, PartitionId, SegmentId, Timestamp
from mishards.core.schema import CollectionSchema, DataType, FieldSchema
from mishards.index.protocol import Offsets
from mishards.metadata.models import ColumnStatistics, SegmentMeta
from mishards.segments.layout import COLUMNS, TIMESTAMPS, validity_column, vectors_file
from mishards.segments.manifest import (
    FORMAT_VERSION,
    FileInfo,
    Manifest,
    file_info,
    sync_file,
    sync_folder,
    write_manifest,
)

_BLOCK_ROWS = 8192
_MOST_STATISTIC_CHARS = 256


def write_segment(
    folder: Path,
    schema: CollectionSchema,
    batch: pa.Table | pa.RecordBatch,
    timestamps: np.ndarray[Any, np.dtype[np.int64]],
    *,
    segment_id: SegmentId,
    collection_id: CollectionId,
    partition_id: PartitionId,
) -> SegmentMeta:
    """Write rows as a sealed segment. Blocking.

    Args:
        folder: created where missing; holds nothing else.
        batch: all columns of the schema (`core.columns`), in any order of rows; at least one row.
        timestamps: of the rows, in their order.

    Returns:
        The segment's record, `size_bytes` over all files.

    Raises:
        OSError: the disk is full or failing; the folder is then to be removed.
    """
    rows = batch.num_rows
    if rows == 0 or len(timestamps) != rows:
        raise InternalError(f"a segment of {rows} rows and {len(timestamps)} timestamps")
    folder.mkdir(parents=True, exist_ok=True)
    columns = {field.name: _contiguous(batch, field) for field in schema.fields}
    order = _key_order(columns[schema.primary.name], timestamps)
    scalars = {field.name: columns[field.name].take(order) for field in schema.scalars}
    files: dict[str, FileInfo] = {}
    arrow = dict(scalars)
    for field in schema.vectors:
        column = columns[field.name]
        name = vectors_file(field.id)
        files[name] = _write_vectors(folder / name, column, field.dim, order)
        if field.nullable:
            arrow[validity_column(field.id)] = column.is_valid().take(order)
    arrow[TIMESTAMPS] = pa.array(np.asarray(timestamps, dtype=np.int64)[order.to_numpy()])
    files[COLUMNS] = _write_columns(folder / COLUMNS, arrow)
    statistics = {
        field.name: found
        for field in schema.scalars
        if (found := _statistics(field, scalars[field.name])) is not None
    }
    keys = scalars[schema.primary.name]
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        segment_id=segment_id,
        collection_id=collection_id,
        partition_id=partition_id,
        rows=rows,
        min_ts=Timestamp(int(timestamps.min())),
        max_ts=Timestamp(int(timestamps.max())),
        low_key=keys[0].as_py(),
        high_key=keys[rows - 1].as_py(),
        statistics=statistics,
        files=files,
    )
    size = write_manifest(folder, manifest) + sum(info.size_bytes for info in files.values())
    sync_folder(folder)
    return SegmentMeta(
        id=segment_id,
        collection_id=collection_id,
        partition_id=partition_id,
        rows=rows,
        min_ts=manifest.min_ts,
        max_ts=manifest.max_ts,
        size_bytes=size,
        statistics=statistics,
    )


def _contiguous(batch: pa.Table | pa.RecordBatch, field: FieldSchema) -> pa.Array:
    column = batch.column(field.name)
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            raise InternalError(f"column {field.name!r} is too large for one segment")
    kind = arrow_type(field)
    return column if column.type == kind else column.cast(kind)


def _key_order(keys: pa.Array, timestamps: np.ndarray[Any, np.dtype[np.int64]]) -> pa.Array:
    table = pa.table({"key": keys, "ts": pa.array(timestamps)})
    return pc.sort_indices(table, sort_keys=[("key", "ascending"), ("ts", "ascending")])


def _write_vectors(path: Path, column: pa.Array, dim: int, order: pa.Array) -> FileInfo:
    """Null vectors are written as zeros."""
    vectors = vector_view(column, dim)
    valid = column.is_valid().to_numpy(zero_copy_only=False) if column.null_count else None
    rows: Offsets = order.to_numpy()
    size = checksum = 0
    with path.open("wb") as file:
        for start in range(0, len(rows), _BLOCK_ROWS):
            chosen = rows[start : start + _BLOCK_ROWS]
            block = vectors[chosen]
            if valid is not None:
                block[~valid[chosen]] = 0
            data = block.astype("<f4", copy=False).tobytes()
            file.write(data)
            size += len(data)
            checksum = crc32(data, checksum)
        file.flush()
        sync_file(file.fileno())
    return FileInfo(size_bytes=size, checksum=checksum)


def _write_columns(path: Path, columns: dict[str, pa.Array]) -> FileInfo:
    """One record batch, so that every column is one array when mapped."""
    batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    with path.open("wb") as file:
        with pa.ipc.new_file(file, batch.schema) as writer:
            writer.write_batch(batch)
        file.flush()
        sync_file(file.fileno())
    return file_info(path)


def _statistics(field: FieldSchema, column: pa.Array) -> ColumnStatistics | None:
    """None where a range would say nothing, or could not be kept exactly and briefly."""
    if field.type in (DataType.JSON, DataType.ARRAY):
        return None
    if column.null_count == len(column):
        return ColumnStatistics(nulls=len(column))
    if field.type.is_float and not pc.all(pc.is_finite(column)).as_py():
        return None
    extremes = pc.min_max(column).as_py()
    low, high = extremes["min"], extremes["max"]
    if isinstance(low, str) and max(len(low), len(high)) > _MOST_STATISTIC_CHARS:
        return None
    if isinstance(low, float) and not (math.isfinite(low) and math.isfinite(high)):
        return None
    return ColumnStatistics(low=low, high=high, nulls=column.null_count)
