"""Collections: create, describe, has, list, rename, truncate, statistics, properties, drop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pymilvus import DataType, MilvusClient, MilvusException
from pymilvus.client.types import LoadState

KEY = {"datatype": DataType.INT64, "is_primary": True}
VECTOR = {"datatype": DataType.FLOAT_VECTOR, "dim": 2}
Create = Callable[..., str]


def rows(count: int) -> list[dict[str, Any]]:
    return [{"id": number, "vector": [float(number), 0.0]} for number in range(count)]


@pytest.mark.on_cluster
def test_create_by_dimension(client: MilvusClient, name: str) -> None:
    client.create_collection(name, dimension=5)
    described = client.describe_collection(name)
    assert described["collection_name"] == name
    assert described["auto_id"] is False
    assert described["enable_dynamic_field"] is True
    assert described["num_partitions"] == 1
    assert described["aliases"] == []
    key, vector = described["fields"]
    assert (key["field_id"], key["name"], key["type"]) == (100, "id", DataType.INT64)
    assert key["is_primary"] is True
    assert (vector["field_id"], vector["name"]) == (101, "vector")
    assert (vector["type"], vector["params"]) == (DataType.FLOAT_VECTOR, {"dim": 5})
    assert client.list_indexes(name) == ["vector"]
    index = client.describe_index(name, "vector")
    assert (index["index_type"], index["metric_type"]) == ("AUTOINDEX", "COSINE")
    assert client.get_load_state(name) == {"state": LoadState.Loaded}


def test_create_by_dimension_with_names_and_metric(client: MilvusClient, name: str) -> None:
    client.create_collection(
        name,
        dimension=2,
        primary_field_name="key",
        id_type="string",
        max_length=12,
        vector_field_name="embedding",
        metric_type="IP",
        auto_id=True,
    )
    described = client.describe_collection(name)
    key, vector = described["fields"]
    assert (key["name"], key["type"], key["params"]) == (
        "key",
        DataType.VARCHAR,
        {"max_length": 12},
    )
    assert key["auto_id"] is True
    assert described["auto_id"] is True
    assert vector["name"] == "embedding"
    assert client.describe_index(name, "embedding")["metric_type"] == "IP"
    ids = client.insert(name, [{"embedding": [1.0, 2.0]}])["ids"]
    assert isinstance(ids[0], str)


def test_create_by_schema(client: MilvusClient, create: Create) -> None:
    name = create(
        {
            "id": KEY,
            "text": {
                "datatype": DataType.VARCHAR,
                "max_length": 30,
                "nullable": True,
                "description": "what it says",
            },
            "count": {"datatype": DataType.INT32, "default_value": 7},
            "tags": {
                "datatype": DataType.ARRAY,
                "element_type": DataType.INT16,
                "max_capacity": 5,
            },
            "vector": VECTOR,
            "second": {"datatype": DataType.FLOAT_VECTOR, "dim": 3},
        },
        load=False,
        properties={"mmap.enabled": "true"},
    )
    described = client.describe_collection(name)
    fields = {field["name"]: field for field in described["fields"]}
    assert [field["field_id"] for field in described["fields"]] == [100, 101, 102, 103, 104, 105]
    assert fields["text"]["nullable"] is True
    assert fields["text"]["description"] == "what it says"
    assert fields["count"]["default_value"].int_data == 7
    assert fields["tags"]["element_type"] == DataType.INT16
    assert fields["tags"]["params"]["max_capacity"] == 5
    assert described["enable_dynamic_field"] is False
    assert described["consistency_level"] == 0
    assert described["properties"]["mmap.enabled"] == "true"
    assert sorted(client.list_indexes(name)) == ["second", "vector"]
    assert client.get_load_state(name) == {"state": LoadState.NotLoad}


def test_the_default_consistency_level_is_bounded(client: MilvusClient, name: str) -> None:
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)
    client.create_collection(name, schema=schema)
    assert client.describe_collection(name)["consistency_level"] == 2
    assert client.list_indexes(name) == []


def test_the_same_collection_again(client: MilvusClient, name: str) -> None:
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)
    client.create_collection(name, schema=schema)
    client.create_collection(name, schema=schema)
    other = client.create_schema()
    other.add_field("id", DataType.INT64, is_primary=True)
    other.add_field("vector", DataType.FLOAT_VECTOR, dim=3)
    with pytest.raises(MilvusException, match=name):
        client.create_collection(name, schema=other)
    assert client.describe_collection(name)["fields"][1]["params"] == {"dim": 2}


@pytest.mark.on_cluster
def test_has_list_and_drop(client: MilvusClient, create: Create) -> None:
    name = create({"id": KEY, "vector": VECTOR})
    assert client.has_collection(name) is True
    assert name in client.list_collections()
    client.drop_collection(name)
    assert client.has_collection(name) is False
    assert name not in client.list_collections()
    client.drop_collection(name)


def test_a_missing_collection(client: MilvusClient) -> None:
    for call in (
        lambda: client.describe_collection("not_there"),
        lambda: client.insert("not_there", [{"id": 1}]),
        lambda: client.search("not_there", [[1.0, 2.0]]),
        lambda: client.query("not_there", "id > 0"),
        lambda: client.load_collection("not_there"),
        lambda: client.get_collection_stats("not_there"),
        lambda: client.flush("not_there"),
        lambda: client.rename_collection("not_there", "other"),
    ):
        with pytest.raises(MilvusException, match="not_there") as caught:
            call()
        assert caught.value.code == 100


@pytest.mark.on_cluster
def test_rename(client: MilvusClient, create: Create, new_name: Callable[[], str]) -> None:
    old, new = create({"id": KEY, "vector": VECTOR}), new_name()
    client.insert(old, rows(3))
    client.rename_collection(old, new)
    assert not client.has_collection(old)
    assert client.describe_collection(new)["collection_name"] == new
    assert client.query(new, "id >= 0", output_fields=["count(*)"])[0]["count(*)"] == 3
    taken = create({"id": KEY, "vector": VECTOR}, load=False)
    with pytest.raises(MilvusException, match=taken):
        client.rename_collection(new, taken)


@pytest.mark.on_cluster
def test_truncate(client: MilvusClient, create: Create) -> None:
    if not hasattr(client, "truncate_collection"):
        pytest.skip("this client cannot truncate")
    name = create({"id": KEY, "vector": VECTOR})
    client.insert(name, rows(4))
    client.flush(name)
    client.insert(name, [{"id": 4, "vector": [4.0, 0.0]}])
    client.truncate_collection(name)
    assert client.query(name, "id >= 0") == []
    assert client.get_collection_stats(name) == {"row_count": 0}
    assert client.get_load_state(name) == {"state": LoadState.Loaded}
    client.insert(name, rows(2))
    assert len(client.query(name, "id >= 0")) == 2


@pytest.mark.on_cluster
def test_statistics(client: MilvusClient, create: Create) -> None:
    name = create({"id": KEY, "vector": VECTOR})
    assert client.get_collection_stats(name) == {"row_count": 0}
    client.insert(name, rows(7))
    client.flush(name)
    assert client.get_collection_stats(name) == {"row_count": 7}
    client.delete(name, ids=[1, 2])
    assert client.query(name, "", output_fields=["count(*)"])[0] == {"count(*)": 5}


def test_properties(client: MilvusClient, create: Create) -> None:
    name = create({"id": KEY, "vector": VECTOR}, load=False)
    client.alter_collection_properties(name, {"collection.insertRate.max.mb": "9"})
    assert client.describe_collection(name)["properties"]["collection.insertRate.max.mb"] == "9"
    client.drop_collection_properties(name, ["collection.insertRate.max.mb"])
    assert "collection.insertRate.max.mb" not in client.describe_collection(name)["properties"]


@pytest.mark.parametrize("name", ["1st", "with-hyphen", "with space", "x" * 256])
def test_names_that_are_refused(client: MilvusClient, name: str) -> None:
    with pytest.raises(MilvusException) as caught:
        client.create_collection(name, dimension=2)
    assert caught.value.code == 1100


@pytest.mark.parametrize("dim", [1, 32769])
def test_dimensions_that_are_refused(client: MilvusClient, name: str, dim: int) -> None:
    with pytest.raises(MilvusException, match=str(dim)) as caught:
        client.create_collection(name, dimension=dim)
    assert caught.value.code == 1100
    assert not client.has_collection(name)
