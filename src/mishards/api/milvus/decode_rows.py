"""Rows of Insert and Upsert requests as one Arrow record batch.

Invariants: the batch has the schema of `core.columns.arrow_schema`; a request either becomes a
whole batch or an error that names the field; values outside a type's range never wrap around.
Whether values obey the schema's limits is for `proxy.rows.check_rows`.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mishards.api.milvus.decode_columns import decode_column, filled_column
from mishards.core.columns import arrow_schema
from mishards.core.errors import (
    InvalidParameter,
    InvalidRow,
    MissingParameter,
    SchemaMismatch,
    Unimplemented,
)
from mishards.core.schema import CollectionSchema, FieldSchema
from mishards.metadata.snapshot import CollectionView
from mishards.proxy.calls import InsertCall


class _Rows(msgspec.Struct):
    """Decoded columns by field name."""

    count: int
    columns: dict[str, pa.Array]


def decode_insert(request: Any, view: CollectionView) -> InsertCall:
    """The call of an `InsertRequest`.

    Raises:
        InvalidRow, MissingParameter, InvalidParameter: names the field, the value, what is allowed.
        Unimplemented: names the parameter.
    """
    _refuse_namespace(request)
    schema = view.schema
    rows = _decode(request, view)
    if schema.primary.auto_id and schema.primary.name in rows.columns:
        raise InvalidRow(
            f"primary key {schema.primary.name!r} is made by the server (auto_id): "
            "insert rows without it"
        )
    return InsertCall(
        database=request.db_name,
        collection=request.collection_name,
        partition=request.partition_name,
        batch=_batch(rows, schema),
    )


def decode_upsert(request: Any, view: CollectionView) -> InsertCall:
    """The call of an `UpsertRequest`; of rows with equal primary keys the last one stays.

    Raises:
        InvalidRow, MissingParameter, InvalidParameter: names the field, the value, what is allowed.
        Unimplemented: names the parameter.
    """
    _refuse_namespace(request)
    if request.partial_update or len(getattr(request, "field_ops", ())):
        raise Unimplemented("partial_update of an upsert is not served: give whole rows")
    schema = view.schema
    rows = _decode(request, view)
    primary = schema.primary
    keys = rows.columns.get(primary.name)
    if keys is None:
        raise MissingParameter(f"an upsert needs the primary key {primary.name!r} of each row")
    batch = _batch(rows, schema)
    if (kept := _last_of_each(keys)) is not None:
        keys, batch = keys.take(kept), batch.take(kept)
    return InsertCall(
        database=request.db_name,
        collection=request.collection_name,
        partition=request.partition_name,
        batch=batch,
        keys=keys if primary.auto_id else None,
    )


def _refuse_namespace(request: Any) -> None:
    if request.namespace:
        raise Unimplemented(f"namespace {request.namespace!r}: namespaces are not served")


def _decode(request: Any, view: CollectionView) -> _Rows:
    """The columns that are given.

    Raises:
        SchemaMismatch: they do not fit, and the client made them for another state of the schema.
    """
    try:
        return _columns(request, view.schema)
    except InvalidRow as error:
        if request.schema_timestamp in (0, view.meta.updated):
            raise
        raise SchemaMismatch(
            f"the rows were made for another schema of collection {view.name!r}: {error.message}"
        ) from error


def _columns(request: Any, schema: CollectionSchema) -> _Rows:
    count = request.num_rows
    if count == 0:
        raise InvalidParameter("num_rows is 0; at least one row is needed")
    columns: dict[str, pa.Array] = {}
    for data in request.fields_data:
        field = _field_of(data, schema)
        if field.name in columns:
            raise InvalidRow(f"field {field.name!r} is given twice")
        columns[field.name] = decode_column(data, field, count)
    return _Rows(count=count, columns=columns)


def _field_of(data: Any, schema: CollectionSchema) -> FieldSchema:
    """The field that a `FieldData` fills; clients leave the dynamic one unnamed at will."""
    if data.is_dynamic:
        if not schema.dynamic:
            raise InvalidRow(
                f"collection {schema.name!r} has no dynamic field; "
                f"its fields are {', '.join(schema.by_name)}"
            )
        return next(field for field in schema.fields if field.dynamic)
    field = schema.by_name.get(data.field_name)
    if field is None:
        raise InvalidRow(
            f"field {data.field_name!r} does not exist in collection {schema.name!r}; "
            f"its fields are {', '.join(schema.by_name)}"
        )
    return field


def _batch(rows: _Rows, schema: CollectionSchema) -> pa.RecordBatch:
    wanted = arrow_schema(schema, with_auto_id=False)
    columns = [
        rows.columns[name] if name in rows.columns else _omitted(schema.by_name[name], rows.count)
        for name in wanted.names
    ]
    return pa.RecordBatch.from_arrays(columns, schema=wanted)


def _omitted(field: FieldSchema, rows: int) -> pa.Array:
    if field.has_default or field.nullable or field.dynamic:
        return filled_column(field, rows)
    raise MissingParameter(
        f"field {field.name!r} is missing from the rows; "
        "it is neither nullable nor has a default value"
    )


def _last_of_each(keys: pa.Array) -> pa.Array | None:
    """Rows to keep, in order, so that each key is there once; None when all are."""
    if keys.null_count or pc.count_distinct(keys).as_py() == len(keys):
        return None
    last = {key: row for row, key in enumerate(keys.to_pylist())}
    return pa.array(np.sort(np.fromiter(last.values(), np.int64, len(last))))
