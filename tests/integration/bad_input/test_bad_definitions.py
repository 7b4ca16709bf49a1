"""Definitions that cannot be: names, schemas, indexes, partitions, aliases, databases, loading."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pymilvus import DataType, Function, FunctionType, MilvusClient
from pymilvus.grpc_gen import common_pb2, milvus_pb2, schema_pb2

Said = tuple[str, ...]
Type = schema_pb2.DataType
LONG = "n" * 256
NAMES: dict[str, tuple[str, Said]] = {
    "empty": ("", ("empty",)),
    "over-long": (LONG, ("256 characters", "255")),
    "digit first": ("1abc", ("'1abc'", "letter or underscore")),
    "space": ("a b", ("'a b'", "letters, digits and underscores")),
    "dash": ("a-b", ("'a-b'", "letters, digits and underscores")),
    "letter of another script": ("é", ("letters, digits and underscores",)),
    "line end": ("a\n", ("letters, digits and underscores",)),
    "path": ("../x", ("'../x'",)),
    "null character": ("a\0", ("letters, digits and underscores",)),
}


def schema_of(*fields: dict[str, Any], **settings: Any) -> bytes:
    schema = schema_pb2.CollectionSchema(**settings)
    for settings in fields:
        params = settings.pop("type_params", {})
        field = schema.fields.add(**settings)
        for key, value in params.items():
            field.type_params.add(key=key, value=str(value))
    data: bytes = schema.SerializeToString()
    return data


def key(**settings: Any) -> dict[str, Any]:
    return {"name": "id", "data_type": Type.Int64, "is_primary_key": True, **settings}


def vector(dim: Any = 4, **settings: Any) -> dict[str, Any]:
    params = {} if dim is None else {"dim": dim}
    return {"name": "v", "data_type": Type.FloatVector, "type_params": params, **settings}


def other(kind: Any, **settings: Any) -> dict[str, Any]:
    params = settings.pop("params", {})
    return {"name": "x", "data_type": kind, "type_params": params, **settings}


def collection(*fields: dict[str, Any], **settings: Any) -> milvus_pb2.CreateCollectionRequest:
    return milvus_pb2.CreateCollectionRequest(
        **{"collection_name": "made", "schema": schema_of(*fields), **settings}
    )


def check(status: Any, code: int, said: Said) -> None:
    assert status.code == code, status
    for words in said:
        assert words in status.reason


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("case", NAMES)
def test_names(stub: Any, case: str) -> None:
    name, said = NAMES[case]
    check(stub.CreateDatabase(milvus_pb2.CreateDatabaseRequest(db_name=name)), 802, said)
    request = collection(key(), vector(), collection_name=name)
    check(stub.CreateCollection(request), 1100, said)
    field = collection(key(), vector(), other(Type.Bool, name=name))
    check(stub.CreateCollection(field), 1701, said)
    target = {"collection_name": "all_types"}
    partition = milvus_pb2.CreatePartitionRequest(**target, partition_name=name)
    check(stub.CreatePartition(partition), 1100, said)
    alias = milvus_pb2.CreateAliasRequest(**target, alias=name)
    check(stub.CreateAlias(alias), 1100, said)
    rename = milvus_pb2.RenameCollectionRequest(oldName="all_types", newName=name)
    check(stub.RenameCollection(rename), 1100, said)
    if name:
        bare = {"collection_name": "without_index", "field_name": "vector"}
        index = milvus_pb2.CreateIndexRequest(**bare, index_name=name)
        check(stub.CreateIndex(index), 1100, said)


def default(**value: Any) -> schema_pb2.ValueField:
    return schema_pb2.ValueField(**value)


def array(**settings: Any) -> dict[str, Any]:
    params = {"max_capacity": 3, **settings.pop("params", {})}
    return other(Type.Array, params=params, **settings)


MANY_FIELDS = [other(Type.Bool, name=f"f{number}") for number in range(63)]
MANY_VECTORS = [vector(name=f"v{number}") for number in range(11)]
SCHEMAS: dict[str, tuple[milvus_pb2.CreateCollectionRequest, int, Said]] = {
    "no bytes of a schema": (collection(schema=b"\xff"), 1100, ("no CollectionSchema",)),
    "no fields": (collection(), 1100, ("primary key",)),
    "no key": (collection(vector()), 1100, ("exactly one primary key, not 0",)),
    "two keys": (collection(key(), key(name="b"), vector()), 1100, ("not 2",)),
    "key of a float": (collection(key(data_type=Type.Float), vector()), 1100, ("FLOAT", "INT64")),
    "nullable key": (collection(key(nullable=True), vector()), 1100, ("'id'", "nullable")),
    "no vector": (collection(key()), 1100, ("0 vector fields", "1 to 10")),
    "vectors": (collection(key(), *MANY_VECTORS), 1100, ("11 vector fields", "10")),
    "fields": (collection(key(), vector(), *MANY_FIELDS), 1100, ("65 fields", "64")),
    "field twice": (collection(key(), vector(), vector()), 1100, ("'v'", "duplicated")),
    "no dim": (collection(key(), vector(None)), 1100, ("dimension 0", "'v'", "2 to 32768")),
    "dim 1": (collection(key(), vector(1)), 1100, ("dimension 1", "2 to 32768")),
    "dim 32769": (collection(key(), vector(32_769)), 1100, ("32769", "32768")),
    "dim a text": (collection(key(), vector("four")), 1100, ("'four'", "dim", "whole number")),
    "dim of 5,000 digits": (collection(key(), vector("9" * 5000)), 1100, ("dim",)),
    "no length": (collection(key(), vector(), other(Type.VarChar)), 1100, ("max_length 0",)),
    "length": (
        collection(key(), vector(), other(Type.VarChar, params={"max_length": 65_536})),
        1100,
        ("65536", "65535"),
    ),
    "capacity": (
        collection(key(), vector(), array(element_type=Type.Int8, params={"max_capacity": 4097})),
        1100,
        ("4097", "4096"),
    ),
    "no element": (collection(key(), vector(), array()), 10, ("'x'",)),
    "element JSON": (
        collection(key(), vector(), array(element_type=Type.JSON)),
        1100,
        ("JSON", "element type"),
    ),
    "unknown type": (collection(key(), vector(), other(99)), 10, ("'x'", "99")),
    "type of nothing": (collection(key(), vector(), other(0)), 10, ("'x'", "None")),
    "sparse": (collection(key(), vector(data_type=Type.SparseFloatVector)), 10, ("Sparse",)),
    "binary": (collection(key(), vector(data_type=Type.BinaryVector)), 10, ("BinaryVector",)),
    "partition key": (
        collection(key(), vector(), other(Type.Int64, is_partition_key=True)),
        10,
        ("'x'", "partition key"),
    ),
    "auto id": (
        collection(key(), vector(), other(Type.Int64, autoID=True)),
        1100,
        ("primary key", "'x'"),
    ),
    "default": (
        collection(key(), vector(), other(Type.Int8, default_value=default(int_data=200))),
        1100,
        ("200", "[-128, 127]"),
    ),
    "default of another type": (
        collection(key(), vector(), other(Type.Bool, default_value=default(string_data="yes"))),
        1100,
        ("'yes'", "BOOL"),
    ),
    "hidden name": (collection(key(), vector(), other(Type.JSON, name="$meta")), 1100, ("$meta",)),
    "shards": (collection(key(), vector(), shards_num=-1), 1100, ("-1",)),
    "level": (collection(key(), vector(), consistency_level=9), 1100, ("9", "STRONG")),
    "database": (collection(key(), vector(), db_name="elsewhere"), 800, ("elsewhere",)),
    "alias": (
        collection(key(), vector(), collection_name="nickname"),
        1601,
        ("nickname", "alias"),
    ),
    "taken": (collection(key(), vector(), collection_name="all_types"), 1100, ("all_types",)),
    "two names": (
        collection(schema=schema_of(key(), vector(), name="another")),
        1100,
        ("'made'", "'another'"),
    ),
    "function": (
        collection(
            schema=schema_of(key(), vector(), functions=[schema_pb2.FunctionSchema(name="bm25")])
        ),
        10,
        ("'bm25'", "functions"),
    ),
    "partitions of a key": (
        collection(key(), vector(), num_partitions=8),
        1100,
        ("num_partitions",),
    ),
}


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("case", SCHEMAS)
def test_schemas(stub: Any, case: str) -> None:
    request, code, said = SCHEMAS[case]
    check(stub.CreateCollection(request), code, said)


def index(params: Any = None, **settings: Any) -> milvus_pb2.CreateIndexRequest:
    request = milvus_pb2.CreateIndexRequest(
        **{"collection_name": "without_index", "field_name": "vector", **settings}
    )
    for key, value in (params or {}).items():
        text = value if isinstance(value, str) else json.dumps(value)
        request.extra_params.add(key=key, value=text)
    return request


def hnsw(**params: Any) -> milvus_pb2.CreateIndexRequest:
    return index({"index_type": "HNSW", "metric_type": "L2", "params": params})


INDEXES: dict[str, tuple[milvus_pb2.CreateIndexRequest, int, Said]] = {
    "type": (index({"index_type": "MAGIC"}), 1100, ("invalid index type 'MAGIC'", "HNSW")),
    "binary type": (index({"index_type": "BIN_FLAT"}), 1100, ("BIN_FLAT",)),
    "metric": (index({"metric_type": "L7"}), 1100, ("'L7'", "L2", "COSINE")),
    "binary metric": (index({"metric_type": "HAMMING"}), 1100, ("'HAMMING'",)),
    "M": (hnsw(M=1), 1100, ("'M' (1)", "[2, 2048]")),
    "M too large": (hnsw(M=2049), 1100, ("'M' (2049)", "[2, 2048]")),
    "M a text": (hnsw(M="x"), 1100, ("'M' ('x')", "integer")),
    "M a fraction": (hnsw(M=1.5), 1100, ("'M'", "1.5", "integer")),
    "efConstruction": (hnsw(efConstruction=0), 1100, ("'efConstruction' (0)",)),
    "unknown parameter": (hnsw(colour=1), 1100, ("'colour'", "efConstruction")),
    "nlist": (index({"index_type": "IVF_FLAT", "nlist": "0"}), 1100, ("'nlist' (0)", "65536")),
    "m of PQ": (index({"index_type": "IVF_PQ", "m": "3", "nbits": "8"}), 1100, ("3", "4")),
    "params no JSON": (index({"params": "{M"}), 1100, ("{M",)),
    "params no object": (index({"params": "[1]"}), 1100, ("[1]", "JSON object")),
    "params too deep": (index({"params": "[" * 100_000}), 1100, ("params",)),
    "number of 5,000 digits": (index({"params": '{"M": ' + "9" * 5000 + "}"}), 1100, ("",)),
    "field": (index(field_name="nothing"), 1700, ("nothing", "id, vector")),
    "scalar field": (index(field_name="id"), 701, ("'id'", "INT64")),
    "collection": (index(collection_name="nobody"), 100, ("nobody",)),
    "another index": (
        index({"index_type": "FLAT"}, collection_name="all_types"),
        702,
        ("'vector'", "HNSW"),
    ),
}


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("case", INDEXES)
def test_indexes(stub: Any, case: str) -> None:
    request, code, said = INDEXES[case]
    check(stub.CreateIndex(request), code, said)


@pytest.mark.usefixtures("unharmed")
def test_a_missing_index(stub: Any) -> None:
    names = {"collection_name": "all_types", "index_name": "none"}
    for answer in (
        stub.DescribeIndex(milvus_pb2.DescribeIndexRequest(**names)),
        stub.GetIndexState(milvus_pb2.GetIndexStateRequest(**names)),
        stub.GetIndexStatistics(milvus_pb2.GetIndexStatisticsRequest(**names)),
    ):
        check(answer.status, 700, ("none", "all_types"))


CALLS: dict[str, tuple[Callable[[MilvusClient], Any], int, Said]] = {
    "describe a missing collection": (lambda c: c.describe_collection("nobody"), 100, ("nobody",)),
    "drop an index of a loaded collection": (
        lambda c: c.drop_index("all_types", "vector"),
        1100,
        ("loaded", "release"),
    ),
    "load without an index": (
        lambda c: c.load_collection("without_index"),
        700,
        ("no vector index", "vector", "without_index"),
    ),
    "load a missing collection": (lambda c: c.load_collection("nobody"), 100, ("nobody",)),
    "load a missing partition": (
        lambda c: c.load_partitions("all_types", ["nowhere"]),
        200,
        ("nowhere",),
    ),
    "release a missing collection": (lambda c: c.release_collection("nobody"), 100, ("nobody",)),
    "more replicas of what is loaded": (
        lambda c: c.load_collection("all_types", replica_number=2),
        1100,
        ("expected 1, got 2",),
    ),
    "negative replicas": (
        lambda c: c.load_collection("not_loaded", replica_number=-1),
        1100,
        ("-1", "at least 1"),
    ),
    "drop a loaded partition": (
        lambda c: c.drop_partition("all_types", "part"),
        1100,
        ("loaded", "'part'"),
    ),
    "drop the default partition": (
        lambda c: c.drop_partition("all_types", "_default"),
        1100,
        ("default partition",),
    ),
    "partition of a missing collection": (
        lambda c: c.create_partition("nobody", "p"),
        100,
        ("nobody",),
    ),
    "statistics of a missing partition": (
        lambda c: c.get_partition_stats("all_types", "nowhere"),
        200,
        ("nowhere",),
    ),
    "rename to a name in use": (
        lambda c: c.rename_collection("all_types", "not_loaded"),
        1100,
        ("not_loaded", "duplicated"),
    ),
    "rename to an alias": (
        lambda c: c.rename_collection("auto_ids", "nickname"),
        1100,
        ("nickname", "alias"),
    ),
    "rename to the same name": (
        lambda c: c.rename_collection("all_types", "all_types"),
        1100,
        ("different", "'all_types'"),
    ),
    "rename by an alias": (lambda c: c.rename_collection("nickname", "x"), 1100, ("nickname",)),
    "rename a missing collection": (lambda c: c.rename_collection("nobody", "x"), 100, ("nobody",)),
    "rename into a missing database": (
        lambda c: c.rename_collection("all_types", "x", "elsewhere"),
        800,
        ("elsewhere",),
    ),
    "alias of another collection": (
        lambda c: c.create_alias("auto_ids", "nickname"),
        1602,
        ("nickname", "all_types"),
    ),
    "alias named as a collection": (
        lambda c: c.create_alias("auto_ids", "all_types"),
        1601,
        ("all_types",),
    ),
    "alias of a missing collection": (lambda c: c.create_alias("nobody", "a"), 100, ("nobody",)),
    "alias of an alias": (lambda c: c.create_alias("nickname", "a"), 100, ("nickname",)),
    "alter a missing alias": (lambda c: c.alter_alias("all_types", "nobody"), 1600, ("nobody",)),
    "describe a missing alias": (lambda c: c.describe_alias("nobody"), 1600, ("nobody",)),
    "drop by an alias": (lambda c: c.drop_collection("nickname"), 1100, ("nickname",)),
    "drop what has an alias": (lambda c: c.drop_collection("all_types"), 1100, ("nickname",)),
    "database in use": (lambda c: c.create_database("default"), 1100, ("default", "exist")),
    "drop the default database": (lambda c: c.drop_database("default"), 1100, ("default",)),
    "describe a missing database": (
        lambda c: c.describe_database("elsewhere"),
        800,
        ("elsewhere",),
    ),
    "flush a missing collection": (lambda c: c.flush("nobody"), 100, ("nobody",)),
    "truncate a missing collection": (
        lambda c: c.truncate_collection("nobody"),
        100,
        ("nobody",),
    ),
}


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("case", CALLS)
def test_calls(client: MilvusClient, refused: Any, case: str) -> None:
    call, code, said = CALLS[case]
    refused(lambda: call(client), code, *said)


@pytest.mark.usefixtures("unharmed")
def test_functions_through_pymilvus(client: MilvusClient, refused: Any) -> None:
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("text", DataType.VARCHAR, max_length=9, enable_analyzer=True)
    schema.add_field("v", DataType.SPARSE_FLOAT_VECTOR)
    schema.add_function(Function("bm25", FunctionType.BM25, ["text"], ["v"]))
    refused(lambda: client.create_collection("made", schema=schema), 10, "'bm25'", "functions")


@pytest.fixture
def spare(client: MilvusClient) -> Iterator[str]:
    """A loaded collection that the test may change, with a partition that is not loaded."""
    client.create_collection("spare", dimension=4, metric_type="L2", consistency_level="Strong")
    client.create_partition("spare", "cold")
    client.release_partitions("spare", ["cold"])
    yield "spare"
    client.drop_collection("spare")


@pytest.mark.usefixtures("unharmed")
def test_reads_of_a_partition_that_is_not_loaded(
    client: MilvusClient, refused: Any, spare: str
) -> None:
    names = {"partition_names": ["cold"]}
    refused(lambda: client.search(spare, [[0.0] * 4], limit=1, **names), 201, "'cold'", spare)
    refused(lambda: client.query(spare, "id > 0", **names), 201, "'cold'", spare)
    assert client.search(spare, [[0.0] * 4], limit=1) == [[]]


@pytest.mark.usefixtures("unharmed")
def test_partitions_beyond_the_limit(
    client: MilvusClient, refused: Any, spare: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mishards.core.limits.MAX_PARTITIONS", 4)
    client.create_partition(spare, "third")
    client.create_partition(spare, "fourth")
    refused(lambda: client.create_partition(spare, "fifth"), 1100, "(4)", spare)
    assert sorted(client.list_partitions(spare)) == ["_default", "cold", "fourth", "third"]


@pytest.mark.usefixtures("unharmed")
def test_databases_beyond_the_limit(
    client: MilvusClient, refused: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mishards.core.limits.MAX_DATABASES", 2)
    client.create_database("second")
    try:
        refused(lambda: client.create_database("third"), 1100, "'third'", "at most 2")
    finally:
        client.drop_database("second")


@pytest.mark.usefixtures("unharmed")
def test_a_database_that_holds_collections(client: MilvusClient, refused: Any, stub: Any) -> None:
    client.create_database("full")
    request = collection(key(), vector(), db_name="full")
    assert stub.CreateCollection(request).code == 0
    refused(lambda: client.drop_database("full"), 1100, "full", "'made'")
    drop = milvus_pb2.DropCollectionRequest(db_name="full", collection_name="made")
    assert stub.DropCollection(drop) == common_pb2.Status()
    client.drop_database("full")
