"""Rows that live for a time: `collection.ttl.seconds`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from pymilvus import DataType, MilvusClient, MilvusException

TTL = "collection.ttl.seconds"
LEVELS = ("Strong", "Session", "Bounded", "Eventually")
Create = Callable[..., str]
_DEADLINE_S = 30.0
_LOOK_S = 0.05


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Until the condition holds; this suite runs where there is no Mishards to import it from."""
    end = time.monotonic() + _DEADLINE_S
    while not condition():
        assert time.monotonic() < end, f"not within {_DEADLINE_S:g} s: {what}"
        time.sleep(_LOOK_S)


def rows(*keys: int) -> list[dict[str, Any]]:
    return [{"id": key, "vector": [float(key), 0.0]} for key in keys]


def create_with(client: MilvusClient, name: str, seconds: Any) -> None:
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)
    indexes = client.prepare_index_params()
    indexes.add_index("vector", index_type="FLAT", metric_type="L2")
    client.create_collection(name, schema=schema, index_params=indexes, properties={TTL: seconds})


def seen(client: MilvusClient, name: str, level: str) -> list[Any]:
    """The keys that each way of reading finds, and their number."""
    options: dict[str, Any] = {"consistency_level": level}
    hits = client.search(name, [[0.0, 0.0]], limit=100, **options)[0]
    queried = client.query(name, filter="id >= 0", limit=100, **options)
    got = client.get(name, ids=list(range(20)), **options)
    counted = client.query(name, filter="", output_fields=["count(*)"], **options)
    return [
        {hit["id"] for hit in hits},
        {row["id"] for row in queried},
        {row["id"] for row in got},
        counted[0]["count(*)"],
    ]


def all_see(*keys: int) -> list[Any]:
    return [set(keys)] * 3 + [len(keys)]


@pytest.mark.on_cluster
def test_rows_are_gone_when_their_time_is_over(client: MilvusClient, name: str) -> None:
    create_with(client, name, 3)
    described = client.describe_collection(name)
    assert described["properties"][TTL] == "3"
    client.insert(name, rows(1, 2))
    client.flush(name)
    client.insert(name, rows(3))
    assert seen(client, name, "Strong") == all_see(1, 2, 3)
    wait_for(lambda: seen(client, name, "Strong") == all_see(), "all rows expire")

    def sees_only_what_is_fresh(level: str) -> bool:
        client.upsert(name, rows(9))
        return seen(client, name, level) == all_see(9)

    for level in LEVELS:
        wait_for(lambda level=level: sees_only_what_is_fresh(level), f"fresh rows at {level}")


def test_the_time_can_be_changed_and_taken_away(client: MilvusClient, name: str) -> None:
    create_with(client, name, 86_400)
    client.insert(name, rows(1))
    client.alter_collection_properties(name, properties={TTL: 1})
    assert client.describe_collection(name)["properties"][TTL] == "1"
    wait_for(lambda: seen(client, name, "Strong") == all_see(), "the row expires")
    client.drop_collection_properties(name, property_keys=[TTL])
    assert TTL not in client.describe_collection(name)["properties"]
    client.insert(name, rows(2))
    assert {2} <= seen(client, name, "Strong")[0]


@pytest.mark.parametrize("seconds", [-2, 3_155_760_001, "soon", "1.5"])
def test_what_is_no_time_is_refused(client: MilvusClient, name: str, seconds: Any) -> None:
    with pytest.raises(MilvusException, match=r"(?i)ttl") as caught:
        create_with(client, name, seconds)
    assert caught.value.code == 1100
    create_with(client, name, 0)
    with pytest.raises(MilvusException, match=r"(?i)ttl"):
        client.alter_collection_properties(name, properties={TTL: seconds})
    client.insert(name, rows(1))
    assert seen(client, name, "Strong") == all_see(1)
