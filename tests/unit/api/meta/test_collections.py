"""Collections through the service, with requests and readers of pymilvus itself."""

from __future__ import annotations

from typing import Any

import pytest
from pymilvus import DataType, FieldSchema, MilvusClient
from pymilvus.client.abstract import CollectionSchema as Described
from pymilvus.client.prepare import Prepare
from pymilvus.grpc_gen import common_pb2, milvus_pb2, schema_pb2

Status = common_pb2.Status


def book_schema(**options: Any) -> Any:
    schema = MilvusClient.create_schema(enable_dynamic_field=True, **options)
    schema.add_field("id", DataType.INT64, is_primary=True, auto_id=True)
    schema.add_field("title", DataType.VARCHAR, max_length=20, default_value="none")
    schema.add_field("year", DataType.INT16, nullable=True, default_value=3)
    schema.add_field("score", DataType.DOUBLE, default_value=0.5)
    schema.add_field(
        "tags", DataType.ARRAY, element_type=DataType.VARCHAR, max_capacity=4, max_length=9
    )
    schema.add_field("details", DataType.JSON, nullable=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=8, description="of the text")
    return schema


def create(call: Any, name: str = "books", schema: Any = None, **options: Any) -> Any:
    request = Prepare.create_collection_request(name, schema or book_schema(), **options)
    return call("CreateCollection", request, Status)


def describe(call: Any, name: str = "books") -> Any:
    request = milvus_pb2.DescribeCollectionRequest(collection_name=name)
    return call("DescribeCollection", request, milvus_pb2.DescribeCollectionResponse)


def test_a_described_collection_is_what_was_created(call: Any) -> None:
    options = {"consistency_level": "Strong", "properties": {"team": "red"}, "num_shards": 2}
    assert create(call, **options).code == 0
    answer = describe(call)
    found = Described(raw=answer).dict()
    assert found["collection_name"] == "books"
    assert found["consistency_level"] == 0
    assert found["properties"] == {"team": "red"}
    assert found["num_shards"] == 2
    assert found["num_partitions"] == 1
    assert found["enable_dynamic_field"] is True
    fields = {field["name"]: field for field in found["fields"]}
    assert [field["field_id"] for field in found["fields"]] == list(range(100, 107))
    assert fields["id"]["is_primary"]
    assert fields["id"]["auto_id"]
    assert fields["title"]["params"] == {"max_length": 20}
    assert fields["title"]["default_value"].string_data == "none"
    assert fields["year"]["default_value"].int_data == 3
    assert fields["year"]["nullable"] is True
    assert fields["score"]["default_value"].double_data == 0.5
    assert fields["tags"]["element_type"] == DataType.VARCHAR
    assert fields["tags"]["params"] == {"max_capacity": 4, "max_length": 9}
    assert fields["vector"]["params"] == {"dim": 8}
    assert fields["vector"]["description"] == "of the text"
    assert "$meta" not in fields
    assert answer.db_name == "default"
    assert answer.created_utc_timestamp == answer.created_timestamp >> 18


def test_the_dynamic_field_is_hidden_and_has_the_last_id(call: Any, proxy: Any) -> None:
    create(call)
    last = proxy.snapshot.resolve("", "books").schema.fields[-1]
    assert (last.name, last.id, last.dynamic) == ("$meta", 107, True)


def test_creating_the_same_again_succeeds_and_another_is_refused(call: Any) -> None:
    assert create(call).code == 0
    assert create(call).code == 0
    other = MilvusClient.create_schema()
    other.add_field("id", DataType.INT64, is_primary=True)
    other.add_field("v", DataType.FLOAT_VECTOR, dim=4)
    assert create(call, schema=other).code == 1100


def with_field(name: str, kind: DataType, **options: Any) -> Any:
    schema = MilvusClient.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("v", DataType.FLOAT_VECTOR, dim=4)
    schema.fields.append(FieldSchema(name, kind, **options))
    return schema


