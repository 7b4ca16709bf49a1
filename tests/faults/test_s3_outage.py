"""S3 is cut off and comes back: what readers hold is read on, writes are refused by name, and all
goes on by itself, in the processes that were there.

R8 and R13 of the reliability plan, for data on S3.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple
from uuid import uuid4

import pytest
from pymilvus import MilvusClient, MilvusException

from mishards.testing.client_rows import (
    connected,
    contents,
    create,
    insert,
    nearest,
    query_of,
    row,
    true_nearest,
)
from mishards.testing.fault_proxy import FaultNetwork, FaultProxy
from mishards.testing.local_cluster import LocalCluster, LocalProcess, wait_for
from mishards.testing.services.seaweedfs import SeaweedFs

KEYS = list(range(90))
RECOVERS_S = 5.0


class Served(NamedTuple):
    cluster: LocalCluster
    processes: dict[str, LocalProcess]
    line: FaultProxy
    store: SeaweedFs

    def harm(self, how: str) -> None:
        if how == "silent":
            self.line.cut()
        elif how == "reset":
            self.line.accepts = "reset"
            self.line.reset()
        else:
            self.store.kill()

    def heal(self) -> None:
        self.line.heal()
        if not self.store.running:
            self.store.start()


@pytest.fixture(scope="module")
def served(seaweedfs: SeaweedFs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A writer, a reader and a proxy, and the line to their store; every test leaves it healed."""
    folder = tmp_path_factory.mktemp("served")
    with FaultNetwork() as network:
        line = network.link("s3", "127.0.0.1", seaweedfs.port)
        url = seaweedfs.data(uuid4().hex, f"http://127.0.0.1:{line.port}") + "&timeout_s=1"
        metadata = f"cluster.metadata=sqlite:///{folder}/metadata.db"
        with LocalCluster(folder / "c", metadata, url=url) as cluster:
            processes = cluster.start_all()
            with connected(cluster.uri) as client:
                create(client, "still")
                insert(client, "still", KEYS[:60])
                client.flush("still")
                insert(client, "still", KEYS[60:])
                create(client, "moving")
                read(client, "Strong")
            yield Served(cluster, processes, line, seaweedfs)


def read(client: MilvusClient, level: str) -> None:
    """What a search finds is complete."""
    for number in range(3):
        found = nearest(client, "still", query_of(number), consistency_level=level, timeout=5)
        assert found == true_nearest(KEYS, query_of(number))


@pytest.mark.parametrize(
    "how", ["silent", *(pytest.param(one, marks=pytest.mark.slow) for one in ("reset", "killed"))]
)
def test_without_s3_memory_is_read_and_writes_are_refused(served: Served, how: str) -> None:
    cluster, processes, *_ = served
    key = {"silent": 100, "reset": 200, "killed": 300}[how]
    with connected(cluster.uri) as client:
        served.harm(how)
        try:
            read(client, "Eventually")
            with pytest.raises(MilvusException) as refused:
                client.insert("moving", [row(key)], timeout=60)
            assert "s3://" in refused.value.message
            read(client, "Eventually")
        finally:
            served.heal()
        healed_s = time.monotonic()

        def goes_on() -> bool:
            try:
                client.insert("moving", [row(key + 1)], timeout=RECOVERS_S)
            except MilvusException:
                return False
            return True

        wait_for(goes_on, "an insert succeeds")
        took_s = time.monotonic() - healed_s
        read(client, "Strong")
        assert key + 1 in contents(client, "moving")
    assert took_s < RECOVERS_S
    assert all(process.exit_code is None for process in processes.values())
