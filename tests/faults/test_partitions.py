"""Nodes that lose touch with one another, with storage or with metadata, and come back.

R8 of the reliability plan: the cut-off side refuses writes, readers serve what they have within
the level that was asked for, and after healing all agree within five seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import grpc
import pytest
from pymilvus import MilvusException

from mishards.testing.client_rows import connected
from mishards.testing.faulty_cluster import FaultyCluster
from mishards.testing.log_watch import LogWatch
from mishards.testing.recorded import Workload

READS = ("search", "query", "count")
WRITES = ("insert", "upsert", "delete")
RECOVERS_S = 5.0
SHORT_S = 3.0
LONG_S = 120.0

Harmed = tuple[FaultyCluster, Workload, LogWatch]


@pytest.fixture(
    params=[SHORT_S, pytest.param(LONG_S, marks=[pytest.mark.slow, pytest.mark.timeout(600)])],
    ids=["seconds", "minutes"],
)
def lasts_s(request: pytest.FixtureRequest) -> float:
    """How long the fault lasts."""
    return float(request.param)


@pytest.fixture(scope="module")
def harmed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harmed]:
    """Two proxies, two readers and a writer, each pair joined by a link; every test heals it."""
    settings = ("cluster.routing=rendezvous", "writer.flush_age_s=4")
    with FaultyCluster(tmp_path_factory.mktemp("parts"), *settings) as cluster:
        for source in ("proxy-1", "proxy-2"):
            cluster.link(source, "writer-1")
            for reader in ("reader-1", "reader-2"):
                cluster.link(source, reader)
        for reader in ("reader-1", "reader-2"):
            cluster.link(reader, "writer-1")
        cluster.add_all(writers=1, readers=2, proxies=2)
        workload = Workload(cluster.uris, timeout_s=8.0)
        workload.create()
        with LogWatch(cluster.data) as log:
            yield cluster, workload, log
        unused = [name for name, link in cluster.network.links.items() if not link.accepted]
        assert not unused, "links that nobody used"


def suffer(
    harmed: Harmed, what: str, harm: Callable[[], None], seconds: float
) -> tuple[float, float]:
    """Let the clients work before, during and after a fault; when it began and ended."""
    cluster, workload, log = harmed
    with workload.running(3, pause_s=0.02 if seconds < LONG_S else 0.2):
        workload.go_on()
        workload.note(what)
        began = time.time()
        harm()
        time.sleep(seconds)  # how long the fault lasts, not a wait for anything
        cluster.heal()
        ended = time.time()
        workload.note("healed")
        workload.go_on(patience_s=RECOVERS_S + workload.timeout_s)
    cluster.agree(RECOVERS_S)
    workload.check(log.durable())
    assert not log.changed
    return began, ended


def test_a_proxy_without_one_reader_asks_the_other(harmed: Harmed, lasts_s: float) -> None:
    """R8: proxy-1 and reader-1."""
    cluster, workload, _ = harmed
    began, _ = suffer(harmed, "cut", cluster.link("proxy-1", "reader-1").cut, lasts_s)
    assert not workload.failed(*READS, *WRITES, since_s=began)


def test_a_proxy_without_readers_says_so_and_the_other_serves(
    harmed: Harmed, lasts_s: float
) -> None:
    """R8: proxy-1 and all readers: an error or a whole answer, never an empty one."""
    cluster, workload, _ = harmed

    def harm() -> None:
        for reader in ("reader-1", "reader-2"):
            cluster.link("proxy-1", reader).cut()

    began, _ = suffer(harmed, "cut", harm, lasts_s)
    other = [o for o in workload.calls(*READS, since_s=began) if o.endpoint == cluster.uris[1]]
    assert other
    assert all(o.outcome == "ok" for o in other)


def test_a_proxy_without_the_writer_reads_on(harmed: Harmed, lasts_s: float) -> None:
    """R8: proxy-1 and the writer: its writes fail or wait, reads of every level go on."""
    cluster, workload, _ = harmed
    began, ended = suffer(harmed, "cut", cluster.link("proxy-1", "writer-1").cut, lasts_s)
    assert not workload.failed(*READS, since_s=began)
    written = [
        o
        for o in workload.calls(*WRITES, since_s=began)
        if o.endpoint == cluster.uris[0]
        and o.outcome == "ok"
        and o.end_s < ended - 0.5
        and o.start_s > began + 0.5
    ]
    assert not written, "acknowledged through a link that was cut"


def test_readers_without_the_writer_read_the_log_on_storage(harmed: Harmed, lasts_s: float) -> None:
    """R8: both readers and the writer."""
    cluster, workload, _ = harmed

    def harm() -> None:
        for reader in ("reader-1", "reader-2"):
            cluster.link(reader, "writer-1").cut()

    began, _ = suffer(harmed, "cut", harm, lasts_s)
    assert not workload.failed(*READS, *WRITES, since_s=began)


@pytest.mark.parametrize("how", ["fails", "stalls"])
def test_a_reader_without_storage_serves_what_it_has(
    harmed: Harmed, how: str, lasts_s: float
) -> None:
    """R8: reader-1 and storage."""
    cluster, workload, _ = harmed
    fault = cluster.faults("reader-1")
    began, _ = suffer(harmed, f"storage {how}", lambda: fault.set(storage=how), lasts_s)
    assert not workload.failed(*READS, *WRITES, since_s=began)


@pytest.mark.parametrize("how", ["fails", "stalls"])
def test_a_writer_without_storage_acknowledges_nothing(
    harmed: Harmed, how: str, lasts_s: float
) -> None:
    """R8 and R13: writer-1 and storage: writes are refused or wait, reads go on."""
    cluster, workload, _ = harmed
    fault = cluster.faults("writer-1")
    began, ended = suffer(harmed, f"storage {how}", lambda: fault.set(storage=how), lasts_s)
    assert not workload.failed(*READS, since_s=began)
    written = [
        o
        for o in workload.calls(*WRITES, since_s=began + 0.2)
        if o.outcome == "ok" and o.end_s < ended - 0.2
    ]
    assert not written, "acknowledged without storage"
    again = min(o.end_s for o in workload.calls(*WRITES, since_s=began) if o.end_s > ended)
    assert again - ended < RECOVERS_S


@pytest.mark.parametrize("how", ["fails", "stalls"])
def test_a_writer_without_metadata_goes_on_writing(
    harmed: Harmed, how: str, lasts_s: float
) -> None:
    """R8 and R11: writer-1 and the metadata store: DDL is refused, all else goes on."""
    cluster, workload, _ = harmed
    fault = cluster.faults("writer-1")

    def harm() -> None:
        fault.set(metadata=how)
        with connected(cluster.uri) as client:
            # A store that stalls lets the call end with its deadline, one that fails says so.
            refusal = MilvusException if how == "fails" else grpc.RpcError
            with pytest.raises(refusal) as caught:
                client.create_database("late", timeout=2)
        if isinstance(caught.value, MilvusException):
            assert caught.value.code == 2, "the code of what can be retried"

    began, _ = suffer(harmed, f"metadata {how}", harm, lasts_s)
    assert not workload.failed(*READS, *WRITES, since_s=began)
    with connected(cluster.uri) as client:
        client.create_database(f"after_{how}")
        client.drop_database(f"after_{how}")
