"""Insert, Upsert and Delete, with requests made by pymilvus's own code."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pymilvus import DataType as ClientType
from pymilvus.client.abstract import MutationResult
from pymilvus.client.prepare import Prepare
from pymilvus.grpc_gen import milvus_pb2, schema_pb2

from mishards.api.milvus.data import DATA_HANDLERS
from mishards.api.milvus.decode_columns import decode_column, filled_column
from mishards.core.columns import arrow_type
from mishards.core.errors import (
    CollectionNotFound,
    InvalidParameter,
    InvalidRow,
    MishardsError,
    MissingParameter,
    SchemaMismatch,
    Unimplemented,
)
from mishards.core.ids import FieldId
from mishards.core.schema import DataType, FieldSchema


def call(proxy: Any, method: str, request: Any) -> MutationResult:
    """The handler's answer as the client sees it; the request crosses the wire first."""
    handler = DATA_HANDLERS[method]
    received = handler.request.FromString(request.SerializeToString())
    data = asyncio.run(handler.handle(proxy, received))
    return MutationResult(handler.response.FromString(data))


def insert_request(rows: list[dict[str, Any]], fields: Any, **options: Any) -> Any:
    return Prepare.row_insert_param("books", rows, "", fields, enable_dynamic=True, **options)


def rows_of(proxy: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = proxy.calls[-1].batch.to_pylist()
    return rows


PLAIN = [
    {"name": "id", "type": ClientType.INT64, "is_primary": True},
    {"name": "vector", "type": ClientType.FLOAT_VECTOR, "params": {"dim": 4}},
]


def plain_request(rows: int = 2, dim: int = 4) -> Any:
    return Prepare.row_insert_param(
        "books", [{"id": i, "vector": [0.5] * dim} for i in range(rows)], "", PLAIN
    )


def test_all_types_arrive_as_they_were_sent(proxy: Any, client_fields: Any, make_row: Any) -> None:
    rows = [make_row(1, color="red"), make_row(2, tags=[], marks=[])]

    answer = call(proxy, "Insert", insert_request(rows, client_fields))

    got = rows_of(proxy)
    for row, sent in zip(got, rows, strict=True):
        assert row.pop("details") == b'{"k":%d}' % sent["id"]
        meta = row.pop("$meta")
        assert meta == (b'{"color":"red"}' if sent["id"] == 1 else b"{}")
        expected = {k: v for k, v in sent.items() if k not in ("details", "color")}
        assert row == expected
    assert list(answer.primary_keys) == [1, 2]
    assert (answer.insert_count, answer.upsert_count, answer.timestamp) == (2, 0, 7)
    assert list(answer.succ_index) == [0, 1]


@pytest.mark.parametrize("name", ["title", "details", "marks", "second"])
def test_null_and_left_out_are_null(
    proxy: Any, client_fields: Any, make_row: Any, name: str
) -> None:
    left_out = make_row(3)
    del left_out[name]
    rows = [make_row(1), make_row(2, **{name: None}), left_out, make_row(4)]

    call(proxy, "Insert", insert_request(rows, client_fields))

    assert [row[name] is None for row in rows_of(proxy)] == [False, True, True, False]
    assert rows_of(proxy)[3]["second"] == [1.0, 4.0]


def test_default_stands_for_null_and_for_left_out(
    proxy: Any, client_fields: Any, make_row: Any
) -> None:
    left_out = make_row(2)
    del left_out["stars"]
    rows = [make_row(1, stars=None), left_out, make_row(3, stars=9)]

    call(proxy, "Insert", insert_request(rows, client_fields))

    assert [row["stars"] for row in rows_of(proxy)] == [5, 5, 9]


@pytest.mark.parametrize(
    ("options", "value"),
    [
        ({"type": DataType.VARCHAR, "default": "é"}, "é"),
        ({"type": DataType.JSON, "default": '{"a":1}'}, b'{"a":1}'),
        ({"type": DataType.BOOL, "default": False}, False),
        ({"type": DataType.INT8, "default": -3}, -3),
        ({"type": DataType.DOUBLE, "default": 0.1}, 0.1),
    ],
)
def test_defaults_of_every_kind(options: Any, value: Any) -> None:
    field = FieldSchema(id=FieldId(100), name="f", has_default=True, **options)
    data = schema_pb2.FieldData(type=int(field.type), valid_data=[False, False])

    for column in (filled_column(field, 2), decode_column(data, field, 2)):
        assert (column.type, column.to_pylist()) == (arrow_type(field), [value, value])


def test_whole_fields_left_out_of_the_request_are_filled(
    proxy: Any, client_fields: Any, make_row: Any
) -> None:
    request = insert_request([make_row(1), make_row(2)], client_fields)
    kept = [d for d in request.fields_data if d.field_name not in ("title", "stars", "$meta")]
    del request.fields_data[:]
    request.fields_data.extend(kept)

    call(proxy, "Insert", request)

    assert [(r["title"], r["stars"], r["$meta"]) for r in rows_of(proxy)] == [(None, 5, b"{}")] * 2


def test_nullable_values_may_come_for_all_rows(
    proxy: Any, client_fields: Any, make_row: Any
) -> None:
    request = insert_request([make_row(1), make_row(2)], client_fields)
    for data in request.fields_data:
        if data.field_name in ("title", "second"):
            data.valid_data[:] = [False, True]

    call(proxy, "Insert", request)

    assert [row["title"] for row in rows_of(proxy)] == [None, "title 2"]
    assert [row["second"] for row in rows_of(proxy)] == [None, [1.0, 2.0]]


def test_unnamed_dynamic_field_is_the_dynamic_field(
    proxy: Any, client_fields: Any, make_row: Any
) -> None:
    request = insert_request([make_row(1, color="red")], client_fields)
    for data in request.fields_data:
        if data.is_dynamic:
            data.field_name = ""

    call(proxy, "Insert", request)

    assert rows_of(proxy)[0]["$meta"] == b'{"color":"red"}'


def _broken(change: Any) -> Any:
    request = plain_request()
    change(request)
    return request


def _set(path: str, value: Any) -> Any:
    def change(request: Any) -> None:
        *parents, last = path.split(".")
        target = request.fields_data[1]
        for parent in parents:
            target = getattr(target, parent)
        setattr(target, last, value)

    return change


def _more_rows(request: Any) -> None:
    request.num_rows = 3


def _no_vector(request: Any) -> None:
    del request.fields_data[1]


def _twice(request: Any) -> None:
    request.fields_data.add().CopyFrom(request.fields_data[0])


def _null_key(request: Any) -> None:
    request.fields_data[0].valid_data.extend([True, False])


def _other_kind(request: Any) -> None:
    request.fields_data[0].scalars.string_data.data.append("x")


def _binary(request: Any) -> None:
    request.fields_data[1].vectors.binary_vector = b"1234"


def _dynamic(request: Any) -> None:
    data = request.fields_data.add(type=schema_pb2.JSON, is_dynamic=True)
    data.scalars.json_data.data.extend([b"{}", b"{}"])


def _namespace(request: Any) -> None:
    request.namespace = "n"


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (_more_rows, InvalidRow, ["'id'", "2 values", "3"]),
        (_no_vector, MissingParameter, ["'vector'"]),
        (_twice, InvalidRow, ["'id'", "twice"]),
        (_null_key, InvalidRow, ["'id'", "row 1"]),
        (_other_kind, InvalidRow, ["'id'", "INT64", "string_data"]),
        (_binary, InvalidRow, ["'vector'", "binary_vector"]),
        (_dynamic, InvalidRow, ["dynamic"]),
        (_namespace, Unimplemented, ["namespace"]),
        (_set("field_name", "other"), InvalidRow, ["'other'", "id, vector"]),
        (_set("type", 5), InvalidRow, ["'vector'", "INT64", "FLOAT_VECTOR"]),
        (_set("type", 104), InvalidRow, ["'vector'", "type 104"]),
        (_set("vectors.dim", 8), InvalidRow, ["'vector'", "4", "8"]),
        (lambda r: setattr(r, "num_rows", 0), InvalidParameter, ["num_rows"]),
        (lambda r: setattr(r, "collection_name", "none"), CollectionNotFound, ["'none'"]),
    ],
)
def test_refused_requests_name_what_is_wrong(
    plain_proxy: Any, change: Any, error: type[MishardsError], words: list[str]
) -> None:
    with pytest.raises(error) as caught:
        call(plain_proxy, "Insert", _broken(change))

    assert all(word in caught.value.message for word in words), caught.value.message
    assert plain_proxy.calls == []


