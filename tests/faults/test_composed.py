"""A whole production, each piece of which is killed and comes back under load.

etcd, MariaDB, S3, two writers, three readers, two proxies, HAProxy and Prometheus; clients come
through HAProxy, and what happens to nodes is seen by Prometheus as well. A few real embeddings lie
still and are searched all the time, another collection is worked on and its whole history checked.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import numpy as np
import pyarrow.parquet as pq
import pytest
from pymilvus import DataType, MilvusClient
from pymilvus.grpc_gen import milvus_pb2

from mishards.testing.client_rows import connected
from mishards.testing.composed import Composed, Services
from mishards.testing.local_cluster import wait_for
from mishards.testing.recorded import Workload
from mishards.testing.services.balancer import HaProxy
from mishards.testing.services.etcd import Etcd
from mishards.testing.services.mariadb import MariaDb
from mishards.testing.services.prometheus import Prometheus
from mishards.testing.services.seaweedfs import SeaweedFs
from mishards.testing.stored_log_watch import StoredLogWatch

pytestmark = pytest.mark.timeout(300)

DATA = Path(__file__).parents[2] / "examples" / "data"
PACKAGES, QUERIES, NEAREST = 1500, 3, 5
READS = ("search", "query", "count")
WRITES = ("insert", "upsert", "delete")
AGREE_S = 30.0
LOST = "StatusCode.UNAVAILABLE"


class Served(NamedTuple):
    composed: Composed
    workload: Workload
    log: StoredLogWatch
    client: MilvusClient
    answers: list[list[str]]


@pytest.fixture(scope="module")
def served(
    etcd: Etcd,
    mariadb: MariaDb,
    seaweedfs: SeaweedFs,
    haproxy: HaProxy,
    prometheus: Prometheus,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Served]:
    """Everything, and rows in it; every test leaves all pieces running."""
    services = Services(etcd, mariadb, seaweedfs, haproxy, prometheus)
    folder = tmp_path_factory.mktemp("composed")
    with (
        Composed(folder, services, "writer.flush_age_s=2") as composed,
        StoredLogWatch(composed.url) as log,
        connected(composed.entrance) as client,
    ):
        answers = load_packages(client)
        workload = Workload([composed.entrance], timeout_s=20.0)
        workload.create()
        yield Served(composed, workload, log, client, answers)


def load_packages(client: MilvusClient) -> list[list[str]]:
    """Insert and seal some; what is nearest to the held-out queries, by brute force."""
    packages = pq.read_table(DATA / "packages.parquet", columns=["name", "embedding"])
    packages = packages.slice(0, PACKAGES)
    rows, asked = packages.to_pylist(), questions()
    schema = client.create_schema()
    schema.add_field("name", DataType.VARCHAR, is_primary=True, max_length=200)
    schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=asked.shape[1])
    indexes = client.prepare_index_params()
    indexes.add_index("embedding", index_type="FLAT", metric_type="COSINE")
    client.create_collection("packages", schema=schema, index_params=indexes)
    for start in range(0, PACKAGES, 500):
        client.insert("packages", rows[start : start + 500])
    client.flush("packages")
    vectors = np.array([row["embedding"] for row in rows], np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    order = np.argsort(-(asked @ vectors.T), axis=1, kind="stable")[:, :NEAREST]
    expected = [[rows[position]["name"] for position in one] for one in order]
    assert found(client, "Strong") == expected
    return expected


def questions() -> np.ndarray[Any, np.dtype[np.float32]]:
    """Vectors, shape (QUERIES, dim)."""
    column = pq.read_table(DATA / "queries.parquet").column("embedding")
    return np.array(column[:QUERIES].to_pylist(), np.float32)


def found(client: MilvusClient, level: str) -> list[list[str]]:
    answers = client.search(
        "packages", list(questions()), limit=NEAREST, consistency_level=level, timeout=30
    )
    return [[hit["name"] for hit in hits] for hits in answers]


@pytest.mark.parametrize(
    ("piece", "may_fail"),
    [
        ("reader-1", ()),
        ("the leader", ()),
        # What a killed proxy has not answered is the client's to ask for.
        ("proxy-1", ("insert",)),
        ("etcd", ()),
        ("mariadb", ()),
    ],
)
def test_work_goes_on_without(served: Served, piece: str, may_fail: tuple[str, ...]) -> None:
    composed, workload, _, client, answers = served
    with workload.running(2, pause_s=0.05, searchers=1):
        workload.go_on()
        name = composed.leader() if piece == "the leader" else piece
        (reign,) = composed.wait_for_series("max(mishards_epoch)")
        began_s = time.time()
        workload.note(f"kill -9 {name}")
        with composed.away(name):
            workload.go_on()
            assert found(client, "Strong") == answers
            if name in composed.nodes_by_name:
                composed.wait_seen(name, up=False)
            if piece == "the leader":
                composed.wait_for_series(f"max(mishards_epoch) > {reign.value}")
        workload.note(f"{name} is back")
        workload.go_on()
    kinds = [kind for kind in (*READS, *WRITES) if kind not in may_fail]
    failed = workload.failed(*kinds, since_s=began_s)
    assert not failed, failed
    sound(served)


def test_clients_see_that_haproxy_is_away_and_go_on_when_it_is_back(served: Served) -> None:
    composed, workload, _, client, answers = served
    with workload.running(2, pause_s=0.05, searchers=1):
        workload.go_on()
        began_s = time.time()
        workload.note("kill -9 haproxy")
        with composed.away("haproxy"):
            assert refusal(client) is grpc.StatusCode.UNAVAILABLE
        workload.note("haproxy is back")
        workload.go_on()
        assert found(client, "Strong") == answers
    failed = workload.failed(*READS, *WRITES, since_s=began_s)
    assert all(LOST in one for one in failed), failed
    sound(served)


def test_without_s3_memory_is_read_and_writes_resume_when_it_is_back(served: Served) -> None:
    composed, workload, _, client, answers = served
    with workload.running(2, pause_s=0.05, searchers=1):
        workload.go_on()
        workload.note("kill -9 seaweedfs")
        with composed.away("seaweedfs"):
            began_s = time.time()
            wait_for(lambda: workload.failed(*WRITES, since_s=began_s), "a write is refused")
            assert found(client, "Eventually") == answers
        workload.note("seaweedfs is back")
        workload.go_on()
        assert found(client, "Strong") == answers
    sound(served)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_nothing_is_lost_when_everything_dies_at_once(served: Served) -> None:
    composed, workload, *_ = served
    nodes, services = list(composed.nodes_by_name), list(composed.services)
    for _ in range(3):
        with workload.running(4, searchers=1):
            workload.go_on(50)
            workload.note("kill -9 everything")
            for name in (*nodes, *services):
                composed.kill(name)
            for name in services:
                composed.bring_back(name)
            for name in nodes:
                composed.restart(name)
            for name in nodes:
                composed[name].wait_ready(120)
            workload.note("everything is back")
            workload.go_on(50, patience_s=60)
        sound(served)


def refusal(client: MilvusClient) -> grpc.StatusCode | None:
    """How a call ends that is made once."""
    stub = client._get_connection()._stub
    try:
        stub.CheckHealth(milvus_pb2.CheckHealthRequest(), timeout=10)
    except grpc.RpcError as error:
        return error.code()
    return None


def sound(served: Served) -> None:
    """All pieces serve, all nodes agree, Prometheus sees them, and the whole history holds."""
    composed, workload, log, client, answers = served
    composed.agree(AGREE_S)
    for name in composed.nodes_by_name:
        composed.wait_seen(name, up=True)
    workload.check(log.durable())
    assert found(client, "Strong") == answers
