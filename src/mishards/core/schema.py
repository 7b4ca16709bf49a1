"""Schemas of collections: field types, fields, and the rules they obey.

Invariants: a `CollectionSchema` that `check_schema` accepted has one primary key and at least one
vector field; field ids are unique and start at 100; names are unique. Instances are frozen.
"""

from __future__ import annotations

import enum
import re
from functools import cached_property
from typing import Any

import msgspec

from mishards.core import limits
from mishards.core.errors import InvalidFieldName, SchemaError
from mishards.core.ids import FieldId

DYNAMIC_FIELD = "$meta"
"""Name of the hidden JSON column that holds fields not named in the schema."""
FIRST_FIELD_ID = FieldId(100)


class DataType(enum.IntEnum):
    """Field types with Milvus's numbers."""

    BOOL = 1
    INT8 = 2
    INT16 = 3
    INT32 = 4
    INT64 = 5
    FLOAT = 10
    DOUBLE = 11
    VARCHAR = 21
    ARRAY = 22
    JSON = 23
    FLOAT_VECTOR = 101

    @property
    def is_integer(self) -> bool:
        return DataType.INT8 <= self <= DataType.INT64

    @property
    def is_float(self) -> bool:
        return self in (DataType.FLOAT, DataType.DOUBLE)

    @property
    def is_number(self) -> bool:
        return self.is_integer or self.is_float

    @property
    def is_vector(self) -> bool:
        return self is DataType.FLOAT_VECTOR


class Metric(enum.StrEnum):
    """Distance measures. L2 is squared and rises; IP and COSINE fall from best to worst."""

    L2 = "L2"
    IP = "IP"
    COSINE = "COSINE"

    @property
    def smaller_is_closer(self) -> bool:
        return self is Metric.L2


class FieldSchema(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, dict=True):
    """One field of a collection.

    Attributes:
        dim: dimension of a vector field, 0 otherwise.
        max_length: bytes of UTF-8 that a VARCHAR (or an ARRAY's VARCHAR element) may hold.
        max_capacity: elements that an ARRAY may hold.
        default: value for rows that give none (JSON as text); only where `has_default`.
        type_params: what the client sent, given back by describe.
    """

    id: FieldId
    name: str
    type: DataType
    description: str = ""
    primary_key: bool = False
    auto_id: bool = False
    nullable: bool = False
    dynamic: bool = False
    partition_key: bool = False
    dim: int = 0
    max_length: int = 0
    max_capacity: int = 0
    element_type: DataType | None = None
    has_default: bool = False
    default: bool | int | float | str | None = None
    type_params: tuple[tuple[str, str], ...] = ()


class CollectionSchema(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, dict=True):
    """Fields of a collection, the hidden dynamic field included where there is one."""

    name: str
    fields: tuple[FieldSchema, ...]
    description: str = ""
    dynamic: bool = False
    properties: tuple[tuple[str, str], ...] = ()

    @cached_property
    def by_name(self) -> dict[str, FieldSchema]:
        return {field.name: field for field in self.fields}

    @cached_property
    def primary(self) -> FieldSchema:
        return next(field for field in self.fields if field.primary_key)

    @cached_property
    def vectors(self) -> tuple[FieldSchema, ...]:
        return tuple(field for field in self.fields if field.type.is_vector)

    @cached_property
    def scalars(self) -> tuple[FieldSchema, ...]:
        """All fields that are not vectors: primary key and dynamic field included."""
        return tuple(field for field in self.fields if not field.type.is_vector)


def dynamic_field(field_id: FieldId) -> FieldSchema:
    """The hidden column of a collection that takes fields outside its schema."""
    return FieldSchema(id=field_id, name=DYNAMIC_FIELD, type=DataType.JSON, dynamic=True)


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def check_name(kind: str, name: str, error: type[Exception] = SchemaError) -> None:
    """Refuse a name that Milvus refuses: empty, over-long, or of other characters.

    Raises:
        error: names the kind, the value and the rule.
    """
    if not name:
        raise error(f"{kind} name is empty")
    if len(name) > limits.MAX_NAME_LENGTH:
        raise error(
            f"{kind} name is {len(name)} characters long: {name[:40]!r}…; "
            f"at most {limits.MAX_NAME_LENGTH} are allowed"
        )
    if not _NAME.match(name):
        raise error(
            f"invalid {kind} name {name!r}: it must start with a letter or underscore "
            "and hold only letters, digits and underscores"
        )


