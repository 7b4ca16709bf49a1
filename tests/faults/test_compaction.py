"""Compaction and garbage collection without a pause, under readers that are slow, leaders that are
killed, and deletes: no read fails, no deleted key comes back.

R19 and R20 of the reliability plan.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mishards.testing.faulty_cluster import FaultyCluster
from mishards.testing.local_cluster import wait_for
from mishards.testing.log_watch import LogWatch
from mishards.testing.recorded import Workload

READS = ("search", "query", "count")
WRITES = ("insert", "upsert", "delete")
BUSY = (
    "cluster.routing=rendezvous",
    "writer.flush_age_s=0.3",
    "writer.flush_check_s=0.1",
    "writer.compaction_share=1.0",
    "writer.compaction_check_s=0.05",
    "writer.compaction_fan=2",
    "writer.delete_files_max=2",
    "writer.collect_interval_s=0.3",
    "writer.collect_grace_s=0.3",
)

Watched = tuple[FaultyCluster, Workload, LogWatch]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Two writers, two readers and a proxy; every test leaves all of them running."""
    with FaultyCluster(tmp_path_factory.mktemp("compaction"), *BUSY) as cluster:
        cluster.add_all(writers=2, readers=2, proxies=1)
        workload = Workload(cluster.uris, timeout_s=10.0)
        workload.create()
        with LogWatch(cluster.data) as log:
            yield cluster, workload, log


def compactions(cluster: FaultyCluster) -> int:
    """How many the writers have told of."""
    return sum(
        Path(cluster[name].log).read_text(errors="replace").count("compacted ")
        for name in cluster.named("writer")
    )


def await_compactions(watched: Watched, more: int = 2) -> None:
    cluster, workload, _ = watched
    target = compactions(cluster) + more
    wait_for(lambda: compactions(cluster) >= target, "segments are compacted", 80.0)
    workload.go_on()


def test_a_slow_reader_finishes_while_segments_are_compacted_and_removed(watched: Watched) -> None:
    """R19: reads planned on older metadata reach one reader late, and it hears of what is new
    late."""
    cluster, workload, log = watched
    began_s = time.time()
    with workload.running(3, searchers=1):
        workload.go_on()
        for link in cluster.links(["reader-1"], ["proxy-1", *cluster.named("writer")]):
            link.there.delay_s, link.there.jitter_s = 0.3, 0.2
        try:
            await_compactions(watched)
        finally:
            cluster.heal()
        workload.go_on()
    failed = workload.failed(*READS, *WRITES, since_s=began_s)
    assert not failed, failed
    workload.check(log.durable())


def test_no_deleted_row_comes_back_over_compactions_and_takeovers(watched: Watched) -> None:
    """R20, the short form."""
    kill_leaders(watched, rounds=1)


@pytest.mark.slow
def test_no_deleted_row_comes_back_over_many_takeovers(watched: Watched) -> None:
    """R20."""
    kill_leaders(watched, rounds=10)


def kill_leaders(watched: Watched, rounds: int) -> None:
    """Kill whoever leads and compacts, again and again."""
    cluster, workload, log = watched
    began_s = time.time()
    with workload.running(4, searchers=1):
        await_compactions(watched)
        for _ in range(rounds):
            leader = cluster.leader()
            workload.note(f"kill -9 {leader}")
            cluster[leader].kill()
            workload.go_on()
            cluster.restart(leader).wait_ready()
            await_compactions(watched)
    failed = workload.failed(*READS, *WRITES, since_s=began_s)
    assert not failed, failed
    workload.check(log.durable())
    assert not log.changed
