"""Load and release, whole and by partition; states, progress and replicas."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pymilvus import Collection, DataType, MilvusClient, MilvusException, utility
from pymilvus.client.types import LoadState

KEY = {"datatype": DataType.INT64, "is_primary": True}
VECTOR = {"datatype": DataType.FLOAT_VECTOR, "dim": 2}
pytestmark = pytest.mark.on_cluster


@pytest.fixture
def parted(client: MilvusClient, create: Callable[..., str]) -> str:
    """Row 0 in the default partition, row 1 in `p`; sealed, and not loaded."""
    name = create({"id": KEY, "vector": VECTOR}, load=False)
    client.create_partition(name, "p")
    client.insert(name, [{"id": 0, "vector": [0.0, 0.0]}])
    client.insert(name, [{"id": 1, "vector": [1.0, 0.0]}], partition_name="p")
    client.flush(name)
    return name


def state(client: MilvusClient, name: str, partition: str = "") -> LoadState:
    return client.get_load_state(name, partition)["state"]


def test_load_and_release_a_collection(client: MilvusClient, parted: str) -> None:
    assert state(client, parted) == LoadState.NotLoad
    for call in (
        lambda: client.query(parted, "id >= 0"),
        lambda: client.search(parted, [[0.0, 0.0]]),
    ):
        with pytest.raises(MilvusException, match="not loaded") as caught:
            call()
        assert caught.value.code == 101
    client.load_collection(parted)
    client.load_collection(parted)
    assert state(client, parted) == LoadState.Loaded
    assert state(client, parted, "p") == LoadState.Loaded
    assert len(client.query(parted, "id >= 0")) == 2
    client.refresh_load(parted)
    client.release_collection(parted)
    client.release_collection(parted)
    assert state(client, parted) == LoadState.NotLoad


def test_load_and_release_partitions(client: MilvusClient, parted: str) -> None:
    client.load_partitions(parted, ["p"])
    assert state(client, parted, "p") == LoadState.Loaded
    assert state(client, parted, "_default") == LoadState.NotLoad
    assert [row["id"] for row in client.query(parted, "id >= 0")] == [1]
    with pytest.raises(MilvusException, match="not loaded") as caught:
        client.query(parted, "id >= 0", partition_names=["_default"])
    assert caught.value.code == 201
    client.load_partitions(parted, "_default")
    assert [row["id"] for row in client.query(parted, "id >= 0")] == [0, 1]
    client.release_partitions(parted, ["p"])
    assert [row["id"] for row in client.query(parted, "id >= 0")] == [0]
    client.release_partitions(parted, ["_default"])
    assert state(client, parted) == LoadState.NotLoad


def test_the_state_of_what_does_not_exist(client: MilvusClient) -> None:
    assert state(client, "not_there") == LoadState.NotExist


def test_a_collection_without_an_index_is_not_loaded(client: MilvusClient, name: str) -> None:
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)
    client.create_collection(name, schema=schema)
    with pytest.raises(MilvusException, match="index") as caught:
        client.load_collection(name)
    assert caught.value.code == 700


def test_progress(client: MilvusClient, parted: str, using: str) -> None:
    with pytest.raises(MilvusException) as caught:
        utility.loading_progress(parted, using=using)
    assert caught.value.code == 101
    assert utility.load_state(parted, using=using) == LoadState.NotLoad
    client.load_collection(parted)
    assert utility.loading_progress(parted, using=using) == {"loading_progress": "100%"}
    assert utility.loading_progress(parted, ["p"], using=using) == {"loading_progress": "100%"}
    utility.wait_for_loading_complete(parted, using=using, timeout=10)
    assert utility.load_state(parted, using=using) == LoadState.Loaded


def test_replicas(client: MilvusClient, parted: str, using: str) -> None:
    client.load_collection(parted)
    (replica,) = client.describe_replica(parted)
    assert replica.resource_group
    assert replica.group_nodes
    assert replica.shards
    groups = Collection(parted, using=using).get_replicas().groups
    assert [group.id for group in groups] == [replica.id]
    assert list(groups[0].group_nodes) == list(replica.group_nodes)


def test_loaded_segments(client: MilvusClient, parted: str) -> None:
    assert client.list_loaded_segments(parted) == []
    client.load_collection(parted)
    loaded = client.list_loaded_segments(parted)
    assert sorted(segment.num_rows for segment in loaded) == [1, 1]
    stored = client.list_persistent_segments(parted)
    assert {s.segment_id for s in stored} == {s.segment_id for s in loaded}
