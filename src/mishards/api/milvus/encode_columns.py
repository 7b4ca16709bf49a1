"""Arrow columns of an answer as Milvus `FieldData`.

Invariants: scalar values stand at their rows, whatever stands where a row is null; vectors are
compacted to the rows that have one. Every field says which member carries it even when there are
no rows, because clients refuse one that does not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from mishards.api.milvus.decode_columns import SCALAR_SLOTS
from mishards.api.milvus.wire import put_floats
from mishards.core.columns import vector_view
from mishards.core.schema import CollectionSchema, DataType, FieldSchema

_BLANKS: dict[DataType, Any] = {
    DataType.BOOL: False,
    DataType.FLOAT: 0.0,
    DataType.DOUBLE: 0.0,
    DataType.VARCHAR: "",
    DataType.JSON: b"",
}
"""What stands where a row is null; 0 for integers."""


def encode_columns(target: Any, batch: pa.RecordBatch, schema: CollectionSchema) -> None:
    """Append each column of `batch` to the repeated `FieldData` field `target`."""
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        encode_column(target.add(), column, schema.by_name[name])


def encode_column(data: Any, column: pa.Array, field: FieldSchema) -> None:
    """Fill the empty `FieldData` `data` with a column."""
    data.type = int(field.type)
    data.field_name = field.name
    data.field_id = field.id
    if field.dynamic:
        data.is_dynamic = True
    valid = None
    if field.nullable:
        valid = column.is_valid().to_numpy(zero_copy_only=False)
        data.valid_data.extend(valid.tolist())
    if field.type is DataType.FLOAT_VECTOR:
        _vectors(data.vectors, column, field, valid)
    else:
        _scalars(data.scalars, column, field)


def _vectors(
    target: Any, column: pa.Array, field: FieldSchema, valid: np.ndarray[Any, Any] | None
) -> None:
    target.dim = field.dim
    target.float_vector.SetInParent()
    block = vector_view(column, field.dim)
    if valid is not None and column.null_count:
        block = block[valid]
    put_floats(target.float_vector, 1, target.float_vector.data, block.reshape(-1))


def _scalars(target: Any, column: pa.Array, field: FieldSchema) -> None:
    values = getattr(target, SCALAR_SLOTS[field.type])
    values.SetInParent()
    if field.type is DataType.ARRAY:
        _arrays(values, column, field)
        return
    if column.null_count:
        column = column.fill_null(pa.scalar(_BLANKS.get(field.type, 0), column.type))
    _put(values, column, field.type)


def _put(values: Any, column: pa.Array, kind: DataType) -> None:
    """Append the values of a column without nulls to a `…Array` message."""
    if kind in (DataType.VARCHAR, DataType.JSON):
        values.data.extend(column.to_pylist())
        return
    numbers = column.to_numpy(zero_copy_only=False)
    if kind.is_float:
        put_floats(values, 1, values.data, numbers)
    else:
        values.data.extend(numbers.tolist())


def _arrays(values: Any, column: pa.Array, field: FieldSchema) -> None:
    element = field.element_type
    assert element is not None
    values.element_type = int(element)
    slot = SCALAR_SLOTS[element]
    for row in column.to_pylist():
        cell = getattr(values.data.add(), slot)
        cell.SetInParent()
        if row:
            cell.data.extend(row)
