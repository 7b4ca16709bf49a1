from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from mishards.core.columns import arrow_type
from mishards.core.ids import FieldId
from mishards.core.schema import CollectionSchema, DataType, FieldSchema, dynamic_field
from mishards.expr import compile_filter

_FIELDS: list[tuple[str, DataType, dict[str, Any]]] = [
    ("id", DataType.INT64, {"primary_key": True}),
    ("small", DataType.INT8, {"nullable": True}),
    ("age", DataType.INT32, {}),
    ("rate", DataType.FLOAT, {}),
    ("price", DataType.DOUBLE, {"nullable": True}),
    ("name", DataType.VARCHAR, {"nullable": True, "max_length": 100}),
    ("flag", DataType.BOOL, {"nullable": True}),
    ("numbers", DataType.ARRAY, {"element_type": DataType.INT64, "nullable": True}),
    ("words", DataType.ARRAY, {"element_type": DataType.VARCHAR}),
    ("meta", DataType.JSON, {"nullable": True}),
    ("vector", DataType.FLOAT_VECTOR, {"dim": 4}),
]


def _schema(dynamic: bool) -> CollectionSchema:
    fields = [
        FieldSchema(id=FieldId(100 + at), name=name, type=data_type, **options)
        for at, (name, data_type, options) in enumerate(_FIELDS)
    ]
    if dynamic:
        fields.append(dynamic_field(FieldId(100 + len(fields))))
    return CollectionSchema(name="things", fields=tuple(fields), dynamic=dynamic)


@pytest.fixture(scope="session")
def schema() -> CollectionSchema:
    return _schema(dynamic=True)


@pytest.fixture(scope="session")
def strict_schema() -> CollectionSchema:
    """The same without a dynamic field."""
    return _schema(dynamic=False)


_ROWS: list[dict[str, Any]] = [
    {
        "id": 0,
        "small": 5,
        "age": 20,
        "rate": 0.1,
        "price": 10.5,
        "name": "apple pie",
        "flag": True,
        "numbers": [1, 2, 3],
        "words": ["red", "blue"],
        "meta": {"a": {"b": 1}, "tags": [1, "x", True, [1, 2]], "list": [10, 20], "ok": True},
        "$meta": {"color": "red", "n": 7, "true number": 1, "0": "zero"},
    },
    {
        "id": 1,
        "small": -5,
        "age": 21,
        "rate": 0.5,
        "price": -2.0,
        "name": "100%",
        "flag": False,
        "numbers": [],
        "words": [],
        "meta": {"a": {"b": 2.5}, "tags": [], "list": [], "ok": False},
        "$meta": {"color": "blue", "n": -7},
    },
    {
        "id": 2,
        "small": None,
        "age": 0,
        "rate": -1.0,
        "price": None,
        "name": None,
        "flag": None,
        "numbers": None,
        "words": ["x"],
        "meta": None,
        "$meta": {"n": None},
    },
    {
        "id": 3,
        "small": 127,
        "age": -2_147_483_648,
        "rate": 1e30,
        "price": 1e300,
        "name": "a_b\nc",
        "flag": True,
        "numbers": [3, 3],
        "words": ["red"],
        "meta": {"a": "text", "tags": [True, 2, None], "list": {"0": "key"}, "ok": 1},
        "$meta": {"color": 5, "n": 9_007_199_254_740_993},
    },
]


@pytest.fixture(scope="session")
def matching(schema: CollectionSchema) -> Callable[..., list[int]]:
    """Gives the ids of the rows a filter matches, having seen both evaluators agree."""
    columns: dict[str, pa.Array] = {}
    for field in schema.scalars:
        values = [row.get(field.name) for row in _ROWS]
        if field.type is DataType.JSON:
            values = [None if value is None else msgspec.json.encode(value) for value in values]
        columns[field.name] = pa.array(values, arrow_type(field))
    rows = [{**row, "rate": columns["rate"][at].as_py()} for at, row in enumerate(_ROWS)]

    def ids(text: str, templates: Mapping[str, Any] | None = None) -> list[int]:
        compiled = compile_filter(text, schema, templates)
        mask = compiled.mask({name: columns[name] for name in compiled.columns}, len(rows))
        by_mask = [row["id"] for row, wanted in zip(rows, mask, strict=True) if wanted]
        by_row = [row["id"] for row in rows if compiled.matches(row)]
        assert by_mask == by_row
        return by_mask

    return ids
