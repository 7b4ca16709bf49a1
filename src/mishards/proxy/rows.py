"""Checks of rows before they are written: what breaks the schema never reaches the log.

Invariants: a batch that `check_rows` accepted can be stored, indexed and given back as it is;
checks run over whole columns, and a single row is looked at only to name the offender.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mishards.core import limits
from mishards.core.columns import arrow_type, vector_view
from mishards.core.errors import InvalidRow
from mishards.core.schema import DYNAMIC_FIELD, CollectionSchema, DataType, FieldSchema

_decode_json = msgspec.json.Decoder().decode
_SHOWN = 60

_FEW_VALUES = 16_384


def check_rows(batch: pa.RecordBatch, schema: CollectionSchema) -> None:
    """Refuse a batch that breaks the schema.

    The batch has the columns of `core.columns.arrow_schema`, in any order; the primary key of an
    auto-id collection may be absent.

    Raises:
        InvalidRow: names the field, the row, the value, and what is allowed.
    """
    names = set(batch.schema.names)
    for field in schema.fields:
        if field.name not in names:
            if field.auto_id:
                continue
            raise InvalidRow(f"field {field.name!r} is missing from the rows")
        column = batch.column(field.name)
        expected = arrow_type(field)
        if column.type != expected:
            raise InvalidRow(
                f"field {field.name!r} is a column of {column.type}; {expected} is expected"
            )
        if column.null_count and not field.nullable:
            row = _first(column.is_null())
            raise InvalidRow(f"field {field.name!r} is null in row {row}, and it is not nullable")
        _check_column(column, field, schema)
    if unknown := names - schema.by_name.keys():
        raise InvalidRow(
            f"unknown field {min(unknown)!r}; the collection has {sorted(schema.by_name)}"
        )


def check_finite(values: np.ndarray[Any, Any]) -> int | None:
    """Position of the first NaN or infinity of a flat float array, None when there is none.

    One pass in the common case. A long array is squared and summed, which is the quickest: the sum
    is finite unless a value is not, or overflows, and only then are the values looked at.
    """
    if values.size > _FEW_VALUES:
        with np.errstate(all="ignore"):
            if math.isfinite(np.dot(values, values)):
                return None
    finite = np.isfinite(values)
    return None if finite.all() else int(finite.argmin())


def _check_column(column: pa.Array, field: FieldSchema, schema: CollectionSchema) -> None:
    if field.type is DataType.FLOAT_VECTOR:
        _check_vectors(column, field)
    elif field.type.is_float:
        _check_floats(column, field)
    elif field.type is DataType.VARCHAR:
        _check_lengths(column, field, field.max_length, "max_length")
    elif field.type is DataType.JSON:
        _check_lengths(column, field, limits.MAX_JSON_BYTES, "the greatest size of JSON")
        _check_json(column, field, schema)
    elif field.type is DataType.ARRAY:
        _check_arrays(column, field)


def _check_vectors(column: pa.Array, field: FieldSchema) -> None:
    vectors = vector_view(column, field.dim)
    if column.null_count:
        valid = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
        rows: Any = valid
        vectors = vectors[valid]
    else:
        rows = range(len(column))
    if (bad := check_finite(vectors.reshape(-1))) is not None:
        row, place = divmod(bad, field.dim)
        raise InvalidRow(
            f"vector field {field.name!r} holds {vectors[row, place]} in row {rows[row]}, "
            f"dimension {place}; only finite numbers are allowed"
        )


def _check_floats(column: pa.Array, field: FieldSchema) -> None:
    values = column.fill_null(0.0).to_numpy(zero_copy_only=False)
    if (bad := check_finite(values)) is not None:
        raise InvalidRow(
            f"field {field.name!r} is {values[bad]} in row {bad}; only finite numbers are allowed"
        )


def _check_lengths(column: pa.Array, field: FieldSchema, most: int, rule: str) -> None:
    lengths = pc.binary_length(column)
    greatest = pc.max(lengths).as_py()
    if greatest is not None and greatest > most:
        row = _first(pc.greater(lengths, most))
        raise InvalidRow(
            f"field {field.name!r} is {lengths[row].as_py()} bytes long in row {row}; "
            f"at most {most} are allowed ({rule})"
        )


def _check_json(column: pa.Array, field: FieldSchema, schema: CollectionSchema) -> None:
    reserved = frozenset(schema.by_name) | {DYNAMIC_FIELD}
    for row, text in enumerate(column.to_pylist()):
        if text is None or text == b"{}":
            continue
        try:
            value = _decode_json(text)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidRow(
                f"field {field.name!r} is not valid JSON in row {row}: {text[:_SHOWN]!r} ({error})"
            ) from error
        if not field.dynamic:
            continue
        if not isinstance(value, dict):
            raise InvalidRow(
                f"the dynamic field of row {row} is {text[:_SHOWN]!r}; a JSON object is expected"
            )
        if not reserved.isdisjoint(value):
            raise InvalidRow(
                f"the dynamic field of row {row} has the key {min(reserved & value.keys())!r}, "
                "which is a field of the collection"
            )


def _check_arrays(column: pa.Array, field: FieldSchema) -> None:
    counts = pc.list_value_length(column)
    greatest = pc.max(counts).as_py()
    if greatest is not None and greatest > field.max_capacity:
        row = _first(pc.greater(counts, field.max_capacity))
        raise InvalidRow(
            f"array field {field.name!r} holds {counts[row].as_py()} elements in row {row}; "
            f"at most {field.max_capacity} are allowed (max_capacity)"
        )
    elements = column.flatten()
    if elements.null_count:
        raise InvalidRow(f"array field {field.name!r} holds a null element; none is allowed")
    assert field.element_type is not None
    if field.element_type is DataType.VARCHAR:
        _check_lengths(elements, field, field.max_length, "max_length of an element")
    elif field.element_type.is_float:
        _check_floats(elements, field)


def _first(mask: pa.Array) -> int:
    row: int = pc.index(mask, True).as_py()
    return row
