"""Collection schemas between protobuf and `core.schema`.

Invariants: what the schema asks for and is not served is refused by name, never dropped; the
hidden dynamic field is made here, with the last id, and never shown to a client.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.message import DecodeError
from pymilvus.grpc_gen import schema_pb2

from mishards.api.milvus.pairs import Pairs, is_true, pairs_of, put_pairs
from mishards.core.errors import InvalidParameter, SchemaError, Unimplemented
from mishards.core.ids import FieldId
from mishards.core.schema import (
    DYNAMIC_FIELD,
    FIRST_FIELD_ID,
    CollectionSchema,
    DataType,
    FieldSchema,
    check_schema,
    dynamic_field,
)

_SERVED_TYPES = ", ".join(kind.name for kind in DataType)
_TEXT_SEARCH_PARAMS = ("enable_analyzer", "enable_match")


def decode_schema(data: bytes, name: str, properties: Pairs) -> CollectionSchema:
    """The checked schema of a `CreateCollectionRequest`.

    Args:
        data: its serialised `schema.CollectionSchema`.
        name: of the collection, as the request says.

    Raises:
        InvalidParameter, SchemaError, InvalidFieldName: breaks a rule.
        Unimplemented: names the part that is not served.
    """
    try:
        proto = schema_pb2.CollectionSchema.FromString(data)
    except DecodeError as error:
        raise InvalidParameter(f"the schema is no CollectionSchema: {error}") from error
    if proto.name and proto.name != name:
        raise InvalidParameter(
            f"collection name of the request {name!r} and of its schema {proto.name!r} differ"
        )
    _refuse_unserved(proto)
    fields = [
        _decode_field(field, FieldId(FIRST_FIELD_ID + number))
        for number, field in enumerate(proto.fields)
    ]
    if proto.enable_dynamic_field:
        fields.append(dynamic_field(FieldId(FIRST_FIELD_ID + len(fields))))
    schema = CollectionSchema(
        name=name,
        fields=tuple(fields),
        description=proto.description,
        dynamic=proto.enable_dynamic_field,
        properties=tuple(sorted({**dict(pairs_of(proto.properties)), **dict(properties)}.items())),
    )
    check_schema(schema)
    return schema


def _refuse_unserved(proto: Any) -> None:
    for function in proto.functions:
        raise Unimplemented(f"function {function.name!r}: functions are not served")
    for field in proto.struct_array_fields:
        raise Unimplemented(f"field {field.name!r}: arrays of structs are not served")
    if proto.enable_namespace:
        raise Unimplemented("namespaces are not served")
    if proto.external_source or proto.external_spec:
        raise Unimplemented("external collections are not served")


def _decode_field(proto: Any, field_id: FieldId) -> FieldSchema:
    name = proto.name
    if proto.is_dynamic or name == DYNAMIC_FIELD:
        raise SchemaError(
            f"field {name!r} cannot be declared dynamic: use enable_dynamic_field of the schema"
        )
    unserved = {
        "partition key": proto.is_partition_key,
        "clustering key": proto.is_clustering_key,
        "output of a function": proto.is_function_output,
        "external field": bool(proto.external_field),
        "index parameters in the schema": bool(proto.index_params),
    }
    for what, asked in unserved.items():
        if asked:
            raise Unimplemented(f"field {name!r}: {what} is not served")
    params = dict(pairs_of(proto.type_params))
    for key in _TEXT_SEARCH_PARAMS:
        if is_true(params.get(key, "")):
            raise Unimplemented(f"field {name!r}: text search ({key}) is not served")
    kind = _data_type(name, proto.data_type)
    is_array = kind is DataType.ARRAY
    return FieldSchema(
        id=field_id,
        name=name,
        type=kind,
        description=proto.description,
        primary_key=proto.is_primary_key,
        auto_id=proto.autoID,
        nullable=proto.nullable,
        dim=_number(name, params, "dim") if kind.is_vector else 0,
        max_length=_number(name, params, "max_length"),
        max_capacity=_number(name, params, "max_capacity") if is_array else 0,
        element_type=_data_type(name, proto.element_type) if is_array else None,
        has_default=proto.default_value.WhichOneof("data") is not None,
        default=_default(name, kind, proto.default_value),
        type_params=tuple(params.items()),
    )


def _data_type(field: str, number: int) -> DataType:
    try:
        return DataType(number)
    except ValueError:
        known = schema_pb2.DataType.values()
        shown = schema_pb2.DataType.Name(number) if number in known else str(number)
    raise Unimplemented(f"field {field!r}: type {shown} is not served; served are {_SERVED_TYPES}")


def _number(field: str, params: dict[str, str], key: str) -> int:
    """A whole number of the type parameters; 0 where it is not given."""
    text = params.get(key, "0")
    try:
        return int(text)
    except ValueError as error:
        raise InvalidParameter(
            f"invalid {key} {text!r} of field {field!r}: a whole number is allowed"
        ) from error


def _default(field: str, kind: DataType, value: Any) -> bool | int | float | str | None:
    which = value.WhichOneof("data")
    if which is None:
        return None
    if which == "bytes_data":
        if kind is not DataType.JSON:
            raise SchemaError(f"default value of field {field!r} does not fit {kind.name}")
        try:
            text: str = value.bytes_data.decode()
        except UnicodeDecodeError as error:
            raise SchemaError(f"default value of field {field!r} is not UTF-8") from error
        return text
    found: bool | int | float | str = getattr(value, which)
    return found


_DEFAULT_FIELD = {
    DataType.BOOL: "bool_data",
    DataType.INT8: "int_data",
    DataType.INT16: "int_data",
    DataType.INT32: "int_data",
    DataType.INT64: "long_data",
    DataType.FLOAT: "float_data",
    DataType.DOUBLE: "double_data",
    DataType.VARCHAR: "string_data",
    DataType.JSON: "bytes_data",
}


def encode_schema(schema: CollectionSchema, proto: Any) -> None:
    """Fill a `schema.CollectionSchema` as a client may see it."""
    proto.name = schema.name
    proto.description = schema.description
    proto.enable_dynamic_field = schema.dynamic
    put_pairs(proto.properties, schema.properties)
    for field in schema.fields:
        if not field.dynamic:
            _encode_field(field, proto.fields.add())


def _encode_field(field: FieldSchema, proto: Any) -> None:
    proto.fieldID = field.id
    proto.name = field.name
    proto.description = field.description
    proto.data_type = int(field.type)
    proto.is_primary_key = field.primary_key
    proto.autoID = field.auto_id
    proto.nullable = field.nullable
    if field.element_type is not None:
        proto.element_type = int(field.element_type)
    put_pairs(proto.type_params, field.type_params)
    if field.has_default:
        value = field.default
        name = _DEFAULT_FIELD[field.type]
        setattr(proto.default_value, name, str(value).encode() if name == "bytes_data" else value)
