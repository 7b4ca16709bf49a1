"""A log that is trimmed under load: readers that were away and new leaders lose nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from mishards.testing.faulty_cluster import FaultyCluster
from mishards.testing.local_cluster import wait_for
from mishards.testing.log_watch import LogWatch
from mishards.testing.recorded import Workload

READS = ("search", "query", "count")
WRITES = ("insert", "upsert", "delete")

Trimmed = tuple[FaultyCluster, Workload, LogWatch]


@pytest.fixture(scope="module")
def trimmed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trimmed]:
    """Two writers, two readers and a proxy, whose log is trimmed as soon as that can be."""
    settings = (
        "cluster.routing=rendezvous",
        "writer.flush_age_s=1",
        "writer.flush_check_s=0.2",
        "writer.token_window_s=3",
        "writer.log_keep_entries=8",
        "writer.collect_interval_s=0.4",
    )
    with FaultyCluster(tmp_path_factory.mktemp("trimmed"), *settings) as cluster:
        for writer in ("writer-1", "writer-2"):
            cluster.link("reader-2", writer)
        cluster.add_all(writers=2, readers=2, proxies=1)
        workload = Workload(cluster.uris, timeout_s=10.0)
        workload.create()
        with LogWatch(cluster.data) as log:
            yield cluster, workload, log


def entries(cluster: FaultyCluster) -> list[int]:
    """The numbers of the entries on storage."""
    names = [path.name for path in (cluster.data / "log" / "0").iterdir()]
    return sorted(int(name) for name in names if name.isdecimal())


def is_trimmed_beyond(cluster: FaultyCluster, seq: int) -> bool:
    held = entries(cluster)
    return seq + 1 not in held and held[-1] > seq


def stop_following(cluster: FaultyCluster, reader: str) -> None:
    """Break the streams of a reader, so that its sockets hold nothing to go on with later."""
    for writer in cluster.named("writer"):
        link = cluster.link(reader, writer)
        link.cut()
        link.reset()


def test_a_reader_that_slept_through_trimming_goes_on_from_what_is_sealed(
    trimmed: Trimmed,
) -> None:
    cluster, workload, log = trimmed
    with workload.running(3):
        workload.go_on()
        workload.note("reader-2 is cut off from the leader and stands still")
        stop_following(cluster, "reader-2")
        cluster.freeze("reader-2")
        last = entries(cluster)[-1]
        wait_for(lambda: is_trimmed_beyond(cluster, last), "its position is trimmed", 30.0)
        cluster.heal()
        workload.note("reader-2 goes on")
        wait_for(lambda: "was trimmed" in cluster["reader-2"].output(), "it begins again", 20.0)
        workload.go_on()
        began_s = time.time()
        workload.note("reader-1 stands still")
        cluster.freeze("reader-1")
        workload.go_on()
        cluster.heal()
    assert not workload.failed(*READS, *WRITES, since_s=began_s)
    cluster.agree()
    workload.check(log.durable())
    assert not log.changed
    assert cluster["reader-2"].exit_code is None


def test_a_killed_leader_is_followed_though_the_log_is_trimmed(trimmed: Trimmed) -> None:
    cluster, workload, log = trimmed
    began_s = time.time()
    with workload.running(3):
        workload.go_on()
        last = entries(cluster)[-1]
        wait_for(lambda: is_trimmed_beyond(cluster, last), "the log is trimmed", 30.0)
        leader = cluster.leader()
        workload.note(f"kill -9 {leader}")
        cluster[leader].kill()
        workload.go_on()
        cluster.restart(leader).wait_ready()
    assert not workload.failed(*READS, *WRITES, since_s=began_s)
    workload.check(log.durable())
    assert not log.changed
    assert len(entries(cluster)) < len(log.durable()) / 2