@pytest.mark.parametrize(
    ("schema", "code", "names"),
    [
        (with_field("b", DataType.BINARY_VECTOR, dim=8), 10, ("'b'", "BinaryVector")),
        (with_field("s", DataType.SPARSE_FLOAT_VECTOR), 10, ("'s'", "SparseFloatVector")),
        (with_field("h", DataType.FLOAT16_VECTOR, dim=8), 10, ("'h'", "Float16Vector")),
        (with_field("p", DataType.INT64, is_partition_key=True), 10, ("'p'", "partition key")),
        (with_field("c", DataType.INT64, is_clustering_key=True), 10, ("'c'", "clustering key")),
        (
            with_field(
                "t", DataType.VARCHAR, max_length=9, enable_match=True, enable_analyzer=True
            ),
            10,
            ("'t'", "enable_analyzer"),
        ),
        (with_field("9x", DataType.INT64), 1701, ("9x",)),
        (with_field("v", DataType.INT64), 1100, ("duplicated", "'v'")),
        (with_field("w", DataType.FLOAT_VECTOR, dim=1), 1100, ("dimension 1", "'w'")),
        (with_field("w", DataType.FLOAT_VECTOR, dim="many"), 1100, ("many", "'w'")),
        (with_field("n", DataType.VARCHAR, max_length=70_000), 1100, ("70000", "'n'")),
        (with_field("i", DataType.INT8, default_value=1), 0, ()),
    ],
)
def test_what_a_schema_may_not_have_is_named(
    call: Any, schema: Any, code: int, names: tuple[str, ...]
) -> None:
    status = create(call, schema=schema)
    assert status.code == code, status.reason
    assert all(name in status.reason for name in names), status.reason


def raw(call: Any, schema: Any, **request: Any) -> Any:
    message = milvus_pb2.CreateCollectionRequest(
        collection_name="books", schema=schema.SerializeToString(), **request
    )
    return call("CreateCollection", message, Status)


def test_parts_that_are_not_served_are_refused_by_name(call: Any) -> None:
    function = schema_pb2.CollectionSchema(functions=[schema_pb2.FunctionSchema(name="bm25")])
    struct = schema_pb2.CollectionSchema(
        struct_array_fields=[schema_pb2.StructArrayFieldSchema(name="clips")]
    )
    assert (raw(call, function).code, "'bm25'" in raw(call, function).reason) == (10, True)
    assert (raw(call, struct).code, "'clips'" in raw(call, struct).reason) == (10, True)
    assert raw(call, schema_pb2.CollectionSchema(enable_namespace=True)).code == 10
    assert raw(call, schema_pb2.CollectionSchema(external_source="s3://x")).code == 10


def test_broken_schemas_are_invalid_parameters(call: Any) -> None:
    request = milvus_pb2.CreateCollectionRequest(collection_name="c", schema=b"\x0a\xff\x01")
    assert call("CreateCollection", request, Status).code == 1100
    assert raw(call, schema_pb2.CollectionSchema(name="other")).code == 1100
    dynamic = schema_pb2.FieldSchema(name="$meta", data_type=schema_pb2.JSON)
    assert "$meta" in raw(call, schema_pb2.CollectionSchema(fields=[dynamic])).reason
    assert raw(call, schema_pb2.CollectionSchema(), num_partitions=4).code == 1100
    unknown = schema_pb2.FieldSchema(name="x", data_type=77)
    assert "77" in raw(call, schema_pb2.CollectionSchema(fields=[unknown])).reason


def test_defaults_that_do_not_fit_are_refused(call: Any) -> None:
    for value in (
        schema_pb2.ValueField(string_data="x"),
        schema_pb2.ValueField(bytes_data=b"x"),
        schema_pb2.ValueField(long_data=200),
    ):
        field = schema_pb2.FieldSchema(name="n", data_type=schema_pb2.Int8, default_value=value)
        key = schema_pb2.FieldSchema(name="id", data_type=schema_pb2.Int64, is_primary_key=True)
        status = raw(call, schema_pb2.CollectionSchema(fields=[key, field]))
        assert (status.code, "'n'" in status.reason) == (1100, True), status.reason


def test_properties_that_would_be_without_effect_are_refused(call: Any) -> None:
    create(call)
    key = "allow_insert_auto_id"
    request = Prepare.alter_collection_request("books", properties={key: "true"})
    status = call("AlterCollection", request, Status)
    assert (status.code, key in status.reason) == (10, True)
    assert create(call, name="other", properties={key: "true"}).code == 10


