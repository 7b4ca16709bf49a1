"""One `FieldData` of a write request as an Arrow column.

Invariants: a column has exactly the stated number of rows. A client may send the values of a
nullable field, or of one with a default, for all rows or for the valid ones only: both are read,
told apart by their number. A null in a field with a default becomes the default.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pymilvus.grpc_gen import schema_pb2

from mishards.api.milvus.wire import Array, float_values, integer_values
from mishards.core.columns import arrow_type
from mishards.core.errors import InvalidRow
from mishards.core.schema import DataType, FieldSchema, integer_range

SCALAR_SLOTS = {
    DataType.BOOL: "bool_data",
    DataType.INT8: "int_data",
    DataType.INT16: "int_data",
    DataType.INT32: "int_data",
    DataType.INT64: "long_data",
    DataType.FLOAT: "float_data",
    DataType.DOUBLE: "double_data",
    DataType.VARCHAR: "string_data",
    DataType.JSON: "json_data",
    DataType.ARRAY: "array_data",
}
"""Which member of `ScalarField` carries the values of a type."""

_WIRE_DTYPES = {
    "bool_data": np.bool_,
    "int_data": np.int32,
    "long_data": np.int64,
    "float_data": np.float32,
    "double_data": np.float64,
}


def decode_column(data: Any, field: FieldSchema, rows: int) -> pa.Array:
    """The column of a `FieldData`, `rows` long.

    Raises:
        InvalidRow: wrong type, dimension, number of values or range; names the field.
    """
    if data.type != field.type:
        raise InvalidRow(
            f"field {field.name!r} is given as {_type_name(data.type)}; "
            f"{field.type.name} is expected"
        )
    valid = _validity(data, field, rows)
    if field.type is DataType.FLOAT_VECTOR:
        return _vectors(data, field, rows, valid)
    column = _scalars(data, field)
    column = _spread(column, field, rows, valid)
    if field.has_default and column.null_count:
        return pc.fill_null(column, _default(field))
    return column


def filled_column(field: FieldSchema, rows: int) -> pa.Array:
    """The column of a field that the client left out."""
    if field.has_default:
        return pa.repeat(_default(field), rows)
    if field.dynamic:
        return pa.repeat(pa.scalar(b"{}", pa.binary()), rows)
    return pa.nulls(rows, arrow_type(field))


def _default(field: FieldSchema) -> pa.Scalar:
    value = field.default
    if field.type is DataType.JSON and isinstance(value, str):
        return pa.scalar(value.encode(), pa.binary())
    return pa.scalar(value, arrow_type(field))


def _type_name(number: int) -> str:
    known = DataType._value2member_map_.get(number)
    return f"type {number}" if known is None else str(known.name)


def _validity(data: Any, field: FieldSchema, rows: int) -> Array | None:
    """Which rows have a value; None when all of them do."""
    if not data.valid_data:
        return None
    valid = integer_values(data.valid_data, np.bool_)
    if len(valid) != rows:
        raise InvalidRow(
            f"field {field.name!r} says for {len(valid)} rows whether they are null; "
            f"the request has {rows} rows"
        )
    if valid.all():
        return None
    if not (field.nullable or field.has_default):
        row = int(np.flatnonzero(~valid)[0])
        raise InvalidRow(f"field {field.name!r} is null in row {row}, and it is not nullable")
    return valid


def _spread(column: pa.Array, field: FieldSchema, rows: int, valid: Array | None) -> pa.Array:
    """The values at their rows, null where there is none."""
    count = len(column)
    if valid is None:
        if count == rows:
            return column
        raise _wrong_count(field, count, rows)
    if count == rows:
        return pc.if_else(pa.array(valid), column, pa.scalar(None, column.type))
    if count != int(valid.sum()):
        raise _wrong_count(field, count, int(valid.sum()))
    return column.take(pa.array(np.cumsum(valid) - 1, mask=~valid))


def _wrong_count(field: FieldSchema, count: int, rows: int) -> InvalidRow:
    return InvalidRow(f"field {field.name!r} has {count} values; {rows} are expected")


def _vectors(data: Any, field: FieldSchema, rows: int, valid: Array | None) -> pa.Array:
    dim = field.dim
    vectors = data.vectors
    kind = vectors.WhichOneof("data")
    if kind not in (None, "float_vector"):
        raise InvalidRow(f"vector field {field.name!r} is given as {kind}, not as float_vector")
    if vectors.dim not in (0, dim):
        raise InvalidRow(
            f"vector field {field.name!r} has dimension {dim}; the rows have {vectors.dim}"
        )
    flat = float_values(vectors.float_vector, np.float32)
    given, rest = divmod(len(flat), dim)
    wanted = rows if valid is None else int(valid.sum())
    if rest or given not in (rows, wanted):
        raise InvalidRow(
            f"vector field {field.name!r} has {len(flat)} numbers; "
            f"{wanted} rows of dimension {dim} are expected"
        )
    if valid is None:
        return pa.FixedSizeListArray.from_arrays(pa.array(flat), dim)
    full = np.zeros((rows, dim), np.float32)
    block = flat.reshape(given, dim)
    full[valid] = block if given == wanted else block[valid]
    return pa.FixedSizeListArray.from_arrays(pa.array(full.reshape(-1)), dim, mask=pa.array(~valid))


def _scalars(data: Any, field: FieldSchema) -> pa.Array:
    slot = SCALAR_SLOTS[field.type]
    kind = data.scalars.WhichOneof("data")
    if kind not in (None, slot):
        raise InvalidRow(f"field {field.name!r} is {field.type.name}, but is given as {kind}")
    values = getattr(data.scalars, slot)
    if field.type is DataType.ARRAY:
        return _arrays(values, field)
    return _SCALAR_READERS[field.type](values, field, field.type)


def _integers(values: Any, field: FieldSchema, kind: DataType) -> pa.Array:
    numbers = integer_values(values.data, _WIRE_DTYPES[SCALAR_SLOTS[kind]])
    target = arrow_type_of(kind)
    if kind in (DataType.INT8, DataType.INT16) and len(numbers):
        low, high = integer_range(kind)
        bad = np.flatnonzero((numbers < low) | (numbers > high))
        if len(bad):
            raise InvalidRow(
                f"field {field.name!r} holds {numbers[bad[0]]}; {kind.name} is from {low} to {high}"
            )
    return pa.array(numbers).cast(target, safe=False)


def _floats(values: Any, field: FieldSchema, kind: DataType) -> pa.Array:
    return pa.array(float_values(values, _WIRE_DTYPES[SCALAR_SLOTS[kind]]))


def _texts(values: Any, field: FieldSchema, kind: DataType) -> pa.Array:
    return pa.array(list(values.data), pa.string())


def _json(values: Any, field: FieldSchema, kind: DataType) -> pa.Array:
    return pa.array(list(values.data), pa.binary())


def arrow_type_of(kind: DataType) -> pa.DataType:
    """The Arrow type of an integer or bool type."""
    return pa.bool_() if kind is DataType.BOOL else pa.type_for_alias(kind.name.lower())


_SCALAR_READERS: dict[DataType, Callable[[Any, FieldSchema, DataType], pa.Array]] = {
    DataType.BOOL: _integers,
    DataType.INT8: _integers,
    DataType.INT16: _integers,
    DataType.INT32: _integers,
    DataType.INT64: _integers,
    DataType.FLOAT: _floats,
    DataType.DOUBLE: _floats,
    DataType.VARCHAR: _texts,
    DataType.JSON: _json,
}


def _arrays(values: Any, field: FieldSchema) -> pa.Array:
    """All elements are gathered into one message, read in bulk, and cut by offsets."""
    element = field.element_type
    assert element is not None
    slot = SCALAR_SLOTS[element]
    gathered = getattr(schema_pb2.ScalarField(), slot)
    offsets = np.zeros(len(values.data) + 1, np.int32)
    for row, cell in enumerate(values.data):
        kind = cell.WhichOneof("data")
        if kind not in (None, slot):
            raise InvalidRow(
                f"array field {field.name!r} holds {kind} in row {row}; "
                f"elements of {element.name} are expected"
            )
        gathered.data.extend(getattr(cell, slot).data)
        offsets[row + 1] = len(gathered.data)
    flat = _SCALAR_READERS[element](gathered, field, element)
    return pa.ListArray.from_arrays(pa.array(offsets), flat)
