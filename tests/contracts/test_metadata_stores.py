from __future__ import annotations

from pathlib import Path

import pytest

from mishards.core.runtime import Runtime
from mishards.metadata.memory import MemoryMetadataStore
from mishards.metadata.protocol import MetadataStore
from mishards.metadata.registry import open_metadata_store
from mishards.testing.metadata_contract import MetadataContract


class TestMemoryMetadata(MetadataContract):
    def setup_method(self) -> None:
        self.store = MemoryMetadataStore()

    async def open(self, runtime: Runtime) -> MetadataStore:
        return self.store


class TestSqliteMetadata(MetadataContract):
    @pytest.fixture(autouse=True)
    def _file(self, tmp_path: Path) -> None:
        self.url = f"sqlite:///{tmp_path}/folder/metadata.db"

    async def open(self, runtime: Runtime) -> MetadataStore:
        return open_metadata_store(self.url, runtime)