def test_a_time_to_live_that_is_none_is_refused(call: Any) -> None:
    create(call)
    key = "collection.ttl.seconds"
    for value in ("-2", "3155760001", "9" * 5000, "1.5", "1e3", "ten", "²"):
        request = Prepare.alter_collection_request("books", properties={key: value})
        status = call("AlterCollection", request, Status)
        assert (status.code, "TTL" in status.reason.upper()) == (1100, True), status.reason
        assert create(call, name="other", properties={key: value}).code == 1100
    for value in ("0", "-1", "60", "3155760000"):
        request = Prepare.alter_collection_request("books", properties={key: value})
        assert call("AlterCollection", request, Status).code == 0
        assert Described(raw=describe(call)).dict()["properties"] == {key: value}


def test_properties_are_set_and_removed(call: Any) -> None:
    create(call)
    request = Prepare.alter_collection_request("books", properties={"a": "1", "b": "2"})
    assert call("AlterCollection", request, Status).code == 0
    request = Prepare.alter_collection_request("books", delete_keys=["a"])
    assert call("AlterCollection", request, Status).code == 0
    assert Described(raw=describe(call)).dict()["properties"] == {"b": "2"}


def test_collections_are_found_by_name_id_and_alias(call: Any, proxy: Any) -> None:
    create(call)
    alias = milvus_pb2.CreateAliasRequest(collection_name="books", alias="latest")
    assert call("CreateAlias", alias, Status).code == 0
    number = proxy.snapshot.resolve("", "books").id
    assert describe(call, "latest").schema.name == "books"
    assert list(describe(call, "latest").aliases) == ["latest"]
    request = milvus_pb2.DescribeCollectionRequest(collectionID=number)
    answer = call("DescribeCollection", request, milvus_pb2.DescribeCollectionResponse)
    assert answer.collection_name == "books"
    batch = milvus_pb2.BatchDescribeCollectionRequest(collection_name=["books", "latest"])
    answers = call("BatchDescribeCollection", batch, milvus_pb2.BatchDescribeCollectionResponse)
    assert [a.collection_name for a in answers.responses] == ["books", "books"]
    missing = describe(call, "none").status
    assert (missing.code, missing.error_code) == (100, common_pb2.CollectionNotExists)


def test_has_show_rename_truncate_statistics_and_drop(call: Any, proxy: Any) -> None:
    create(call)
    has = milvus_pb2.HasCollectionRequest(collection_name="books")
    assert call("HasCollection", has, milvus_pb2.BoolResponse).value is True
    rename = Prepare.rename_collections_request("books", "papers", "")
    assert call("RenameCollection", rename, Status).code == 0
    assert call("HasCollection", has, milvus_pb2.BoolResponse).value is False
    shown = call(
        "ShowCollections", milvus_pb2.ShowCollectionsRequest(), milvus_pb2.ShowCollectionsResponse
    )
    assert list(shown.collection_names) == ["papers"]
    proxy.rows = 12
    count = call(
        "GetCollectionStatistics",
        milvus_pb2.GetCollectionStatisticsRequest(collection_name="papers"),
        milvus_pb2.GetCollectionStatisticsResponse,
    )
    assert {kv.key: kv.value for kv in count.stats} == {"row_count": "12"}
    request = milvus_pb2.TruncateCollectionRequest(collection_name="papers")
    assert call("TruncateCollection", request, milvus_pb2.TruncateCollectionResponse).status == (
        Status()
    )
    drop = milvus_pb2.DropCollectionRequest(collection_name="papers")
    assert call("DropCollection", drop, Status).code == 0
    assert call("DropCollection", drop, Status).code == 0


def test_databases_keep_their_collections_apart(call: Any) -> None:
    create_database = milvus_pb2.CreateDatabaseRequest(
        db_name="lib", properties=[common_pb2.KeyValuePair(key="k", value="v")]
    )
    assert call("CreateDatabase", create_database, Status).code == 0
    create(call)
    request = milvus_pb2.ShowCollectionsRequest(db_name="lib")
    shown = call("ShowCollections", request, milvus_pb2.ShowCollectionsResponse)
    assert not shown.collection_names
    listed = call(
        "ListDatabases", milvus_pb2.ListDatabasesRequest(), milvus_pb2.ListDatabasesResponse
    )
    assert sorted(listed.db_names) == ["default", "lib"]
    alter = milvus_pb2.AlterDatabaseRequest(db_name="lib", delete_keys=["k"])
    assert call("AlterDatabase", alter, Status).code == 0
    drop = milvus_pb2.DropDatabaseRequest(db_name="lib")
    assert call("DropDatabase", drop, Status).code == 0
    assert call("ShowCollections", request, milvus_pb2.ShowCollectionsResponse).status.code == 800
