"""The metadata store, with the registry and the election in it, is killed, stands still, is slow.

R11 of the reliability plan: all searches succeed, writes go on, DDL fails with a retriable error
within its deadline, and everything resumes by itself. And before that, on every server: the end of
a leader, whose standby is elected there.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol
from uuid import uuid4

import pytest
from pymilvus.grpc_gen import milvus_pb2

from mishards.testing.client_rows import connected
from mishards.testing.fault_proxy import FaultNetwork, FaultProxy
from mishards.testing.faulty_cluster import FaultyCluster
from mishards.testing.local_cluster import wait_for
from mishards.testing.log_watch import LogWatch
from mishards.testing.recorded import Workload
from mishards.testing.services.etcd import Etcd
from mishards.testing.services.mariadb import MariaDb
from mishards.testing.services.postgresql import PostgreSql

READS = ("search", "query", "count")
WRITES = ("insert", "upsert", "delete")
SETTINGS = ("cluster.routing=rendezvous", "writer.flush_age_s=2", "writer.lease_s=1.5")
DDL_S = 8.0
"""The deadline that clients give a DDL call."""
RESUMES_S = 10.0


class Database(Protocol):
    """What keeps the metadata."""

    def freeze(self) -> None:
        """Let it do nothing."""

    def thaw(self) -> None:
        """Undo `freeze`."""

    def kill(self) -> None:
        """End it."""

    def start(self) -> object:
        """Start it again."""


class LockedFile:
    """SQLite: stands still while another process holds the lock for writing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: sqlite3.Connection | None = None

    def freeze(self) -> None:
        self._held = sqlite3.connect(self._path, isolation_level=None, timeout=10)
        self._held.execute("BEGIN IMMEDIATE")

    def thaw(self) -> None:
        assert self._held is not None
        self._held.close()

    def kill(self) -> None:
        raise NotImplementedError

    def start(self) -> object:
        raise NotImplementedError


class Served(NamedTuple):
    """A cluster, what is done to it, and what keeps its metadata."""

    cluster: FaultyCluster
    workload: Workload
    log: LogWatch
    server: Database
    line: FaultProxy | None = None


@pytest.fixture(scope="module")
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """Two writers, a reader and a proxy; every test leaves all of them running."""
    folder, settings = tmp_path_factory.mktemp("served"), SETTINGS
    server: Database = LockedFile(folder / "data" / "metadata.db")
    line = None
    with FaultNetwork() as network:
        if request.param != "sqlite":
            kept: Etcd | MariaDb | PostgreSql = request.getfixturevalue(request.param)
            server, url = kept, kept.database(f"t{uuid4().hex}")
            if request.param == "etcd":
                line = network.link("metadata", "127.0.0.1", kept.port)
                url = url.replace(f":{kept.port}/", f":{line.port}/")
            settings = (*settings, f"cluster.metadata={url}")
        with FaultyCluster(folder, *settings) as cluster:
            cluster.add_all(writers=2, readers=1, proxies=1)
            workload = Workload(cluster.uris)
            workload.create()
            with LogWatch(cluster.data) as log:
                yield Served(cluster, workload, log, server, line)


SERVERS = ["etcd", "mariadb", "postgresql"]
on_servers = pytest.mark.parametrize("served", SERVERS, indirect=True)
in_short = pytest.mark.parametrize(
    "served",
    ["etcd", *(pytest.param(name, marks=pytest.mark.slow) for name in SERVERS[1:])],
    indirect=True,
)


@on_servers
def test_a_standby_follows_a_killed_leader(served: Served) -> None:
    cluster, workload, log, *_ = served
    began_s = time.time()
    with workload.running(2, searchers=1):
        workload.go_on()
        leader = cluster.leader()
        workload.note(f"kill -9 {leader}")
        cluster[leader].kill()
        workload.go_on()
        assert cluster.leader() != leader
        cluster.restart(leader).wait_ready()
    failed = workload.failed(*READS, *WRITES, since_s=began_s)
    assert not failed, failed
    workload.check(log.durable())