def test_wrong_dimension_is_refused(plain_proxy: Any) -> None:
    with pytest.raises(InvalidRow, match="dimension 4; the rows have 5"):
        call(plain_proxy, "Insert", plain_request(dim=5))


def test_vectors_of_different_lengths_are_refused(plain_proxy: Any) -> None:
    rows = [{"id": 1, "vector": [1.0] * 3}, {"id": 2, "vector": [1.0] * 4}]
    with pytest.raises(InvalidRow, match="7 numbers"):
        call(plain_proxy, "Insert", Prepare.row_insert_param("books", rows, "", PLAIN))


@pytest.mark.parametrize(("name", "value"), [("tiny", 128), ("tiny", -129), ("small", 32_768)])
def test_integers_never_wrap(
    proxy: Any, client_fields: Any, make_row: Any, name: str, value: int
) -> None:
    request = insert_request([make_row(1), make_row(2, **{name: value})], client_fields)
    with pytest.raises(InvalidRow, match=f"{name}.*{value}"):
        call(proxy, "Insert", request)


def test_array_elements_of_another_type_are_refused(
    proxy: Any, client_fields: Any, make_row: Any
) -> None:
    request = insert_request([make_row(1)], client_fields)
    data = next(d for d in request.fields_data if d.field_name == "tags")
    data.scalars.array_data.data[0].long_data.data.append(1)
    with pytest.raises(InvalidRow, match=r"'tags'.*long_data.*row 0.*VARCHAR"):
        call(proxy, "Insert", request)


