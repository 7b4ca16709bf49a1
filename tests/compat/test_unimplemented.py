"""What is not served says so, by the method's name, and harms nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pymilvus import (
    AnnSearchRequest,
    DataType,
    Function,
    FunctionType,
    MilvusClient,
    MilvusException,
    RRFRanker,
    utility,
)

CALLS: dict[str, Callable[[MilvusClient, str], Any]] = {
    "HybridSearch": lambda c, n: c.hybrid_search(
        n, [AnnSearchRequest([[0.0, 0.0]], "vector", {}, limit=2)], RRFRanker(), limit=2
    ),
    "CreateCredential": lambda c, n: c.create_user("somebody", "Secret-123"),
    "ListCredUsers": lambda c, n: c.list_users(),
    "UpdateCredential": lambda c, n: c.update_password("somebody", "Secret-123", "Secret-124"),
    "DeleteCredential": lambda c, n: c.drop_user("somebody"),
    "CreateRole": lambda c, n: c.create_role("reader"),
    "SelectRole": lambda c, n: c.list_roles(),
    "OperateUserRole": lambda c, n: c.grant_role("somebody", "reader"),
    "OperatePrivilegeV2": lambda c, n: c.grant_privilege_v2("reader", "Query", n),
    "CreatePrivilegeGroup": lambda c, n: c.create_privilege_group("group"),
    "CreateResourceGroup": lambda c, n: c.create_resource_group("group"),
    "ListResourceGroups": lambda c, n: c.list_resource_groups(),
    "(AddCollectionField|AlterCollectionSchema)": lambda c, n: c.add_collection_field(
        n, "more", DataType.INT64, nullable=True
    ),
    "AlterCollectionField": lambda c, n: c.alter_collection_field(n, "word", {"max_length": 9}),
    "AlterIndex": lambda c, n: c.alter_index_properties(n, "vector", {"mmap.enabled": True}),
    "RunAnalyzer": lambda c, n: c.run_analyzer("some text", {"type": "english"}),
}


@pytest.mark.parametrize("method", CALLS)
def test_methods(client: MilvusClient, words: str, method: str) -> None:
    with pytest.raises(MilvusException, match=f"{method} is not implemented"):
        CALLS[method](client, words)
    assert client.query(words, "id == 1", output_fields=["id"]) == [{"id": 1}]


def test_an_upsert_of_parts_of_rows(client: MilvusClient, words: str) -> None:
    with pytest.raises(MilvusException, match="partial_update") as caught:
        client.upsert(words, [{"id": 1, "size": 5.0}], partial_update=True)
    assert caught.value.code == 10


@pytest.mark.parametrize("option", ["radius", "range_filter", "group_size", "json_path"])
def test_search_parameters(client: MilvusClient, words: str, option: str) -> None:
    with pytest.raises(MilvusException, match=option) as caught:
        client.search(words, [[0.0, 0.0]], search_params={"params": {option: 1}})
    assert caught.value.code == 10


def test_import(client: MilvusClient, words: str, using: str) -> None:
    with pytest.raises(MilvusException, match="Import is not implemented"):
        utility.do_bulk_insert(words, ["rows.parquet"], using=using)


def test_search_iterator(client: MilvusClient, words: str) -> None:
    with pytest.raises(MilvusException, match="iterator"):
        client.search_iterator(words, [[0.0, 0.0]], batch_size=2).next()


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ({"datatype": DataType.BINARY_VECTOR, "dim": 8}, "BinaryVector"),
        ({"datatype": DataType.SPARSE_FLOAT_VECTOR}, "SparseFloatVector"),
        ({"datatype": DataType.FLOAT16_VECTOR, "dim": 8}, "Float16Vector"),
        ({"datatype": DataType.BFLOAT16_VECTOR, "dim": 8}, "BFloat16Vector"),
        ({"datatype": DataType.INT8_VECTOR, "dim": 8}, "Int8Vector"),
        ({"datatype": DataType.INT64, "is_partition_key": True}, "partition key"),
        ({"datatype": DataType.INT64, "is_clustering_key": True}, "clustering key"),
        (
            {"datatype": DataType.VARCHAR, "max_length": 9, "enable_analyzer": True},
            "enable_analyzer",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_fields(client: MilvusClient, name: str, field: dict[str, Any], said: str) -> None:
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)
    schema.add_field("other", **field)
    with pytest.raises(MilvusException, match=f"'other'.*{said}") as caught:
        client.create_collection(name, schema=schema)
    assert caught.value.code == 10
    assert not client.has_collection(name)


def test_functions(client: MilvusClient, name: str) -> None:
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("text", DataType.VARCHAR, max_length=9, enable_analyzer=True)
    schema.add_field("vector", DataType.SPARSE_FLOAT_VECTOR)
    schema.add_function(
        Function(
            name="bm25",
            function_type=FunctionType.BM25,
            input_field_names=["text"],
            output_field_names=["vector"],
        )
    )
    with pytest.raises(MilvusException, match="function"):
        client.create_collection(name, schema=schema)
    assert not client.has_collection(name)