@in_short
def test_a_server_that_stands_still_stops_neither_searches_nor_writes(served: Served) -> None:
    """R11, the short form."""
    suffer(served, served.server.freeze, served.server.thaw)


@in_short
def test_a_killed_server_stops_neither_searches_nor_writes(served: Served) -> None:
    """R11, the short form."""
    suffer(served, served.server.kill, served.server.start, 1.0)


@pytest.mark.parametrize("served", ["etcd"], indirect=True)
def test_a_slow_server_slows_definitions_alone(served: Served) -> None:
    """R11: every answer a quarter of a second late."""
    cluster, workload, log, _, line = served
    assert line is not None
    with workload.running(2, searchers=1):
        workload.go_on()
        leader = cluster.leader()
        began_s = time.time()
        workload.note("the metadata is slow")
        line.back.delay_s, line.back.jitter_s = 0.25, 0.1
        try:
            asked_s = time.monotonic()
            assert defined(cluster.uri)
            assert time.monotonic() - asked_s > line.back.delay_s
            workload.go_on()
            assert cluster.leader() == leader
        finally:
            line.heal()
    failed = workload.failed(*READS, *WRITES, since_s=began_s)
    assert not failed, failed
    workload.check(log.durable())


@pytest.mark.slow
@on_servers
def test_a_leader_that_dies_while_the_server_is_away_is_followed_when_it_is_back(
    served: Served,
) -> None:
    cluster, workload, log, server, _ = served
    with workload.running(2, searchers=1):
        workload.go_on()
        leader = cluster.leader()
        server.kill()
        began_s = time.time()
        workload.note(f"the metadata is away, kill -9 {leader}")
        cluster[leader].kill()
        wait_for(lambda: len(workload.calls("search", since_s=began_s)) > 20, "searches go on")
        server.start()
        workload.note("the metadata is back")
        workload.go_on()
        assert cluster.leader() != leader
        cluster.restart(leader).wait_ready()
    failed = workload.failed("search", since_s=began_s)
    assert not failed, failed
    workload.check(log.durable())


@pytest.mark.parametrize("served", ["sqlite"], indirect=True)
def test_a_locked_file_stops_neither_searches_nor_writes(served: Served) -> None:
    """R11, the short form."""
    suffer(served, served.server.freeze, served.server.thaw)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("served", [*SERVERS, "sqlite"], indirect=True)
def test_metadata_that_stands_still_for_minutes_stops_neither_searches_nor_writes(
    served: Served,
) -> None:
    """R11."""
    suffer(served, served.server.freeze, served.server.thaw, 600.0, pause_s=0.2)


def suffer(
    served: Served,
    harm: Callable[[], object],
    heal: Callable[[], object],
    seconds: float = 0.0,
    *,
    pause_s: float = 0.02,
) -> None:
    """Let clients work before, during and after an outage of the metadata."""
    cluster, workload, log, *_ = served
    with workload.running(2, pause_s, searchers=1):
        workload.go_on()
        workload.note("the metadata is away")
        began_s = time.time()
        harm()
        try:
            time.sleep(seconds)  # how long the fault lasts, not a wait for anything
            refused(cluster.uri)
            workload.go_on()
        finally:
            heal()
        workload.note("the metadata is back")
        wait_for(lambda: defined(cluster.uri), "definitions go on", RESUMES_S)
        workload.go_on()
    failed = workload.failed(*READS, *WRITES, since_s=began_s)
    assert not failed, failed
    cluster.agree(RESUMES_S)
    workload.check(log.durable())
    assert not log.changed


def refused(uri: str) -> None:
    """A DDL call fails within its deadline, and says that it may be made again."""
    began_s = time.monotonic()
    status = define(uri)
    assert status.code, "it was done"
    assert status.retriable, status
    assert time.monotonic() - began_s < DDL_S


def defined(uri: str) -> bool:
    return not define(uri).code


def define(uri: str) -> milvus_pb2.common__pb2.Status:
    """Make a database; the answer, as the client library does not show it."""
    request = milvus_pb2.CreateDatabaseRequest(db_name=f"d{uuid4().hex}")
    with connected(uri) as client:
        return client._get_connection()._stub.CreateDatabase(request, timeout=DDL_S)