def test_rows_for_an_older_schema_tell_the_client_to_read_it_anew(plain_proxy: Any) -> None:
    request = plain_request(dim=5)
    request.schema_timestamp = plain_proxy.view.meta.updated - 1
    with pytest.raises(SchemaMismatch, match="dimension"):
        call(plain_proxy, "Insert", request)


def test_an_old_schema_timestamp_is_fine_while_rows_fit(plain_proxy: Any) -> None:
    request = plain_request()
    request.schema_timestamp = 1
    assert call(plain_proxy, "Insert", request).insert_count == 2


def test_auto_id_rows_come_without_key(auto_proxy: Any) -> None:
    fields = [{**PLAIN[0], "auto_id": True}, PLAIN[1]]
    rows = [{"vector": [1.0] * 4}, {"vector": [2.0] * 4}]

    answer = call(auto_proxy, "Insert", Prepare.row_insert_param("books", rows, "", fields))

    assert auto_proxy.calls[0].batch.schema.names == ["vector"]
    assert list(answer.primary_keys) == [0, 1]
    with pytest.raises(InvalidRow, match="auto_id"):
        call(auto_proxy, "Insert", plain_request())


def upsert_request(keys: list[int], **options: Any) -> Any:
    rows = [{"id": key, "vector": [float(place)] * 4} for place, key in enumerate(keys)]
    return Prepare.row_upsert_param("books", rows, "", PLAIN, **options)


def test_of_equal_keys_in_an_upsert_the_last_row_stays(plain_proxy: Any) -> None:
    answer = call(plain_proxy, "Upsert", upsert_request([5, 1, 5, 2, 1]))

    assert [(r["id"], r["vector"][0]) for r in rows_of(plain_proxy)] == [(5, 2), (2, 3), (1, 4)]
    assert plain_proxy.calls[0].keys is None
    assert (answer.upsert_count, answer.insert_count) == (3, 0)


def test_upsert_with_auto_ids_says_which_keys_to_replace(auto_proxy: Any) -> None:
    call(auto_proxy, "Upsert", upsert_request([5, 1, 5]))

    sent = auto_proxy.calls[0]
    assert sent.keys.to_pylist() == [1, 5]
    assert sent.batch.schema.names == ["vector"]
    assert [row["vector"][0] for row in rows_of(auto_proxy)] == [1.0, 2.0]


def test_partial_update_is_refused(plain_proxy: Any) -> None:
    with pytest.raises(Unimplemented, match="partial_update"):
        call(plain_proxy, "Upsert", upsert_request([1], partial_update=True))


def test_upsert_without_key_is_refused(auto_proxy: Any) -> None:
    request = upsert_request([1])
    del request.fields_data[0]
    with pytest.raises(MissingParameter, match="'id'"):
        call(auto_proxy, "Upsert", request)


def test_delete_passes_filter_templates_and_partition(plain_proxy: Any) -> None:
    request = Prepare.delete_request(
        "books", "id in {ids}", "p1", 0, expr_params={"ids": [1, 2], "x": "y", "z": [[1], [2]]}
    )
    request.db_name = "shop"

    answer = call(plain_proxy, "Delete", request)

    sent = plain_proxy.calls[0]
    assert (sent.database, sent.collection, sent.partition) == ("shop", "books", "p1")
    assert (sent.filter, sent.templates) == (
        "id in {ids}",
        {"ids": [1, 2], "x": "y", "z": [[1], [2]]},
    )
    assert answer.delete_count == 2
    assert list(answer.primary_keys) == []


def test_delete_without_filter_is_refused(plain_proxy: Any) -> None:
    with pytest.raises(MissingParameter):
        call(plain_proxy, "Delete", milvus_pb2.DeleteRequest(collection_name="books", expr=" "))
