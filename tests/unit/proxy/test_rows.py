"""What may be written: one bad row is enough to refuse a batch, and it is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mishards.core.columns import arrow_schema
from mishards.core.errors import InvalidRow
from mishards.core.ids import FieldId
from mishards.core.schema import CollectionSchema, DataType, FieldSchema, dynamic_field
from mishards.proxy.rows import check_finite, check_rows


def _field(number: int, name: str, kind: DataType, **options: Any) -> FieldSchema:
    return FieldSchema(id=FieldId(100 + number), name=name, type=kind, **options)


SCHEMA = CollectionSchema(
    name="books",
    dynamic=True,
    fields=(
        _field(0, "id", DataType.INT64, primary_key=True),
        _field(1, "vector", DataType.FLOAT_VECTOR, dim=3),
        _field(2, "sparse", DataType.FLOAT_VECTOR, dim=2, nullable=True),
        _field(3, "single", DataType.FLOAT, nullable=True),
        _field(4, "double", DataType.DOUBLE),
        _field(5, "title", DataType.VARCHAR, max_length=4),
        _field(6, "details", DataType.JSON, nullable=True),
        _field(
            7, "tags", DataType.ARRAY, element_type=DataType.VARCHAR, max_length=3, max_capacity=2
        ),
        _field(
            8, "marks", DataType.ARRAY, element_type=DataType.FLOAT, max_capacity=2, nullable=True
        ),
        dynamic_field(FieldId(109)),
    ),
)


def batch(**changes: Any) -> pa.RecordBatch:
    """Three good rows, with `changes` in the last one."""
    row: dict[str, Any] = {
        "id": 1,
        "vector": [1.0, 2.0, 3.0],
        "sparse": [1.0, 2.0],
        "single": 0.5,
        "double": 0.25,
        "title": "abcd",
        "details": b"[1]",
        "tags": ["abc"],
        "marks": [1.0],
        "$meta": b'{"a": 1}',
    }
    schema = arrow_schema(SCHEMA)
    rows = [row, row, {**row, **changes}]
    loose = pa.schema([field.with_nullable(True) for field in schema])
    columns = [pa.array([r[f.name] for r in rows], f.type) for f in schema]
    return pa.RecordBatch.from_arrays(columns, schema=loose)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"sparse": None, "single": None, "details": None, "marks": None},
        {"title": "", "tags": [], "marks": [], "$meta": b"{}"},
        {"title": "éé", "tags": ["abc", "é"]},
        {"vector": [3e38, -3e38, 3e38], "double": 1e308},
        {"details": b'"' + b"x" * 65_534 + b'"'},
        {"details": b"null"},
    ],
)
def test_good_rows_pass(changes: dict[str, Any]) -> None:
    check_rows(batch(**changes), SCHEMA)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"id": None}, ["'id'", "null", "row 2"]),
        ({"vector": None}, ["'vector'", "null"]),
        ({"vector": [1.0, float("nan"), 1.0]}, ["'vector'", "nan", "row 2", "dimension 1"]),
        ({"vector": [1.0, 1.0, float("-inf")]}, ["'vector'", "-inf", "dimension 2"]),
        ({"sparse": [float("inf"), 1.0]}, ["'sparse'", "row 2"]),
        ({"single": float("nan")}, ["'single'", "nan", "row 2"]),
        ({"double": float("inf")}, ["'double'", "inf"]),
        ({"title": "abcde"}, ["'title'", "5 bytes", "4"]),
        ({"title": "ééé"}, ["'title'", "6 bytes", "max_length"]),
        ({"details": b"{"}, ["'details'", "JSON", "row 2"]),
        ({"details": b"NaN"}, ["'details'", "JSON"]),
        ({"details": b'"\xff"'}, ["'details'", "JSON"]),
        ({"details": b"[" * 60_000}, ["'details'", "JSON"]),
        ({"details": b'"' + b"x" * 65_535 + b'"'}, ["'details'", "65537", "65536"]),
        ({"tags": ["a", "b", "c"]}, ["'tags'", "3 elements", "2"]),
        ({"tags": ["abcd"]}, ["'tags'", "4 bytes", "3"]),
        ({"tags": ["a", None]}, ["'tags'", "null"]),
        ({"marks": [1.0, float("nan")]}, ["'marks'", "nan"]),
        ({"$meta": b"[1]"}, ["dynamic", "row 2", "object"]),
        ({"$meta": b'{"$meta": 1}'}, ["dynamic", "'$meta'"]),
        ({"$meta": b'{"title": 1}'}, ["dynamic", "'title'"]),
        ({"$meta": None}, ["'$meta'", "null"]),
    ],
)
def test_one_bad_row_is_enough_and_is_named(changes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(InvalidRow) as caught:
        check_rows(batch(**changes), SCHEMA)

    assert all(word in caught.value.message for word in words), caught.value.message


def test_a_bad_vector_behind_a_null_is_named_by_its_row() -> None:
    rows = batch()
    column = pa.array([None, [1.0, 1.0], [1.0, float("nan")]], pa.list_(pa.float32(), 2))
    rows = rows.set_column(2, "sparse", column)
    with pytest.raises(InvalidRow, match="row 2, dimension 1"):
        check_rows(rows, SCHEMA)


def test_a_slice_is_checked_on_its_own_rows() -> None:
    rows = batch(vector=[1.0, float("nan"), 1.0])
    check_rows(rows.slice(0, 2), SCHEMA)
    with pytest.raises(InvalidRow, match="row 1"):
        check_rows(rows.slice(1, 2), SCHEMA)


def test_missing_unknown_and_wrongly_typed_columns() -> None:
    rows = batch()
    with pytest.raises(InvalidRow, match="'double' is missing"):
        check_rows(rows.drop_columns(["double"]), SCHEMA)
    with pytest.raises(InvalidRow, match="unknown field 'more'"):
        check_rows(rows.append_column("more", pa.array([1, 2, 3])), SCHEMA)
    with pytest.raises(InvalidRow, match=r"'id' is a column of string; int64"):
        check_rows(rows.set_column(0, "id", pa.array(["1", "2", "3"])), SCHEMA)


def test_an_auto_id_key_may_be_absent() -> None:
    primary = _field(0, "id", DataType.INT64, primary_key=True, auto_id=True)
    schema = CollectionSchema(name="books", fields=(primary, *SCHEMA.fields[1:]), dynamic=True)
    check_rows(batch().drop_columns(["id"]), schema)


def test_the_first_bad_number_is_found() -> None:
    assert check_finite(np.empty(0, np.float32)) is None
    assert check_finite(np.full(10, 3e38, np.float32)) is None
    assert check_finite(np.array([1, 3e38, np.inf, np.nan], np.float32)) == 2
