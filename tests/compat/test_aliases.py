"""Aliases: create, alter, describe, list, use, drop."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pymilvus import DataType, MilvusClient, MilvusException

KEY = {"datatype": DataType.INT64, "is_primary": True}
VECTOR = {"datatype": DataType.FLOAT_VECTOR, "dim": 2}
pytestmark = pytest.mark.on_cluster


def test_an_alias_is_used_like_a_name(
    client: MilvusClient, create: Callable[..., str], new_name: Callable[[], str]
) -> None:
    first, second = (create({"id": KEY, "vector": VECTOR}) for _ in range(2))
    alias = new_name()
    client.create_alias(first, alias)
    client.insert(alias, [{"id": 1, "vector": [0.0, 1.0]}])
    assert client.query(first, "id == 1", output_fields=["id"]) == [{"id": 1}]
    assert client.search(alias, [[0.0, 1.0]], limit=1)[0][0]["id"] == 1
    assert client.has_collection(alias) is True
    assert client.describe_collection(alias)["collection_name"] == first
    assert client.describe_alias(alias) == {
        "alias": alias,
        "collection_name": first,
        "db_name": "default",
    }
    listed = client.list_aliases(first)
    assert (listed["aliases"], listed["collection_name"]) == ([alias], first)
    client.alter_alias(second, alias)
    assert client.list_aliases(first)["aliases"] == []
    assert client.query(alias, "id == 1") == []
    assert alias in client.list_aliases()["aliases"]
    client.drop_alias(alias)
    assert client.has_collection(alias) is False


def test_what_is_refused(
    client: MilvusClient, create: Callable[..., str], new_name: Callable[[], str]
) -> None:
    first, second = (create({"id": KEY, "vector": VECTOR}, load=False) for _ in range(2))
    alias = new_name()
    client.create_alias(first, alias)
    client.create_alias(first, alias)
    for code, call in (
        (1602, lambda: client.create_alias(second, alias)),
        (1601, lambda: client.create_alias(first, second)),
        (1600, lambda: client.describe_alias("no_alias")),
        (1600, lambda: client.alter_alias(first, "no_alias")),
        (100, lambda: client.create_alias("not_there", "some_alias")),
    ):
        with pytest.raises(MilvusException) as caught:
            call()
        assert caught.value.code == code
    client.drop_alias("no_alias")
    with pytest.raises(MilvusException, match="alias"):
        client.drop_collection(first)
