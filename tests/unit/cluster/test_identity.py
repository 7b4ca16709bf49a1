import asyncio
import random
from collections.abc import Awaitable
from typing import TypeVar

import pytest

from mishards.cluster.identity import IDENTITY, read_identity, settle_identity
from mishards.core.errors import (
    ConfigError,
    CorruptObject,
    DataInUse,
    StorageError,
    StorageUnfit,
)
from mishards.core.ids import Epoch, LogId, MetadataVersion
from mishards.core.runtime import SystemRuntime
from mishards.metadata.memory import MemoryMetadataStore
from mishards.storage.layers.fault import Fault, FaultScript, FaultyStore
from mishards.storage.memory import MemoryStore

T = TypeVar("T")


def run(work: Awaitable[T]) -> T:
    async def main() -> T:
        return await work

    return asyncio.run(main())


async def settle(store: MemoryStore, metadata: MemoryMetadataStore, configured: str = "") -> str:
    return await settle_identity(store, metadata, configured, random.Random(7))


def test_the_first_start_names_storage_and_database() -> None:
    async def case() -> None:
        store, metadata = MemoryStore(), MemoryMetadataStore()
        found = await settle(store, metadata)
        assert found
        assert await read_identity(store) == await metadata.open("") == found
        assert await settle(store, metadata) == found

    run(case())


def test_a_configured_id_is_taken_and_another_refused() -> None:
    async def case() -> None:
        store, metadata = MemoryStore(), MemoryMetadataStore()
        assert await settle(store, metadata, "north") == "north"
        with pytest.raises(DataInUse, match="'north', not 'south'"):
            await settle(store, metadata, "south")

    run(case())


def test_a_database_from_before_the_object_gives_its_id() -> None:
    async def case() -> None:
        store, metadata = MemoryStore(), MemoryMetadataStore()
        await metadata.open("north")
        assert await settle(store, metadata) == "north"
        assert await read_identity(store) == "north"

    run(case())


def test_an_empty_database_takes_the_id_of_storage_and_never_a_refused_one() -> None:
    async def case() -> None:
        store = MemoryStore()
        await settle(store, MemoryMetadataStore(), "north")
        empty = MemoryMetadataStore()
        with pytest.raises(DataInUse):
            await settle(store, empty, "south")
        assert await empty.open("") == ""
        assert await settle(store, empty) == "north"
        assert await empty.open("") == "north"

    run(case())


def test_a_database_of_another_cluster_is_refused() -> None:
    async def case() -> None:
        store, other = MemoryStore(), MemoryMetadataStore()
        await settle(store, MemoryMetadataStore(), "north")
        await other.open("south")
        with pytest.raises(DataInUse, match="'south', not 'north'"):
            await settle(store, other)

    run(case())


def test_of_many_first_starts_one_names_the_data() -> None:
    async def case() -> None:
        store, metadata = MemoryStore(), MemoryMetadataStore()
        found = await asyncio.gather(
            *(settle_identity(store, metadata, "", random.Random(seed)) for seed in range(5))
        )
        assert len(set(found)) == 1

    run(case())


def test_a_crash_between_storage_and_database_is_made_up_for() -> None:
    async def case() -> None:
        store, metadata = MemoryStore(), MemoryMetadataStore()
        fault = Fault(error=StorageError, done=True)
        script = FaultScript().add(fault, operation="create", key=IDENTITY)
        runtime = SystemRuntime()
        with pytest.raises(StorageError):
            await settle_identity(
                FaultyStore(store, script, runtime), metadata, "", random.Random(1)
            )
        await runtime.close()
        assert await metadata.open("") == ""
        found = await settle(store, metadata)
        assert await metadata.open("") == found == await read_identity(store)

    run(case())


@pytest.mark.parametrize("data", [b"", b"{}", b'{"id": "", "checksum": "00000000"}', b"\xff" * 9])
def test_rubbish_in_its_place_is_named(data: bytes) -> None:
    async def case() -> None:
        store = MemoryStore()
        await store.put(IDENTITY, data)
        with pytest.raises(CorruptObject, match=r"identity\.json"):
            await settle(store, MemoryMetadataStore())

    run(case())


def test_a_changed_letter_is_found() -> None:
    async def case() -> None:
        store = MemoryStore()
        await settle(store, MemoryMetadataStore(), "north")
        await store.put(IDENTITY, (await store.get(IDENTITY)).replace(b"north", b"forth"))
        with pytest.raises(CorruptObject, match="'forth'"):
            await settle(store, MemoryMetadataStore())

    run(case())


def test_an_id_that_no_database_can_keep_is_refused() -> None:
    with pytest.raises(ConfigError, match="402 bytes"):
        run(settle(MemoryStore(), MemoryMetadataStore(), "é" * 201))


def test_empty_storage_in_the_place_of_the_data_is_refused_and_stays_empty() -> None:
    async def case() -> None:
        metadata = MemoryMetadataStore()
        await metadata.open("north")
        await metadata.begin_epoch(LogId(0), Epoch(1))
        await metadata.commit(LogId(0), Epoch(1), MetadataVersion(0), {"a": b"1"})
        store = MemoryStore()
        with pytest.raises(StorageUnfit, match=r"'north' at version 1: .* mounted"):
            await settle(store, metadata)
        assert await store.list("") == []
        await store.put("log/0/00000000000000000001", b"")
        assert await settle(store, metadata) == "north"

    run(case())
