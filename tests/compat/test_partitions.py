"""Partitions: create, list, has, statistics, writing into them, reading from them, drop."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pymilvus import DataType, MilvusClient, MilvusException

KEY = {"datatype": DataType.INT64, "is_primary": True}
VECTOR = {"datatype": DataType.FLOAT_VECTOR, "dim": 2}
pytestmark = pytest.mark.on_cluster


@pytest.fixture
def parted(client: MilvusClient, create: Callable[..., str]) -> str:
    """Rows 0 and 1 in the default partition, 10 and 11 in `a`, 20 and 21 in `ab`."""
    name = create({"id": KEY, "vector": VECTOR})
    client.create_partition(name, "a")
    client.create_partition(name, "ab")
    for first, partition in ((0, None), (10, "a"), (20, "ab")):
        batch = [{"id": first + n, "vector": [float(first + n), 0.0]} for n in range(2)]
        client.insert(name, batch, partition_name=partition)
    return name


def test_create_list_has_drop(client: MilvusClient, parted: str) -> None:
    assert client.list_partitions(parted) == ["_default", "a", "ab"]
    assert client.has_partition(parted, "a") is True
    assert client.has_partition(parted, "b") is False
    client.create_partition(parted, "a")
    assert client.describe_collection(parted)["num_partitions"] == 3
    client.release_partitions(parted, ["a"])
    client.drop_partition(parted, "a")
    assert client.list_partitions(parted) == ["_default", "ab"]
    assert [row["id"] for row in client.query(parted, "id >= 0")] == [0, 1, 20, 21]


def test_reads_are_restricted_to_the_named_partitions(client: MilvusClient, parted: str) -> None:
    rows = client.query(parted, "id >= 0", partition_names=["a"])
    assert [row["id"] for row in rows] == [10, 11]
    rows = client.query(parted, "id >= 0", partition_names=["a", "_default"])
    assert [row["id"] for row in rows] == [0, 1, 10, 11]
    hits = client.search(parted, [[0.0, 0.0]], limit=10, partition_names=["ab"])[0]
    assert [hit["id"] for hit in hits] == [20, 21]
    assert client.get(parted, ids=[0, 10], partition_names=["a"])[0]["id"] == 10
    count = client.query(parted, "", output_fields=["count(*)"], partition_names=["ab"])
    assert count[0]["count(*)"] == 2


def test_deletes_are_restricted_to_the_named_partition(client: MilvusClient, parted: str) -> None:
    client.delete(parted, filter="id >= 0", partition_name="a")
    assert [row["id"] for row in client.query(parted, "id >= 0")] == [0, 1, 20, 21]


def test_statistics(client: MilvusClient, parted: str) -> None:
    client.flush(parted)
    assert client.get_partition_stats(parted, "ab") == {"row_count": 2}
    assert client.get_collection_stats(parted) == {"row_count": 6}


def test_what_is_refused(client: MilvusClient, parted: str) -> None:
    for call in (
        lambda: client.insert(parted, [{"id": 1, "vector": [0.0, 0.0]}], partition_name="none"),
        lambda: client.query(parted, "id > 0", partition_names=["none"]),
        lambda: client.search(parted, [[0.0, 0.0]], partition_names=["none"]),
        lambda: client.load_partitions(parted, ["none"]),
        lambda: client.get_partition_stats(parted, "none"),
    ):
        with pytest.raises(MilvusException, match="none") as caught:
            call()
        assert caught.value.code == 200
    with pytest.raises(MilvusException, match="default partition"):
        client.drop_partition(parted, "_default")
    with pytest.raises(MilvusException, match="release"):
        client.drop_partition(parted, "a")
    with pytest.raises(MilvusException, match="b-c"):
        client.create_partition(parted, "b-c")
