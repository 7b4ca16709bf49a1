from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random
from uuid import uuid4

import pytest

from mishards.core.errors import ObjectExists, ObjectNotFound, StorageError
from mishards.core.runtime import Runtime, SystemRuntime
from mishards.storage.layers.count import CountingStore
from mishards.storage.layers.fault import FaultScript, FaultyStore
from mishards.storage.layers.retry import RetryingStore
from mishards.storage.memory import MemoryStore
from mishards.storage.protocol import ObjectInfo, ObjectStore
from mishards.storage.registry import open_store
from mishards.testing.expect import raises
from mishards.testing.nfs import MountFaults, NfsMount
from mishards.testing.object_store_contract import ObjectStoreContract
from mishards.testing.services.seaweedfs import SeaweedFs


class TestMemoryStore(ObjectStoreContract):
    def setup_method(self) -> None:
        self.store = MemoryStore()

    async def open(self, runtime: Runtime) -> ObjectStore:
        return self.store


class TestLocalStore(ObjectStoreContract):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.url = f"file://{tmp_path}/data"

    async def open(self, runtime: Runtime) -> ObjectStore:
        return open_store(self.url, runtime)


class TestLayeredStore(TestLocalStore):
    async def open(self, runtime: Runtime) -> ObjectStore:
        store = FaultyStore(await super().open(runtime), FaultScript(), runtime)
        return CountingStore(RetryingStore(store, runtime))


class TestS3Store(ObjectStoreContract):
    rivalries = 3

    @pytest.fixture(autouse=True)
    def _prefix(self, seaweedfs: SeaweedFs) -> None:
        self.url = seaweedfs.data(uuid4().hex)

    async def open(self, runtime: Runtime) -> ObjectStore:
        return open_store(self.url, runtime)


class TestNfsMount(ObjectStoreContract):
    """As one machine sees what it does itself; what others do it may see later."""

    def setup_method(self) -> None:
        self.server = MemoryStore()
        self.faults = MountFaults(names_s=1e6, files_s=1e6)
        self.mounts: list[NfsMount] = []

    async def open(self, runtime: Runtime) -> ObjectStore:
        chance = Random(len(self.mounts))
        self.mounts.append(NfsMount(self.server, runtime.monotonic_s, chance, self.faults))
        return self.mounts[-1]

    def test_another_handle_sees_what_was_written(self) -> None:
        async def main() -> None:
            runtime = SystemRuntime()
            first, second = await self.open(runtime), await self.open(runtime)
            assert await second.list("a/") == []
            await raises(ObjectNotFound, second.get("a/b"))
            await first.create("a/b", b"1")
            assert await first.list("a/") == [ObjectInfo("a/b", 1)]
            assert await second.list("a/") == []
            await raises(ObjectNotFound, second.get("a/b"))
            await raises(ObjectExists, second.create("a/b", b"2"))
            for mount in self.mounts:
                mount.heal()
            assert await second.get("a/b") == b"1"
            assert await second.list("a/") == [ObjectInfo("a/b", 1)]
            await runtime.close()

        asyncio.run(main())

    def test_an_answer_that_is_lost_says_that_the_work_was_not_done(self) -> None:
        async def main() -> None:
            runtime = SystemRuntime()
            store = await self.open(runtime)
            self.faults.lost = 1.0
            await raises(ObjectExists, store.create("a", b"1"))
            await raises(StorageError, store.put("b", b"2"))
            self.mounts[0].heal()
            assert [await store.get(key) for key in ("a", "b")] == [b"1", b"2"]
            await runtime.close()

        asyncio.run(main())
