"""The election contract on every built-in election, on real servers where they have one."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from mishards.core.errors import PluginError
from mishards.core.runtime import Runtime
from mishards.discovery.election import Election
from mishards.discovery.election_registry import open_election
from mishards.testing.consul_server import ConsulServer
from mishards.testing.election_contract import ElectionContract, ElectionServerContract
from mishards.testing.services.etcd import Etcd
from mishards.testing.services.mariadb import MariaDb
from mishards.testing.services.postgresql import PostgreSql
from mishards.testing.services.zookeeper import ZooKeeper
from mishards.testing.stepped import SteppedRuntime


class TestMemoryElection(ElectionContract):
    @pytest.fixture(autouse=True)
    def _name(self, tmp_path: Path) -> None:
        self.url = f"memory://{tmp_path}"

    async def open(self, runtime: Runtime) -> Election:
        return open_election(self.url, runtime)


class TestSqliteElection(ElectionContract):
    @pytest.fixture(autouse=True)
    def _file(self, tmp_path: Path) -> None:
        self.url = f"sqlite:///{tmp_path}/folder/metadata.db"

    async def open(self, runtime: Runtime) -> Election:
        return open_election("sql", runtime, url=self.url)


class TestMariaDbElection(ElectionServerContract):
    @pytest.fixture(autouse=True)
    def _database(self, mariadb: MariaDb) -> None:
        self.server = mariadb
        self.url = mariadb.database(f"t{uuid4().hex}")

    async def open(self, runtime: Runtime) -> Election:
        return open_election("sql", runtime, url=self.url)


class TestPostgreSqlElection(ElectionServerContract):
    @pytest.fixture(autouse=True)
    def _database(self, postgresql: PostgreSql) -> None:
        self.server = postgresql
        self.url = postgresql.database(f"t{uuid4().hex}")

    async def open(self, runtime: Runtime) -> Election:
        return open_election("sql", runtime, url=self.url)


class TestEtcdElection(ElectionServerContract):
    @pytest.fixture(autouse=True)
    def _prefix(self, etcd: Etcd) -> None:
        self.server = etcd
        self.url = etcd.database(f"t{uuid4().hex}")

    async def open(self, runtime: Runtime) -> Election:
        return open_election(self.url, runtime)


class TestZooKeeperElection(ElectionServerContract):
    @pytest.fixture(autouse=True)
    def _prefix(self, zookeeper: ZooKeeper) -> None:
        self.server = zookeeper
        self.url = zookeeper.database(f"t{uuid4().hex}")

    async def open(self, runtime: Runtime) -> Election:
        return open_election(self.url, runtime)


class TestConsulElection(ElectionServerContract):
    @pytest.fixture(autouse=True)
    def _prefix(self, consul: ConsulServer) -> None:
        self.server = consul
        self.url = consul.database(f"t{uuid4().hex}")

    async def open(self, runtime: Runtime) -> Election:
        return open_election(self.url, runtime)


class TestRealConsulElection(ElectionContract):
    @pytest.fixture(autouse=True)
    def _prefix(self, real_consul: str) -> None:
        self.url = f"{real_consul}/t{uuid4().hex}"

    async def open(self, runtime: Runtime) -> Election:
        return open_election(self.url, runtime)


def test_an_unknown_election_lists_the_known_ones() -> None:
    with pytest.raises(PluginError, match=r"unknown election 'raft'; known are: .*sqlite"):
        open_election("raft", SteppedRuntime())
