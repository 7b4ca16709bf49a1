"""The metadata contract on every built-in store, on real servers where they have one."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from mishards.core.runtime import Runtime
from mishards.metadata.journaled import JournaledMetadata
from mishards.metadata.memory import MemoryMetadataStore
from mishards.metadata.protocol import MetadataStore
from mishards.metadata.registry import open_metadata_store
from mishards.storage.local import LocalStore
from mishards.storage.memory import MemoryStore
from mishards.testing.metadata_contract import MetadataContract, MetadataServerContract
from mishards.testing.services.etcd import Etcd
from mishards.testing.services.mariadb import MariaDb
from mishards.testing.services.postgresql import PostgreSql


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


class TestJournaledMemoryMetadata(MetadataContract):
    def setup_method(self) -> None:
        self.store, self.objects = MemoryMetadataStore(), MemoryStore()

    async def open(self, runtime: Runtime) -> MetadataStore:
        return JournaledMetadata(self.store, self.objects, runtime, least_bytes=1, look_every=2)


class TestJournaledSqliteMetadata(MetadataContract):
    @pytest.fixture(autouse=True)
    def _file(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    async def open(self, runtime: Runtime) -> MetadataStore:
        inner = open_metadata_store(f"sqlite:///{self.folder}/metadata.db", runtime)
        return JournaledMetadata(inner, LocalStore(self.folder, runtime), runtime)


class TestMariaDbMetadata(MetadataServerContract):
    @pytest.fixture(autouse=True)
    def _database(self, mariadb: MariaDb) -> None:
        self.server = mariadb
        self.url = mariadb.database(f"t{uuid4().hex}")

    async def open(self, runtime: Runtime) -> MetadataStore:
        return open_metadata_store(self.url, runtime)


class TestPostgreSqlMetadata(MetadataServerContract):
    @pytest.fixture(autouse=True)
    def _database(self, postgresql: PostgreSql) -> None:
        self.server = postgresql
        self.url = postgresql.database(f"t{uuid4().hex}")

    async def open(self, runtime: Runtime) -> MetadataStore:
        return open_metadata_store(self.url, runtime)


class TestEtcdMetadata(MetadataServerContract):
    @pytest.fixture(autouse=True)
    def _prefix(self, etcd: Etcd) -> None:
        self.server = etcd
        self.url = etcd.database(f"t{uuid4().hex}")

    async def open(self, runtime: Runtime) -> MetadataStore:
        return open_metadata_store(self.url, runtime)
