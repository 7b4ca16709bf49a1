"""Databases: create, use, list, describe, alter, drop."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pymilvus import MilvusClient, MilvusException, db

pytestmark = pytest.mark.on_cluster


def test_create_list_describe_drop(client: MilvusClient, new_name: Callable[[], str]) -> None:
    name = new_name()
    client.create_database(name, properties={"database.replica.number": "1"})
    assert {"default", name} <= set(client.list_databases())
    described = client.describe_database(name)
    assert described["name"] == name
    assert described["database.replica.number"] == "1"
    client.drop_database(name)
    assert name not in client.list_databases()
    with pytest.raises(MilvusException) as caught:
        client.describe_database(name)
    assert caught.value.code == 800


def test_properties_are_set_and_dropped(client: MilvusClient, database: str) -> None:
    client.alter_database_properties(database, {"database.max.collections": "7"})
    assert client.describe_database(database)["database.max.collections"] == "7"
    client.drop_database_properties(database, ["database.max.collections"])
    assert "database.max.collections" not in client.describe_database(database)


def test_equal_names_in_different_databases(client: MilvusClient, database: str, name: str) -> None:
    client.create_collection(name, dimension=2)
    client.use_database(database)
    try:
        assert not client.has_collection(name)
        client.create_collection(name, dimension=3)
        assert client.describe_collection(name)["fields"][1]["params"]["dim"] == 3
    finally:
        client.use_database("default")
    assert client.describe_collection(name)["fields"][1]["params"]["dim"] == 2


def test_using_database_is_the_same(client: MilvusClient, database: str) -> None:
    client.using_database(database)
    try:
        assert client.list_collections() == []
    finally:
        client.using_database("default")


def test_a_collection_moves_to_another_database(
    client: MilvusClient, database: str, name: str
) -> None:
    client.create_collection(name, dimension=2)
    client.insert(name, [{"id": 1, "vector": [0.0, 1.0]}])
    client.rename_collection(name, "moved", target_db=database)
    assert not client.has_collection(name)
    client.use_database(database)
    try:
        found = client.query("moved", "id == 1", consistency_level="Strong")
        assert [row["id"] for row in found] == [1]
    finally:
        client.use_database("default")


def test_a_database_with_collections_is_not_dropped(client: MilvusClient, database: str) -> None:
    client.use_database(database)
    client.create_collection("kept", dimension=2)
    try:
        with pytest.raises(MilvusException, match="not empty"):
            client.drop_database(database)
        assert client.list_collections() == ["kept"]
    finally:
        client.use_database("default")


def test_what_is_refused(client: MilvusClient, database: str) -> None:
    with pytest.raises(MilvusException, match=database):
        client.create_database(database)
    with pytest.raises(MilvusException, match="default"):
        client.drop_database("default")
    with pytest.raises(MilvusException) as caught:
        client.create_database("no-hyphens")
    assert caught.value.code == 802


def test_orm(using: str, new_name: Callable[[], str]) -> None:
    name = new_name()
    db.create_database(name, using=using)
    assert name in db.list_database(using=using)
    assert db.describe_database(name, using=using)["name"] == name
    db.using_database(name, using=using)
    db.using_database("default", using=using)
    db.drop_database(name, using=using)
    assert name not in db.list_database(using=using)
