"""AsyncMilvusClient: the same calls, awaited, many at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pymilvus import AsyncMilvusClient, DataType, MilvusClient, MilvusException

pytestmark = pytest.mark.on_cluster
Body = Callable[[AsyncMilvusClient], Awaitable[None]]


def run(uri: str, body: Body) -> None:
    async def main() -> None:
        client = AsyncMilvusClient(uri)
        try:
            await body(client)
        finally:
            await client.close()

    asyncio.run(main())


async def make(client: AsyncMilvusClient, name: str) -> None:
    schema = client.create_schema(enable_dynamic_field=True)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)
    index = client.prepare_index_params()
    index.add_index("vector", index_type="HNSW", metric_type="L2", params={"M": 8})
    await client.create_collection(
        name, schema=schema, index_params=index, consistency_level="Strong"
    )


def test_a_collection_s_life(uri: str, name: str, new_name: Callable[[], str]) -> None:
    renamed, alias = new_name(), new_name()

    async def body(client: AsyncMilvusClient) -> None:
        await make(client, name)
        assert await client.has_collection(name)
        assert name in await client.list_collections()
        rows = [{"id": n, "vector": [float(n), 0.0], "color": f"c{n}"} for n in range(6)]
        assert (await client.insert(name, rows))["insert_count"] == 6
        await client.flush(name)
        assert await client.get_collection_stats(name) == {"row_count": 6}
        assert (await client.upsert(name, [{**rows[5], "color": "new"}]))["upsert_count"] == 1
        assert (await client.delete(name, ids=[0]))["delete_count"] == 1
        hits = (await client.search(name, [[5.0, 0.0]], limit=2, output_fields=["color"]))[0]
        assert [(hit["id"], hit["entity"]["color"]) for hit in hits] == [(5, "new"), (4, "c4")]
        found = await client.query(name, "color == 'c2'", output_fields=["id"])
        assert [row["id"] for row in found] == [2]
        assert [row["id"] for row in await client.get(name, [1, 0])] == [1]
        await client.create_alias(name, alias)
        assert (await client.describe_alias(alias))["collection_name"] == name
        await client.drop_alias(alias)
        await client.create_partition(name, "p")
        assert await client.has_partition(name, "p")
        assert await client.list_partitions(name) == ["_default", "p"]
        await client.release_partitions(name, ["p"])
        await client.load_partitions(name, ["p"])
        await client.release_collection(name)
        await client.drop_partition(name, "p")
        assert (await client.describe_index(name, "vector"))["index_type"] == "HNSW"
        await client.drop_index(name, "vector")
        assert await client.list_indexes(name) == []
        await client.rename_collection(name, renamed)
        assert (await client.describe_collection(renamed))["collection_name"] == renamed
        await client.drop_collection(renamed)
        assert not await client.has_collection(renamed)

    run(uri, body)


def test_many_calls_at_once(uri: str, words: str) -> None:
    async def body(client: AsyncMilvusClient) -> None:
        searches = [client.search(words, [[n % 10 + 0.1, 0.0]], limit=1) for n in range(100)]
        queries = [client.query(words, f"id == {n % 10}", output_fields=["id"]) for n in range(50)]
        found: list[Any] = await asyncio.gather(*searches, *queries)
        assert [answer[0][0]["id"] for answer in found[:100]] == [n % 10 for n in range(100)]
        assert [answer[0]["id"] for answer in found[100:]] == [n % 10 for n in range(50)]

    run(uri, body)


def test_errors(uri: str, words: str) -> None:
    async def body(client: AsyncMilvusClient) -> None:
        with pytest.raises(MilvusException) as caught:
            await client.query(words, "id ==")
        assert caught.value.code == 1100
        with pytest.raises(MilvusException) as caught:
            await client.describe_collection("not_there")
        assert caught.value.code == 100
        with pytest.raises(MilvusException, match="ListCredUsers is not implemented"):
            await client.list_users()

    run(uri, body)


def test_databases(uri: str, client: MilvusClient, database: str) -> None:
    async def body(client: AsyncMilvusClient) -> None:
        assert database in await client.list_databases()
        await client.use_database(database)
        await make(client, "inside")
        assert await client.list_collections() == ["inside"]

    run(uri, body)
    assert not client.has_collection("inside")
