"""A column encoded for the client and decoded as a client's own is the same column."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymilvus.grpc_gen import schema_pb2

from mishards.api.milvus.decode_columns import decode_column
from mishards.api.milvus.encode_columns import encode_column
from mishards.core.columns import arrow_type
from mishards.core.ids import FieldId
from mishards.core.schema import DataType, FieldSchema, integer_range

FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
VALUES: dict[DataType, st.SearchStrategy[Any]] = {
    DataType.BOOL: st.booleans(),
    **{
        kind: st.integers(*integer_range(kind))
        for kind in (DataType.INT8, DataType.INT16, DataType.INT32, DataType.INT64)
    },
    DataType.FLOAT: FLOAT32,
    DataType.DOUBLE: st.floats(allow_nan=False),
    DataType.VARCHAR: st.text(max_size=10),
}
SIMPLE = {**VALUES, DataType.JSON: st.sampled_from([b"{}", b'{"a": 1}', b"[1, 2]"])}


def round_trip(field: FieldSchema, values: list[Any]) -> list[Any]:
    column = pa.array(values, arrow_type(field))
    data = schema_pb2.FieldData()
    encode_column(data, column, field)
    received = schema_pb2.FieldData.FromString(data.SerializeToString())
    decoded = decode_column(received, field, len(values))
    assert decoded.type == arrow_type(field)
    result: list[Any] = decoded.to_pylist()
    return result


@pytest.mark.parametrize("kind", SIMPLE)
@given(data=st.data())
def test_scalars(kind: DataType, data: st.DataObject) -> None:
    field = FieldSchema(id=FieldId(100), name="f", type=kind, nullable=True, max_length=40)
    values = data.draw(st.lists(st.none() | SIMPLE[kind], max_size=150))
    assert round_trip(field, values) == values


@pytest.mark.parametrize("kind", VALUES)
@given(data=st.data())
def test_arrays(kind: DataType, data: st.DataObject) -> None:
    field = FieldSchema(
        id=FieldId(100), name="f", type=DataType.ARRAY, nullable=True, element_type=kind
    )
    rows = st.lists(st.none() | st.lists(VALUES[kind], max_size=4), max_size=20)
    values = data.draw(rows)
    assert round_trip(field, values) == values


@given(data=st.data(), dim=st.integers(2, 40))
def test_vectors(data: st.DataObject, dim: int) -> None:
    field = FieldSchema(
        id=FieldId(100), name="f", type=DataType.FLOAT_VECTOR, nullable=True, dim=dim
    )
    vector = st.lists(FLOAT32, min_size=dim, max_size=dim)
    values = data.draw(st.lists(st.none() | vector, max_size=6))
    assert round_trip(field, values) == values
