"""Leaders that are killed or stand still while a standby is there: writes pause, nothing is lost.

R1 and R2 of the reliability plan, with the whole history of all clients held to the log, and with
DDL that is slow and never an error.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator

import pytest
from pymilvus import MilvusClient

from mishards.testing.client_rows import connected, create
from mishards.testing.faulty_cluster import FaultyCluster
from mishards.testing.local_cluster import wait_for
from mishards.testing.log_watch import LogWatch
from mishards.testing.recorded import Workload

READS = ("search", "query", "count")
WRITES = ("insert", "upsert", "delete")
RESUMES_S = 3.0
AT_MOST_S = 10.0
LEASE_S = 1.5

Watched = tuple[FaultyCluster, Workload, LogWatch]


class Definitions:
    """A client that makes, changes and drops collections without a pause; a context manager.

    Every statement has to succeed, and to have been done once: twice, most of them are refused.
    """

    def __init__(self, uri: str) -> None:
        self.done = 0
        self._uri = uri
        self._error: Exception | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="definitions")

    def _run(self) -> None:
        with connected(self._uri) as client:
            for number in itertools.count():
                if self._stop.is_set():
                    return
                try:
                    self._define(client, f"defined_{number}")
                except Exception as error:
                    self._error = error
                    return

    def _define(self, client: MilvusClient, name: str) -> None:
        for statement in (
            lambda: client.create_database(f"in_{name}"),
            lambda: client.drop_database(f"in_{name}"),
            lambda: create(client, name, load=False),
            lambda: client.create_alias(name, f"{name}_alias"),
            lambda: client.create_partition(name, "east"),
            lambda: client.drop_partition(name, "east"),
            lambda: client.drop_alias(f"{name}_alias"),
            lambda: client.rename_collection(name, f"{name}_renamed"),
            lambda: client.drop_collection(f"{name}_renamed"),
        ):
            statement()
            self.done += 1
        left = [one for one in client.list_collections() if one.startswith(name)]
        assert not left, left

    def __enter__(self) -> Definitions:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._error is not None:
            raise self._error


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Two writers, two readers and a proxy; every test leaves all of them running."""
    settings = ("cluster.routing=rendezvous", "writer.flush_age_s=4", f"writer.lease_s={LEASE_S}")
    with FaultyCluster(tmp_path_factory.mktemp("takeover"), *settings) as cluster:
        cluster.add_all(writers=2, readers=2, proxies=1)
        workload = Workload(cluster.uris, timeout_s=AT_MOST_S)
        workload.create()
        with LogWatch(cluster.data) as log:
            yield cluster, workload, log


def test_writes_resume_soon_after_each_kill_of_the_leader(watched: Watched) -> None:
    """R1, the short form."""
    gaps = kill_leaders(watched, rounds=3)
    assert sorted(gaps)[len(gaps) // 2] < RESUMES_S, gaps


@pytest.mark.slow
def test_writes_resume_soon_after_many_kills_of_leaders(watched: Watched) -> None:
    """R1: the 99th percentile, which of so many kills is the slowest."""
    gaps = kill_leaders(watched, rounds=30, pause_s=0.06)
    assert max(gaps) < RESUMES_S, sorted(gaps)


def kill_leaders(watched: Watched, rounds: int, pause_s: float = 0.02) -> list[float]:
    """Kill whoever leads, again and again; for how long nothing was acknowledged each time."""
    cluster, workload, log = watched
    gaps = []
    began_s = time.time()
    with workload.running(3, pause_s, searchers=1), Definitions(cluster.uri) as definitions:
        workload.go_on()
        for _ in range(rounds):
            leader = cluster.leader()
            workload.note(f"kill -9 {leader}")
            killed_s = time.time()
            cluster[leader].kill()
            workload.go_on()
            gaps.append(workload.longest_gap_s(killed_s, time.time()))
            cluster.restart(leader).wait_ready()
            workload.note(f"{leader} stands by")
            defined = definitions.done
            wait_for(
                lambda before=defined: definitions.done > before + 2, "definitions go on", AT_MOST_S
            )
            workload.go_on()
    failed = workload.failed(*READS, *WRITES, since_s=began_s)
    assert not failed, failed
    assert max(gaps) < AT_MOST_S, gaps
    workload.check(log.durable())
    assert not log.changed
    return gaps


def test_a_leader_that_stood_still_acknowledges_nothing_after_the_fence(watched: Watched) -> None:
    """R2, the short form."""
    stop_leaders(watched, rounds=1)


@pytest.mark.slow
def test_leaders_that_stand_still_again_and_again_acknowledge_nothing(watched: Watched) -> None:
    """R2, with pauses of about a lease too, where the old leader wakes amid the takeover."""
    stop_leaders(watched, rounds=8)


def stop_leaders(watched: Watched, rounds: int) -> None:
    """Let whoever leads stand still until another leads, and then go on."""
    cluster, workload, log = watched
    began_s = time.time()
    with workload.running(3, searchers=1):
        workload.go_on()
        for _ in range(rounds):
            leader = cluster.leader()
            stepped_down = times_down(cluster, leader)
            workload.note(f"SIGSTOP {leader}")
            cluster.freeze(leader)
            try:
                workload.go_on()
                wait_for(lambda old=leader: cluster.leader() != old, "another leads")
            finally:
                cluster[leader].thaw()
            workload.note(f"SIGCONT {leader}")
            workload.go_on()
            wait_for(
                lambda old=leader, so_far=stepped_down: times_down(cluster, old) > so_far,
                "the old one steps down",
            )
    failed = workload.failed(*READS, *WRITES, since_s=began_s)
    assert not failed, failed
    workload.check(log.durable())
    assert not log.changed


def times_down(cluster: FaultyCluster, name: str) -> int:
    """How often a node has said so far that it leads no longer."""
    return cluster[name].output().count("steps down")
