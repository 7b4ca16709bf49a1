"""Schemas: what is refused, and that the message names it."""

import pytest

from mishards.core.errors import InvalidFieldName, SchemaError
from mishards.core.schema import CollectionSchema, DataType, FieldSchema, check_schema

KEY = FieldSchema(id=100, name="id", type=DataType.INT64, primary_key=True)
VECTOR = FieldSchema(id=101, name="v", type=DataType.FLOAT_VECTOR, dim=4)


def schema(*fields, name="c"):
    return CollectionSchema(name=name, fields=fields)


def field(name="f", kind=DataType.INT64, **given):
    return FieldSchema(id=102, name=name, type=kind, **given)


def test_a_plain_schema_is_accepted():
    check_schema(schema(KEY, VECTOR, field("text", DataType.VARCHAR, max_length=10)))


@pytest.mark.parametrize(
    ("broken", "part"),
    [
        (schema(KEY, VECTOR, name=""), "empty"),
        (schema(KEY, VECTOR, name="x" * 256), "256 characters"),
        (schema(KEY, VECTOR, name="1x"), "'1x'"),
        (schema(KEY, VECTOR, name="a-b"), "'a-b'"),
        (schema(VECTOR), "exactly one primary key, not 0"),
        (schema(KEY, field(primary_key=True), VECTOR), "not 2"),
        (schema(KEY), "0 vector fields"),
        (schema(KEY, VECTOR, VECTOR), "duplicated field name 'v'"),
        (schema(KEY, field("w", DataType.FLOAT_VECTOR, dim=1)), "invalid dimension 1"),
        (schema(KEY, field("w", DataType.FLOAT_VECTOR, dim=40_000)), "invalid dimension 40000"),
        (schema(field("b", DataType.BOOL, primary_key=True), VECTOR), "BOOL"),
        (schema(KEY, VECTOR, field("t", DataType.VARCHAR)), "max_length 0"),
        (schema(KEY, VECTOR, field("t", DataType.VARCHAR, max_length=70_000)), "70000"),
        (schema(KEY, VECTOR, field("a", DataType.ARRAY, max_capacity=3)), "element type none"),
        (
            schema(
                KEY, VECTOR, field("a", DataType.ARRAY, element_type=DataType.JSON, max_capacity=3)
            ),
            "element type JSON",
        ),
        (
            schema(KEY, VECTOR, field("a", DataType.ARRAY, element_type=DataType.INT8)),
            "max_capacity 0",
        ),
        (schema(KEY, VECTOR, field("i", DataType.INT8, has_default=True, default=200)), "200"),
        (schema(KEY, VECTOR, field("i", DataType.INT8, has_default=True, default="x")), "'x'"),
        (schema(KEY, VECTOR, field("i", auto_id=True)), "auto id"),
    ],
)
def test_a_broken_schema_is_refused_by_name(broken, part):
    with pytest.raises(SchemaError) as caught:
        check_schema(broken)
    assert part in caught.value.message


def test_a_field_name_has_its_own_error():
    with pytest.raises(InvalidFieldName, match="a b"):
        check_schema(schema(KEY, VECTOR, field("a b")))