def check_schema(schema: CollectionSchema) -> None:
    """Refuse a schema that breaks a rule of Milvus.

    Raises:
        SchemaError, InvalidFieldName: names the field, its value and what is allowed.
    """
    check_name("collection", schema.name)
    if len(schema.fields) > limits.MAX_FIELDS:
        raise SchemaError(f"{len(schema.fields)} fields; at most {limits.MAX_FIELDS} are allowed")
    seen: set[str] = set()
    for field in schema.fields:
        if not field.dynamic:
            check_name("field", field.name, InvalidFieldName)
        if field.name in seen:
            raise SchemaError(f"duplicated field name {field.name!r}")
        seen.add(field.name)
        _check_field(field)
    primaries = [field.name for field in schema.fields if field.primary_key]
    if len(primaries) != 1:
        raise SchemaError(f"a collection has exactly one primary key, not {len(primaries)}")
    vectors = len(schema.vectors)
    if not 1 <= vectors <= limits.MAX_VECTOR_FIELDS:
        raise SchemaError(
            f"{vectors} vector fields; from 1 to {limits.MAX_VECTOR_FIELDS} are allowed"
        )


def _check_field(field: FieldSchema) -> None:
    name = field.name
    if field.primary_key:
        if field.type not in (DataType.INT64, DataType.VARCHAR):
            raise SchemaError(
                f"primary key {name!r} is {field.type.name}; INT64 or VARCHAR is allowed"
            )
        if field.nullable or field.has_default:
            raise SchemaError(f"primary key {name!r} can be neither nullable nor have a default")
    elif field.auto_id:
        raise SchemaError(f"only the primary key can have auto id, not {name!r}")
    if field.type.is_vector:
        if not limits.MIN_DIM <= field.dim <= limits.MAX_DIM:
            raise SchemaError(
                f"invalid dimension {field.dim} of field {name!r}: "
                f"from {limits.MIN_DIM} to {limits.MAX_DIM} is allowed"
            )
        if field.has_default:
            raise SchemaError(f"vector field {name!r} can have no default value")
    has_text = field.type is DataType.VARCHAR or field.element_type is DataType.VARCHAR
    if has_text and not 1 <= field.max_length <= limits.MAX_VARCHAR_BYTES:
        raise SchemaError(
            f"invalid max_length {field.max_length} of field {name!r}: "
            f"from 1 to {limits.MAX_VARCHAR_BYTES} is allowed"
        )
    if field.type is DataType.ARRAY:
        element = field.element_type
        if element is None or element in (DataType.ARRAY, DataType.JSON) or element.is_vector:
            shown = "none" if element is None else element.name
            raise SchemaError(f"invalid element type {shown} of array field {name!r}")
        if not 1 <= field.max_capacity <= limits.MAX_ARRAY_CAPACITY:
            raise SchemaError(
                f"invalid max_capacity {field.max_capacity} of field {name!r}: "
                f"from 1 to {limits.MAX_ARRAY_CAPACITY} is allowed"
            )
    if field.has_default:
        _check_default(field)


_INTEGER_BITS = {DataType.INT8: 8, DataType.INT16: 16, DataType.INT32: 32, DataType.INT64: 64}


def integer_range(kind: DataType) -> tuple[int, int]:
    """Least and greatest value of an integer type."""
    bits = _INTEGER_BITS[kind]
    return -(1 << (bits - 1)), (1 << (bits - 1)) - 1


def _check_default(field: FieldSchema) -> None:
    value: Any = field.default
    fits = {
        DataType.BOOL: isinstance(value, bool),
        DataType.VARCHAR: isinstance(value, str),
        DataType.JSON: isinstance(value, str),
        DataType.FLOAT: isinstance(value, int | float),
        DataType.DOUBLE: isinstance(value, int | float),
    }.get(field.type, isinstance(value, int) and not isinstance(value, bool))
    if not fits or field.type is DataType.ARRAY:
        raise SchemaError(
            f"default value {value!r} of field {field.name!r} does not fit {field.type.name}"
        )
    if field.type.is_integer:
        low, high = integer_range(field.type)
        if not low <= value <= high:
            raise SchemaError(
                f"default value {value} of field {field.name!r} is outside [{low}, {high}]"
            )
    if field.type is DataType.VARCHAR and len(value.encode()) > field.max_length:
        raise SchemaError(
            f"default value of field {field.name!r} is longer than its "
            f"max_length {field.max_length}"
        )
