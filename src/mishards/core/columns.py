"""How rows look as Arrow columns, in the log, in growing rows and in segments.

A batch of rows is a `pyarrow.RecordBatch` whose columns are named and ordered as the schema's
fields. JSON (and the dynamic field) is UTF-8 JSON text in a binary column; a vector is a
fixed-size list of float32. The primary key of an auto-id collection is absent from a logged batch
and made from the entry's `auto_id_start`, see `with_auto_ids`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from mishards.core.errors import ProtocolError
from mishards.core.schema import CollectionSchema, DataType, FieldSchema

_SCALARS: dict[DataType, pa.DataType] = {
    DataType.BOOL: pa.bool_(),
    DataType.INT8: pa.int8(),
    DataType.INT16: pa.int16(),
    DataType.INT32: pa.int32(),
    DataType.INT64: pa.int64(),
    DataType.FLOAT: pa.float32(),
    DataType.DOUBLE: pa.float64(),
    DataType.VARCHAR: pa.string(),
    DataType.JSON: pa.binary(),
}


def arrow_type(field: FieldSchema) -> pa.DataType:
    """The Arrow type of a field's column."""
    if field.type is DataType.FLOAT_VECTOR:
        return pa.list_(pa.float32(), field.dim)
    if field.type is DataType.ARRAY:
        assert field.element_type is not None
        return pa.list_(_SCALARS[field.element_type])
    return _SCALARS[field.type]


def arrow_schema(schema: CollectionSchema, *, with_auto_id: bool = True) -> pa.Schema:
    """The Arrow schema of a batch; without the primary key when it is made by the writer."""
    return pa.schema(
        [
            pa.field(field.name, arrow_type(field), nullable=field.nullable)
            for field in schema.fields
            if with_auto_id or not field.auto_id
        ]
    )


def primary_key_type(schema: CollectionSchema) -> pa.DataType:
    return arrow_type(schema.primary)


def auto_ids(schema: CollectionSchema, start: int, count: int) -> pa.Array:
    """Primary keys `start … start + count - 1`; as decimal text for a VARCHAR key."""
    keys = pa.array(np.arange(start, start + count, dtype=np.int64))
    if schema.primary.type is DataType.VARCHAR:
        return keys.cast(pa.string())
    return keys


def with_auto_ids(
    batch: pa.RecordBatch, schema: CollectionSchema, start: int | None
) -> pa.RecordBatch:
    """The batch with its primary key column in place; unchanged where it already has one."""
    name = schema.primary.name
    if start is None or name in batch.schema.names:
        return batch
    keys = auto_ids(schema, start, batch.num_rows)
    columns: list[Any] = [
        keys if field.name == name else batch.column(field.name) for field in schema.fields
    ]
    return pa.RecordBatch.from_arrays(columns, schema=arrow_schema(schema))


def vector_view(column: pa.Array, dim: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A vector column as a float32 array of shape (rows, dim), without copying where possible.

    Rows that are null hold zeros or whatever lies beneath: ask the column's validity.
    """
    flat = column.values.slice(column.offset * dim, len(column) * dim)
    return np.asarray(flat.to_numpy(zero_copy_only=False), dtype=np.float32).reshape(-1, dim)


def encode_batch(batch: pa.RecordBatch) -> bytes:
    """One record batch as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    return bytes(memoryview(sink.getvalue()))


def decode_batch(data: bytes | memoryview) -> pa.RecordBatch:
    """The record batch of an Arrow IPC stream; its columns are views of `data`.

    Only its form is checked: see `check_batch` for bytes that may be damaged.

    Raises:
        ProtocolError: it is none.
    """
    try:
        with pa.ipc.open_stream(pa.py_buffer(data)) as stream:
            return stream.read_next_batch()
    except (pa.ArrowException, OSError, EOFError, StopIteration, MemoryError) as error:
        raise ProtocolError(f"not a record batch: {error}") from error


def check_batch(batch: pa.RecordBatch) -> None:
    """Refuse a batch whose offsets or texts are damaged: reading it could end the process.

    Raises:
        ProtocolError: says what is damaged.
    """
    try:
        batch.validate(full=True)
        for field in batch.schema:
            field.name.encode()
    except (pa.ArrowException, UnicodeError) as error:
        raise ProtocolError(f"a record batch is damaged: {error}") from error
