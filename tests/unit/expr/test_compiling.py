"""Compiling: what is kept, what is told about a filter, and how large it may be."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from mishards.core.errors import CorruptObject, FilterError
from mishards.core.schema import CollectionSchema
from mishards.expr import compile_filter


def test_the_same_text_is_compiled_once(schema: CollectionSchema) -> None:
    assert compile_filter("age > 41", schema) is compile_filter("age > 41", schema)


def test_another_schema_is_not_answered_from_the_first(
    schema: CollectionSchema, strict_schema: CollectionSchema
) -> None:
    compile_filter("color == 1", schema)
    with pytest.raises(FilterError):
        compile_filter("color == 1", strict_schema)


def test_templates_of_other_types_are_other_filters(schema: CollectionSchema) -> None:
    row = {"$meta": {"n": 1}}
    assert compile_filter("n == {x}", schema, {"x": 1}).matches(row)
    assert not compile_filter("n == {x}", schema, {"x": True}).matches(row)
    assert compile_filter("n in {x}", schema, {"x": [1]}).matches(row)
    assert not compile_filter("n in {x}", schema, {"x": [True]}).matches(row)
    assert compile_filter("n in {x}", schema, {"x": [[2], 1]}).matches(row)


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("age > 1 and name like 'x%'", {"age", "name"}),
        ("numbers[0] == 1 or array_length(words) == 2", {"numbers", "words"}),
        ("color == 1 and meta['a'] == 2", {"$meta", "meta"}),
        ("not (price + small > 2)", {"price", "small"}),
        ("flag is null", {"flag"}),
        ("true", set()),
    ],
)
def test_columns(text: str, columns: set[str], schema: CollectionSchema) -> None:
    assert compile_filter(text, schema).columns == columns


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("id == 5", [5]),
        ("5 == id", [5]),
        ("(id in [3, 1, 3])", [3, 1]),
        ("id in []", []),
        ("id not in [3]", None),
        ("id > 5", None),
        ("id != 5", None),
        ("age == 5", None),
        ("age in [5]", None),
        ("id == 5 and age == 5", None),
        ("id + 0 == 5", None),
        ("", None),
    ],
)
def test_primary_keys(text: str, keys: list[int] | None, schema: CollectionSchema) -> None:
    assert compile_filter(text, schema).primary_keys() == keys


def test_columns_may_be_slices(schema: CollectionSchema) -> None:
    numbers = pa.array([[9], [1, 2], None, [3], [2, 9]], pa.list_(pa.int64())).slice(1, 3)
    meta = pa.array([b"{}", b'{"a":1}', None, b'{"a":2}', b"{}"], pa.binary()).slice(1, 3)
    columns = {"numbers": numbers, "meta": meta}

    def found(text: str) -> list[bool]:
        return compile_filter(text, schema).mask(columns, 3).tolist()  # type: ignore[no-any-return]

    assert found("array_contains(numbers, 2)") == [True, False, False]
    assert found("array_contains(numbers, 9)") == [False, False, False]
    assert found("numbers[0] >= 1") == [True, False, True]
    assert found("numbers[1] == 2") == [True, False, False]
    assert found("array_length(numbers) == 1") == [False, False, True]
    assert found("meta['a'] == 2") == [False, False, True]


def test_no_rows(schema: CollectionSchema) -> None:
    columns = {
        "age": pa.array([], pa.int32()),
        "meta": pa.array([], pa.binary()),
        "numbers": pa.array([], pa.list_(pa.int64())),
    }
    for text in ("age > 1", "meta['a'] == 1", "array_contains(numbers, 1)", "", "numbers[0] == 1"):
        mask = compile_filter(text, schema).mask(columns, 0)
        assert mask.shape == (0,)
        assert mask.dtype == np.bool_


@pytest.mark.parametrize("value", [5, "text", [1, 2], None, True])
def test_json_that_is_no_object(value: Any, schema: CollectionSchema) -> None:
    column = pa.array([msgspec.json.encode(value), b'{"a":1}'], pa.binary())
    mask = compile_filter("meta['a'] == 1", schema).mask({"meta": column}, 2)
    assert mask.tolist() == [False, True]


def test_keys_that_need_quoting(schema: CollectionSchema) -> None:
    row = {'a"b': 1, "c\\d": 2, "e\nf": 3}
    column = pa.array([msgspec.json.encode(row)], pa.binary())
    for text in (r"""meta['a"b'] == 1""", r"meta['c\\d'] == 2", r"meta['e\nf'] == 3"):
        compiled = compile_filter(text, schema)
        assert compiled.mask({"meta": column}, 1).tolist() == [True]
        assert compiled.matches({"meta": row})


@pytest.mark.parametrize("bad", [b"{", b"1,2", b"\xff"])
def test_a_row_that_is_no_json_is_corruption(bad: bytes, schema: CollectionSchema) -> None:
    compiled = compile_filter("meta['a'] == 1", schema)
    with pytest.raises(CorruptObject, match="column 'meta'"):
        compiled.mask({"meta": pa.array([b"{}", bad], pa.binary())}, 2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(" * 2_000 + "age == 1" + ")" * 2_000, True),
        ("age in [" + ", ".join(map(str, range(10_000))) + "]", True),
        ("age in [" + ", ".join(f"{at} + 0" for at in range(10_000)) + "]", True),
        ("name in " + repr([f"key {at}" for at in range(10_000)]), True),
        (" or ".join(f"age == {at}" for at in range(2_000)), True),
        (" and ".join("age == 1" for _ in range(2_000)), True),
    ],
)
def test_large_filters_are_answered(text: str, expected: bool, schema: CollectionSchema) -> None:
    compiled = compile_filter(text, schema)
    row = {"age": 1, "name": "key 7"}
    columns = {"age": pa.array([1], pa.int32()), "name": pa.array(["key 7"])}
    assert compiled.matches(row) is expected
    assert compiled.mask(columns, 1).tolist() == [expected]


@pytest.mark.parametrize(
    "text",
    [
        "not " * 5_000 + "flag",
        "-" * 5_000 + "1 == age",
        "age == " + "1 + " * 5_000 + "1",
        "age == 2" + " ** -1" * 5_000,
        "array_contains(" * 5_000,
        "[" * 5_000,
        "(" * 5_000,
        "age in " + "[" * 5_000 + "]" * 5_000,
        "(age == 1 and " * 5_000 + "flag" + ")" * 5_000,
        "age == " + "1" * 9_000_000,
    ],
)
def test_filters_that_nest_too_deeply_are_refused(text: str, schema: CollectionSchema) -> None:
    with pytest.raises(FilterError):
        compile_filter(text, schema)


def test_a_pattern_too_large_for_the_regex_engine(schema: CollectionSchema) -> None:
    pattern = "_" * 60_000 + "x%y"
    compiled = compile_filter("name like {p}", schema, {"p": pattern})
    names = ["a" * 60_000 + "x--y", "b"]
    assert compiled.mask({"name": pa.array(names)}, 2).tolist() == [True, False]
    assert [compiled.matches({"name": name}) for name in names] == [True, False]
