"""Rows that break the schema: field and limit are named, nothing of the batch is stored."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from pymilvus import MilvusClient, MilvusException
from pymilvus.grpc_gen import milvus_pb2, schema_pb2

NAN, INF = float("nan"), float("inf")
Type = schema_pb2.DataType

pytestmark = pytest.mark.usefixtures("unharmed")


def field(request: Any, name: str) -> Any:
    return next(data for data in request.fields_data if data.field_name == name)


def put(name: str, slot: str, value: Any) -> Callable[[Any], None]:
    """Replace a scalar of the second row."""

    def change(request: Any) -> None:
        getattr(field(request, name).scalars, slot).data[1] = value

    return change


def vector(value: float) -> Callable[[Any], None]:
    def change(request: Any) -> None:
        field(request, "vector").vectors.float_vector.data[5] = value

    return change


def dimension(dim: int, *, numbers: int) -> Callable[[Any], None]:
    def change(request: Any) -> None:
        vectors = field(request, "vector").vectors
        vectors.dim = dim
        vectors.float_vector.data[:] = [0.0] * numbers

    return change


def retyped(name: str, kind: Any, slot: str, value: Any) -> Callable[[Any], None]:
    """The field is given as another type, and says so."""

    def change(request: Any) -> None:
        data = field(request, name)
        data.type = kind
        getattr(data.scalars, slot).data.extend([value, value])

    return change


def disguised(name: str, slot: str, value: Any) -> Callable[[Any], None]:
    """The field says that it is of its type, but carries values of another."""

    def change(request: Any) -> None:
        getattr(field(request, name).scalars, slot).data.extend([value, value])

    return change


def without(name: str) -> Callable[[Any], None]:
    def change(request: Any) -> None:
        request.fields_data.remove(field(request, name))

    return change


def twice(name: str) -> Callable[[Any], None]:
    def change(request: Any) -> None:
        request.fields_data.add().CopyFrom(field(request, name))

    return change


def renamed(name: str, to: str) -> Callable[[Any], None]:
    def change(request: Any) -> None:
        field(request, name).field_name = to

    return change


def null(name: str) -> Callable[[Any], None]:
    def change(request: Any) -> None:
        field(request, name).valid_data[:] = [True, False]

    return change


def ragged(name: str, slot: str) -> Callable[[Any], None]:
    def change(request: Any) -> None:
        getattr(field(request, name).scalars, slot).data.pop()

    return change


def elements(name: str, slot: str, values: list[Any]) -> Callable[[Any], None]:
    """Replace the array of the second row."""

    def change(request: Any) -> None:
        cell = field(request, name).scalars.array_data.data[1]
        cell.Clear()
        getattr(cell, slot).data.extend(values)

    return change


def dynamic(text: bytes) -> Callable[[Any], None]:
    def change(request: Any) -> None:
        data = next(data for data in request.fields_data if data.is_dynamic)
        data.scalars.json_data.data[1] = text

    return change


def rows(number: int) -> Callable[[Any], None]:
    def change(request: Any) -> None:
        request.num_rows = number

    return change


def set_to(name: str, value: Any) -> Callable[[Any], None]:
    def change(request: Any) -> None:
        setattr(request, name, value)

    return change


LONG_JSON = json.dumps("x" * 65_536).encode()
CASES: dict[str, tuple[Callable[[Any], None], int, tuple[str, ...]]] = {
    "dimension": (dimension(3, numbers=6), 1100, ("'vector'", "dimension 4", "3")),
    "dimension not as stated": (dimension(4, numbers=6), 1100, ("'vector'", "6 numbers", "2 rows")),
    "no vectors": (dimension(4, numbers=0), 1100, ("'vector'", "0 numbers")),
    "NaN in a vector": (vector(NAN), 1100, ("'vector'", "nan in row 1", "dimension 1", "finite")),
    "infinity in a vector": (vector(-INF), 1100, ("'vector'", "-inf in row 1", "finite")),
    "NaN in a float": (put("f", "float_data", NAN), 1100, ("'f' is nan in row 1", "finite")),
    "infinity in a double": (put("d", "double_data", INF), 1100, ("'d' is inf in row 1", "finite")),
    "int8": (put("i8", "int_data", 128), 1100, ("'i8'", "128", "INT8 is from -128 to 127")),
    "int16": (put("i16", "int_data", -32_769), 1100, ("'i16'", "-32769", "from -32768 to 32767")),
    "text in bytes": (
        put("text", "string_data", "é" * 5),
        1100,
        ("'text' is 10 bytes long in row 1", "at most 8", "max_length"),
    ),
    "JSON too long": (
        put("doc", "json_data", LONG_JSON),
        1100,
        ("'doc'", f"{len(LONG_JSON)} bytes", "65536"),
    ),
    "JSON broken": (put("doc", "json_data", b'{"a":'), 1100, ("'doc'", "row 1", "not valid JSON")),
    "JSON not UTF-8": (put("doc", "json_data", b'"\xff"'), 1100, ("'doc'", "not valid JSON")),
    "JSON too deep": (put("doc", "json_data", b"[" * 9000), 1100, ("'doc'", "not valid JSON")),
    "dynamic field no object": (dynamic(b"[1]"), 1100, ("dynamic field of row 1", "JSON object")),
    "dynamic field broken": (dynamic(b"{"), 1100, ("row 1", "not valid JSON")),
    "dynamic key of a field": (dynamic(b'{"text": 1}'), 1100, ("row 1", "'text'")),
    "array capacity": (
        elements("nums", "int_data", [1] * 4),
        1100,
        ("'nums' holds 4 elements in row 1", "at most 3", "max_capacity"),
    ),
    "array element type": (
        elements("nums", "string_data", ["a"]),
        1100,
        ("'nums' holds string_data in row 1", "INT8"),
    ),
    "array element range": (elements("nums", "int_data", [300]), 1100, ("'nums'", "300", "127")),
    "array element length": (
        elements("tags", "string_data", ["abcde"]),
        1100,
        ("'tags' is 5 bytes long", "at most 4"),
    ),
    "missing field": (without("i64"), 1101, ("'i64' is missing",)),
    "missing vector": (without("vector"), 1101, ("'vector' is missing",)),
    "missing key": (without("id"), 1101, ("'id' is missing",)),
    "given twice": (twice("i32"), 1100, ("'i32' is given twice",)),
    "unknown field": (renamed("i32", "i33"), 1100, ("'i33' does not exist", "i32")),
    "null": (null("i64"), 1100, ("'i64' is null in row 1", "not nullable")),
    "null vector": (null("vector"), 1100, ("'vector' is null in row 1", "not nullable")),
    "ragged": (ragged("i64", "long_data"), 1100, ("'i64' has 1 values; 2 are expected",)),
    "ragged text": (ragged("text", "string_data"), 1100, ("'text' has 1 values",)),
    "rows too few": (rows(1), 1100, ("2 values; 1 are expected",)),
    "rows too many": (rows(3), 1100, ("2 values; 3 are expected",)),
    "no rows": (rows(0), 1100, ("num_rows is 0", "at least one")),
    "collection": (set_to("collection_name", "nobody"), 100, ("nobody",)),
    "collection empty": (set_to("collection_name", ""), 100, ()),
    "partition": (set_to("partition_name", "nowhere"), 200, ("nowhere",)),
    "database": (set_to("db_name", "elsewhere"), 800, ("elsewhere",)),
}
WRONG_TYPES = [
    ("flag", Type.VarChar, "string_data", "yes"),
    ("i8", Type.VarChar, "string_data", "1"),
    ("i16", Type.Double, "double_data", 1.5),
    ("i32", Type.Int64, "long_data", 1),
    ("i64", Type.Bool, "bool_data", True),
    ("f", Type.Int32, "int_data", 1),
    ("d", Type.Float, "float_data", 0.5),
    ("text", Type.Int64, "long_data", 1),
    ("doc", Type.VarChar, "string_data", "{}"),
    ("id", Type.VarChar, "string_data", "1"),
]
for name, kind, slot, value in WRONG_TYPES:
    CASES[f"{name} as {slot}"] = (retyped(name, kind, slot, value), 1100, (f"'{name}'", "expected"))
    CASES[f"{name} really {slot}"] = (disguised(name, slot, value), 1100, (f"'{name}'", slot))


@pytest.mark.parametrize("upsert", [False, True], ids=["insert", "upsert"])
@pytest.mark.parametrize("case", CASES)
def test_one_bad_row_refuses_the_batch(
    stub: Any, request_of: Any, good_rows: Any, case: str, upsert: bool
) -> None:
    change, code, said = CASES[case]
    request = request_of(good_rows, upsert=upsert)
    change(request)
    answer = (stub.Upsert if upsert else stub.Insert)(request)
    if case == "missing key" and upsert:
        said = ("primary key 'id'",)
    assert answer.status.code == code, answer.status
    for words in said:
        assert words in answer.status.reason
    assert not answer.insert_cnt
    assert not answer.upsert_cnt


def test_rows_made_for_another_schema_say_so(stub: Any, request_of: Any, good_rows: Any) -> None:
    request = request_of(good_rows)
    request.schema_timestamp = 5
    without("i64")(request)
    renamed("i32", "i33")(request)
    answer = stub.Insert(request)
    assert answer.status.code == 109
    assert "made for another schema" in answer.status.reason
    assert "'i33' does not exist" in answer.status.reason


def test_an_id_given_where_the_server_makes_it(stub: Any) -> None:
    key = schema_pb2.FieldData(type=Type.Int64, field_name="id")
    key.scalars.long_data.data.append(1)
    vectors = schema_pb2.FieldData(type=Type.FloatVector, field_name="vector")
    vectors.vectors.dim = 4
    vectors.vectors.float_vector.data.extend([0.0] * 4)
    request = milvus_pb2.InsertRequest(collection_name="auto_ids", num_rows=1)
    request.fields_data.extend([key, vectors])
    answer = stub.Insert(request)
    assert answer.status.code == 1100
    assert "'id' is made by the server (auto_id)" in answer.status.reason


def test_a_field_that_a_collection_without_dynamic_fields_does_not_have(stub: Any) -> None:
    data = schema_pb2.FieldData(type=Type.JSON, is_dynamic=True)
    data.scalars.json_data.data.append(b"{}")
    request = milvus_pb2.InsertRequest(collection_name="auto_ids", num_rows=1)
    request.fields_data.append(data)
    answer = stub.Insert(request)
    assert answer.status.code == 1100
    assert "has no dynamic field; its fields are id, vector" in answer.status.reason


CLIENT_CASES: dict[str, dict[str, Any]] = {
    "dimension": {"vector": [0.0] * 3},
    "text for a number": {"i64": "four"},
    "number for a text": {"text": 4},
    "null": {"i64": None},
    "too long": {"text": "x" * 9},
    "NaN": {"vector": [NAN, 0.0, 0.0, 0.0]},
    "too large an int8": {"i8": 1000},
    "too large an array": {"nums": [1, 2, 3, 4]},
}


@pytest.mark.parametrize("case", CLIENT_CASES)
def test_through_pymilvus_s_own_checks(client: MilvusClient, good_rows: Any, case: str) -> None:
    bad = {**good_rows[1], **CLIENT_CASES[case]}
    with pytest.raises(MilvusException, match=next(iter(CLIENT_CASES[case]))):
        client.insert("all_types", [good_rows[0], bad])


def test_an_empty_insert_through_pymilvus(client: MilvusClient) -> None:
    assert client.insert("all_types", [])["insert_count"] == 0


DELETES: dict[str, tuple[dict[str, Any], int, tuple[str, ...]]] = {
    "no filter": ({"expr": " "}, 1101, ("needs a filter",)),
    "broken filter": ({"expr": "id in [1"}, 1100, ("cannot parse expression", "^")),
    "wrong type": ({"expr": "id == 'one'"}, 1100, ("'one'", "^")),
    "collection": ({"expr": "id == 1", "collection_name": "nobody"}, 100, ("nobody",)),
    "partition": ({"expr": "id == 1", "partition_name": "nowhere"}, 200, ("nowhere",)),
    "database": ({"expr": "id == 1", "db_name": "elsewhere"}, 800, ("elsewhere",)),
    "level": ({"expr": "id == 1", "consistency_level": 9}, 1100, ("9", "0 to 4")),
    "template": ({"expr": "id == {x}"}, 1100, ("x", "^")),
    "filter on what is not loaded": (
        {"expr": "id < 9", "collection_name": "not_loaded"},
        101,
        ("not_loaded",),
    ),
}


@pytest.mark.parametrize("case", DELETES)
def test_deletes(stub: Any, case: str) -> None:
    settings, code, said = DELETES[case]
    answer = stub.Delete(milvus_pb2.DeleteRequest(**{"collection_name": "all_types", **settings}))
    assert answer.status.code == code, answer.status
    for words in said:
        assert words in answer.status.reason
    assert not answer.delete_cnt


def test_a_message_over_the_limit(stub: Any, client: MilvusClient) -> None:
    request = milvus_pb2.DeleteRequest(collection_name="all_types", expr=" " * (65 << 20))
    with pytest.raises(grpc.RpcError) as caught:
        stub.Delete(request)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "67108864" in caught.value.details()
