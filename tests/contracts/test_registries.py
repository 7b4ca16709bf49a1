"""The registry contract on every built-in registry, on real servers where they have one."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from mishards.core.runtime import Runtime
from mishards.discovery.memory import MemoryRegistry
from mishards.discovery.protocol import Registry
from mishards.discovery.registry import open_registry
from mishards.testing.consul_server import ConsulServer
from mishards.testing.registry_contract import (
    TTL_S,
    RegistryContract,
    RegistryServerContract,
)
from mishards.testing.services.etcd import Etcd
from mishards.testing.services.mariadb import MariaDb
from mishards.testing.services.postgresql import PostgreSql
from mishards.testing.services.zookeeper import ZooKeeper


class TestMemoryRegistry(RegistryContract):
    def setup_method(self) -> None:
        self.registry: MemoryRegistry | None = None

    async def open(self, runtime: Runtime) -> Registry:
        if self.registry is None:
            self.registry = MemoryRegistry(runtime, ttl_s=TTL_S)
        return self.registry


class TestNamedMemoryRegistry(RegistryContract):
    @pytest.fixture(autouse=True)
    def _name(self, tmp_path: Path) -> None:
        self.url = f"memory://{tmp_path}"

    async def open(self, runtime: Runtime) -> Registry:
        return open_registry(self.url, runtime, ttl_s=TTL_S)


class TestSqliteRegistry(RegistryContract):
    @pytest.fixture(autouse=True)
    def _file(self, tmp_path: Path) -> None:
        self.url = f"sqlite:///{tmp_path}/folder/metadata.db"

    async def open(self, runtime: Runtime) -> Registry:
        return open_registry("sql", runtime, url=self.url, ttl_s=TTL_S)


class TestMariaDbRegistry(RegistryServerContract):
    @pytest.fixture(autouse=True)
    def _database(self, mariadb: MariaDb) -> None:
        self.server = mariadb
        self.url = mariadb.database(f"t{uuid4().hex}")

    async def open(self, runtime: Runtime) -> Registry:
        return open_registry("sql", runtime, url=self.url, ttl_s=TTL_S)


class TestPostgreSqlRegistry(RegistryServerContract):
    @pytest.fixture(autouse=True)
    def _database(self, postgresql: PostgreSql) -> None:
        self.server = postgresql
        self.url = postgresql.database(f"t{uuid4().hex}")

    async def open(self, runtime: Runtime) -> Registry:
        return open_registry("sql", runtime, url=self.url, ttl_s=TTL_S)


class TestEtcdRegistry(RegistryServerContract):
    @pytest.fixture(autouse=True)
    def _prefix(self, etcd: Etcd) -> None:
        self.server = etcd
        self.url = etcd.database(f"t{uuid4().hex}")

    async def open(self, runtime: Runtime) -> Registry:
        return open_registry("etcd", runtime, url=self.url, ttl_s=TTL_S)


class TestZooKeeperRegistry(RegistryServerContract):
    @pytest.fixture(autouse=True)
    def _prefix(self, zookeeper: ZooKeeper) -> None:
        self.server = zookeeper
        self.url = zookeeper.database(f"t{uuid4().hex}")

    async def open(self, runtime: Runtime) -> Registry:
        return open_registry(self.url, runtime, ttl_s=TTL_S)


class TestConsulRegistry(RegistryServerContract):
    @pytest.fixture(autouse=True)
    def _prefix(self, consul: ConsulServer) -> None:
        self.server = consul
        self.url = consul.database(f"t{uuid4().hex}")

    async def open(self, runtime: Runtime) -> Registry:
        return open_registry(self.url, runtime, ttl_s=TTL_S)


class TestRealConsulRegistry(RegistryContract):
    @pytest.fixture(autouse=True)
    def _prefix(self, real_consul: str) -> None:
        self.url = f"{real_consul}/t{uuid4().hex}"

    async def open(self, runtime: Runtime) -> Registry:
        return open_registry(self.url, runtime, ttl_s=TTL_S)
