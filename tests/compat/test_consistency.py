"""Consistency levels: what a read sees of the writes before it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pymilvus import DataType, MilvusClient

KEY = {"datatype": DataType.INT64, "is_primary": True}
VECTOR = {"datatype": DataType.FLOAT_VECTOR, "dim": 2}
Create = Callable[..., str]
pytestmark = pytest.mark.on_cluster


def ids(rows: Any) -> list[int]:
    return sorted(row["id"] for row in rows)


def both(client: MilvusClient, name: str, **options: Any) -> list[list[int]]:
    """What a query and a search find."""
    rows = client.query(name, "id >= 0", **options)
    hits = client.search(name, [[0.0, 0.0]], limit=100, **options)[0]
    return [ids(rows), ids(hits)]


@pytest.mark.parametrize("level", ["Strong", "Session"])
def test_own_writes_are_seen_at_once(client: MilvusClient, create: Create, level: str) -> None:
    name = create({"id": KEY, "vector": VECTOR}, consistency_level=level)
    alive: set[int] = set()
    for key in range(20):
        client.insert(name, [{"id": key, "vector": [float(key), 0.0]}])
        alive.add(key)
        if key % 3 == 0:
            client.upsert(name, [{"id": key, "vector": [float(-key), 0.0]}])
        if key % 4 == 3:
            client.delete(name, ids=[key - 2])
            alive.discard(key - 2)
        assert both(client, name) == [sorted(alive)] * 2
        assert both(client, name, consistency_level=level) == [sorted(alive)] * 2


def test_strong_sees_the_writes_of_another_client(
    client: MilvusClient, create: Create, uri: str
) -> None:
    name = create({"id": KEY, "vector": VECTOR}, consistency_level="Eventually")
    other = MilvusClient(uri)
    try:
        for key in range(10):
            other.insert(name, [{"id": key, "vector": [0.0, 0.0]}])
            seen = both(client, name, consistency_level="Strong")
            assert seen == [list(range(key + 1))] * 2
    finally:
        other.close()


@pytest.mark.parametrize("level", ["Bounded", "Eventually"])
def test_weaker_levels_catch_up(
    client: MilvusClient, create: Create, eventually: Callable[..., None], level: str
) -> None:
    name = create({"id": KEY, "vector": VECTOR}, consistency_level=level)
    client.insert(name, [{"id": n, "vector": [0.0, 0.0]} for n in range(3)])
    eventually(lambda: both(client, name) == [[0, 1, 2]] * 2)
    client.delete(name, ids=[1])
    eventually(lambda: both(client, name) == [[0, 2]] * 2)
