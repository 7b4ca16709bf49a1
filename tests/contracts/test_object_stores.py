from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from mishards.core.runtime import Runtime
from mishards.storage.layers.count import CountingStore
from mishards.storage.layers.fault import FaultScript, FaultyStore
from mishards.storage.layers.retry import RetryingStore
from mishards.storage.memory import MemoryStore
from mishards.storage.protocol import ObjectStore
from mishards.storage.registry import open_store
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
