"""Proxies that are restarted one by one under clients that know all of them: no call fails.

R7 of the reliability plan. A client goes to the next proxy where one is away, as clients behind a
load balancer do; a proxy that is told to stop finishes what it has taken. One kind of call may end
without an answer: an insert that gRPC gave to a connection in the instant in which that was closed.
It is the client's to ask for, as doing it again might do it twice.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from mishards.testing.faulty_cluster import FaultyCluster
from mishards.testing.log_watch import LogWatch
from mishards.testing.recorded import Workload

ANY_TIMES = ("search", "query", "count", "upsert", "delete")

Served = tuple[FaultyCluster, Workload, LogWatch]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Two proxies before a writer and a reader; every test leaves all of them running."""
    with FaultyCluster(tmp_path_factory.mktemp("proxies")) as cluster:
        cluster.add_all(writers=1, readers=1, proxies=2)
        workload = Workload(cluster.uris, timeout_s=15.0)
        workload.create()
        with LogWatch(cluster.data) as log:
            yield cluster, workload, log


def test_no_call_fails_while_proxies_are_restarted_one_by_one(served: Served) -> None:
    """R7, the short form."""
    restart_proxies(served, rounds=1)


@pytest.mark.slow
def test_no_call_fails_while_proxies_are_restarted_again_and_again(served: Served) -> None:
    """R7."""
    restart_proxies(served, rounds=8)


def restart_proxies(served: Served, rounds: int) -> None:
    """Let each proxy stop and start, the other one serving."""
    cluster, workload, log = served
    began_s = time.time()
    with workload.running(4, searchers=1):
        workload.go_on()
        for _ in range(rounds):
            for name in cluster.named("proxy"):
                workload.note(f"SIGTERM {name}")
                assert cluster[name].stop() == 0
                workload.go_on()
                cluster.restart(name).wait_ready()
                workload.note(f"{name} serves")
                workload.go_on()
    failed = workload.failed(*ANY_TIMES, since_s=began_s)
    failed += workload.failed("insert", since_s=began_s, answered=True)
    assert not failed, failed
    workload.check(log.durable())


@pytest.mark.slow
def test_what_a_killed_proxy_has_not_answered_is_done_once_or_not_at_all(served: Served) -> None:
    """kill -9: reads, upserts and deletes succeed at the other proxy; an insert whose answer was
    lost is the client's to ask for, and the log holds it once at most."""
    cluster, workload, log = served
    began_s = time.time()
    with workload.running(4, searchers=1):
        workload.go_on()
        for name in cluster.named("proxy") * 4:
            workload.note(f"kill -9 {name}")
            cluster[name].kill()
            workload.go_on()
            cluster.restart(name).wait_ready()
            workload.go_on()
    failed = workload.failed(*ANY_TIMES, since_s=began_s)
    assert not failed, failed
    workload.check(log.durable())
