"""The metadata store comes back without its last commits: an older copy in the place of the newest.

R12 of the reliability plan: it is found by epoch and version against storage, and refused or
repaired, never silently rolled back; while the cluster stands, and while it runs.
"""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import pytest
from pymilvus import MilvusClient, MilvusException

import mishards
from mishards.core.errors import MetadataBehind
from mishards.testing.client_rows import connected, contents, create, insert
from mishards.testing.faulty_cluster import FaultyCluster
from mishards.testing.local_cluster import wait_for
from mishards.testing.log_watch import LogWatch
from mishards.testing.recorded import Workload
from mishards.testing.services.etcd import Etcd

READS = ("search", "query", "count")
WRITES = ("insert", "upsert", "delete")
RESUMES_S = 10.0


class Kept(Protocol):
    """What keeps the metadata, and copies of it."""

    settings: tuple[str, ...]

    def save(self, name: str) -> None:
        """Keep a copy of how it is now."""

    def bring_back(self, name: str) -> None:
        """Put a copy in its place, as somebody would by hand."""

    def put_right(self, cluster: FaultyCluster) -> None:
        """Give a running cluster the newest state again, in one of the ways there are."""


class File:
    """SQLite's file in a data folder."""

    settings: tuple[str, ...] = ()

    def __init__(self, folder: Path) -> None:
        self.path = folder / "metadata.db"
        self._copies = folder.parent / "copies"
        self._copies.mkdir()

    def save(self, name: str) -> None:
        with (
            closing(sqlite3.connect(self.path)) as source,
            closing(sqlite3.connect(self._copies / name)) as target,
        ):
            source.backup(target)

    def bring_back(self, name: str) -> None:
        fresh = self.path.with_suffix(".new")
        shutil.copy(self._copies / name, fresh)
        fresh.replace(self.path)
        for leftover in self.path.parent.glob("metadata.db-*"):
            leftover.unlink()

    def put_right(self, cluster: FaultyCluster) -> None:
        self.bring_back("newest")


class Server:
    """An etcd of this test alone, which is stopped for each copy."""

    def __init__(self, server: Etcd) -> None:
        self.settings = (f"cluster.metadata={server.database('lost')}",)
        self._server = server
        self._data = server.folder / "data"

    def save(self, name: str) -> None:
        self._server.stop()
        shutil.copytree(self._data, self._data.with_name(name))
        self._server.start()

    def bring_back(self, name: str) -> None:
        self._server.kill()
        shutil.rmtree(self._data)
        shutil.copytree(self._data.with_name(name), self._data)
        self._server.start()

    def put_right(self, cluster: FaultyCluster) -> None:
        cluster["writer-1"].stop()
        options = ("--data", str(cluster.data), "--set", *self.settings)
        code, output, errors = cluster.run("repair", *options)
        assert code == 0, errors
        assert output.startswith("database"), output
        cluster.restart("writer-1").wait_ready()


@pytest.fixture(params=["sqlite", "etcd"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kept]:
    if request.param == "sqlite":
        (tmp_path / "data").mkdir()
        yield File(tmp_path / "data")
        return
    request.getfixturevalue("etcd")  # skips where it is not installed
    with Etcd() as server:
        yield Server(server)


def test_a_lost_commit_comes_back_and_more_of_them_are_refused_at_the_start(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with mishards.start(data):
        pass
    file = File(data)
    with mishards.start(data) as server, connected(server.uri) as client:
        create(client, "rows")
        insert(client, "rows", range(30))
        file.save("two commits before")
        client.create_database("first")
        file.save("a commit before")
        client.create_database("second")
        client.flush("rows")
    newest = {"default", "first", "second"}
    file.save("the newest")

    # The end of the last process may have flushed and committed too: count from what it left.
    file.bring_back("two commits before")
    with pytest.raises(MetadataBehind, match="shared storage knows of version"):
        mishards.start(data)
    file.bring_back("the newest")
    with mishards.start(data) as server, connected(server.uri) as client:
        assert set(client.list_databases()) == newest
        assert contents(client, "rows") == dict.fromkeys(range(30), 0)
        file.save("a commit before")
        client.create_database("third")
    file.bring_back("a commit before")
    with mishards.start(data) as server, connected(server.uri) as client:
        assert set(client.list_databases()) == {*newest, "third"}
        assert contents(client, "rows") == dict.fromkeys(range(30), 0)


def test_a_running_cluster_refuses_an_older_copy_until_it_has_the_newest(
    kept: Kept, tmp_path: Path
) -> None:
    settings = ("cluster.routing=rendezvous", "writer.flush_age_s=600", *kept.settings)
    with FaultyCluster(tmp_path / "cluster", *settings, data=tmp_path / "data") as cluster:
        cluster.add_all(writers=1, readers=1, proxies=1)
        workload = Workload(cluster.uris)
        workload.create()
        with LogWatch(cluster.data) as log, connected(cluster.uri) as client:
            with workload.running(2, searchers=1):
                workload.go_on()
                kept.save("older")
                names = {f"d{uuid4().hex}" for _ in range(3)}
                for name in names:
                    client.create_database(name)
                kept.save("newest")
                began_s = time.time()
                workload.note("the metadata is an older copy")
                kept.bring_back("older")
                with pytest.raises(MilvusException, match="went back from version") as refused:
                    client.create_database("never", timeout=20)
                assert "mishards repair" in str(refused.value)
                # Whoever asks sees what was acknowledged, not what the copy says.
                assert names < set(client.list_databases())
                workload.go_on()
            failed = workload.failed(*READS, *WRITES, since_s=began_s)
            assert not failed, failed
            kept.put_right(cluster)
            with workload.running(2, searchers=1):
                wait_for(lambda: defined(client), "definitions go on", RESUMES_S)
                assert names < set(client.list_databases())
                workload.go_on()
            cluster.agree(RESUMES_S)
            workload.check(log.durable())


def defined(client: MilvusClient) -> bool:
    try:
        client.create_database(f"d{uuid4().hex}", timeout=5)
    except MilvusException:
        return False
    return True
