"""Flush, and the segments it makes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pymilvus import Collection, DataType, MilvusClient, utility

KEY = {"datatype": DataType.INT64, "is_primary": True}
VECTOR = {"datatype": DataType.FLOAT_VECTOR, "dim": 2}
pytestmark = pytest.mark.on_cluster


def test_flush_seals_what_was_inserted(
    client: MilvusClient, create: Callable[..., str], using: str
) -> None:
    name = create({"id": KEY, "vector": VECTOR})
    client.insert(name, [{"id": n, "vector": [float(n), 0.0]} for n in range(5)])
    assert client.list_persistent_segments(name) == []
    client.flush(name)
    (segment,) = client.list_persistent_segments(name)
    assert segment.num_rows == 5
    assert segment.collection_name == name
    client.flush(name)
    assert len(client.list_persistent_segments(name)) == 1
    client.insert(name, [{"id": 5, "vector": [5.0, 0.0]}])
    Collection(name, using=using).flush()
    assert len(client.list_persistent_segments(name)) == 2
    assert client.query(name, "", output_fields=["count(*)"]) == [{"count(*)": 6}]
    hits = client.search(name, [[5.0, 0.0]], limit=6)[0]
    assert [hit["id"] for hit in hits] == [5, 4, 3, 2, 1, 0]


def test_deletes_of_sealed_rows_hold(client: MilvusClient, create: Callable[..., str]) -> None:
    name = create({"id": KEY, "vector": VECTOR})
    client.insert(name, [{"id": n, "vector": [float(n), 0.0]} for n in range(5)])
    client.flush(name)
    client.delete(name, ids=[0, 4])
    client.flush(name)
    assert [row["id"] for row in client.query(name, "id >= 0")] == [1, 2, 3]
    client.release_collection(name)
    client.load_collection(name)
    assert [hit["id"] for hit in client.search(name, [[0.0, 0.0]])[0]] == [1, 2, 3]


def test_flush_all(client: MilvusClient, create: Callable[..., str], using: str) -> None:
    names = [create({"id": KEY, "vector": VECTOR}) for _ in range(2)]
    for name in names:
        client.insert(name, [{"id": 1, "vector": [0.0, 0.0]}])
    if hasattr(client, "flush_all"):
        client.flush_all()
        assert client.get_flush_all_state(flush_all_ts=1) is True
    else:
        utility.flush_all(using=using)
    assert [len(client.list_persistent_segments(name)) for name in names] == [1, 1]
