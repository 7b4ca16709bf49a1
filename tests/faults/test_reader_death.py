"""Readers that die, all die, or stand still: searches go on and their answers stay the same."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from pymilvus import MilvusClient, MilvusException

from mishards.testing.client_rows import connected, create, insert, nearest, query_of, true_nearest
from mishards.testing.local_cluster import LocalCluster, LocalProcess, free_port, wait_for

SEGMENTS = 9
ROWS = 60
KEYS = list(range(SEGMENTS * ROWS + 20))
QUERIES = [query_of(number) for number in range(10)]
TRUTH = [true_nearest(KEYS, query) for query in QUERIES]
TAKE_OVER_S = 2.0
SLOWER = 3.0

Cluster = tuple[LocalCluster, dict[str, LocalProcess], MilvusClient]


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three readers with sealed and growing rows; each test leaves as many readers as it found."""
    # Bounded loads: by consistent hashing one of the readers may well get none of few segments.
    # Nor may compaction make one segment of them all.
    settings = (
        "proxy.no_reader_wait_s=0.5",
        "cluster.routing=rendezvous",
        "writer.compaction_share=0",
    )
    with LocalCluster(tmp_path_factory.mktemp("readers"), *settings) as cluster:
        processes = cluster.start_all(readers=3)
        with connected(cluster.uri) as client:
            create(client, "rows")
            for number in range(SEGMENTS):
                insert(client, "rows", KEYS[number * ROWS : (number + 1) * ROWS])
                client.flush("rows")
            insert(client, "rows", KEYS[SEGMENTS * ROWS :])
            yield cluster, processes, client


def spread(cluster: LocalCluster, readers: set[str]) -> bool:
    """Whether every reader serves, and has segments that a search needs."""
    nodes = cluster.nodes()
    served = cluster.serving("rows")
    return all(
        name in nodes and nodes[name].ready and any(name in segment for segment in served)
        for name in readers
    )


@contextmanager
def searching(uri: str) -> Iterator[Callable[[], list[float]]]:
    """Searches without a pause, each checked; what is yielded gives the seconds each took."""
    took: list[float] = []
    failures: list[BaseException | str] = []
    stop = threading.Event()

    def search() -> None:
        with connected(uri) as client:
            while not stop.is_set():
                number = len(took) % len(QUERIES)
                began = time.monotonic()
                try:
                    found = nearest(client, "rows", QUERIES[number], timeout=20)
                except Exception as error:
                    failures.append(error)
                    return
                took.append(time.monotonic() - began)
                if found != TRUTH[number]:
                    failures.append(f"query {number} found {found}, not {TRUTH[number]}")

    thread = threading.Thread(target=search)
    thread.start()
    try:
        wait_for(lambda: len(took) > 100 or failures, "searches are running")
        yield lambda: list(took)
        before = len(took)
        wait_for(lambda: len(took) > before + 50 or failures, "searches go on")
    finally:
        stop.set()
        thread.join()
    assert not failures, failures[0]


def test_no_search_fails_when_a_reader_is_killed(three: Cluster) -> None:
    """R5: the only reader of some segments; every answer on the way is whole."""
    cluster, processes, _ = three
    wait_for(lambda: spread(cluster, {"reader-1", "reader-2", "reader-3"}), "all readers serve")
    with searching(cluster.uri) as took:
        before = len(took())
        processes["reader-2"].kill()
        wait_for(
            lambda: all(s & {"reader-1", "reader-3"} for s in cluster.serving("rows")),
            "the others took over",
            TAKE_OVER_S,
        )
        wait_for(lambda: len(took()) > before + 200, "searches go on")
        assert max(took()[before:]) < TAKE_OVER_S
        processes["reader-2"] = cluster.start("reader", name="reader-2").wait_ready()
        wait_for(lambda: spread(cluster, {"reader-1", "reader-2", "reader-3"}), "it is back")


def test_searches_outlive_a_reader_that_stands_still(three: Cluster) -> None:
    cluster, processes, _ = three
    wait_for(lambda: spread(cluster, {"reader-1", "reader-2", "reader-3"}), "all readers serve")
    with searching(cluster.uri) as took:
        before = len(took())
        processes["reader-1"].freeze()
        try:
            wait_for(lambda: len(took()) > before + 300, "searches go on")
        finally:
            processes["reader-1"].thaw()
        slowest = max(took()[before:])
        assert slowest < 5, f"a search took {slowest:.1f} s"
    wait_for(lambda: spread(cluster, {"reader-1", "reader-2", "reader-3"}), "it is back")


def test_with_two_replicas_searches_hardly_notice_that_readers_are_killed(three: Cluster) -> None:
    """R4, the short form."""
    kill_readers(three, rounds=3)


@pytest.mark.slow
def test_with_two_replicas_searches_hardly_notice_many_kills_of_readers(three: Cluster) -> None:
    """R4."""
    kill_readers(three, rounds=15)


def kill_readers(three: Cluster, rounds: int) -> None:
    """Kill one reader after the other, with a copy of each segment at two of them.

    The calm that this is compared with is one in which as many processes start and die, though
    none that is searched: on one machine that alone costs time.
    """
    cluster, processes, client = three
    names = ["reader-1", "reader-2", "reader-3"]
    loaded(client, replicas=2)
    try:
        wait_for(lambda: min(copies(cluster)) >= 2, "two readers have each segment")
        with searching(cluster.uri) as took:
            began = len(took())
            for _ in range(rounds):
                spare = cluster.start("proxy", "--port", str(free_port())).wait_ready()
                more(took)
                spare.kill()
            calm = took()[began:]
            began = len(took())
            for number in range(rounds):
                name = names[number % len(names)]
                processes[name].kill()
                more(took)
                processes[name] = cluster.start("reader", name=name).wait_ready()
                wait_for(lambda: min(copies(cluster)) >= 2, "two readers have each segment again")
            harmed = took()[began:]
    finally:
        loaded(client, replicas=1)
    assert p99(harmed) < SLOWER * p99(calm), (p99(harmed), p99(calm))


def loaded(client: MilvusClient, replicas: int) -> None:
    client.release_collection("rows")
    client.load_collection("rows", replica_number=replicas)


def copies(cluster: LocalCluster) -> set[int]:
    """At how many live readers the segments are open."""
    return {len(readers) for readers in cluster.serving("rows")}


def more(took: Callable[[], list[float]], count: int = 150) -> None:
    target = len(took()) + count
    wait_for(lambda: len(took()) >= target, "searches go on")


def p99(seconds: list[float]) -> float:
    return sorted(seconds)[int(0.99 * len(seconds))]


def test_after_the_death_of_all_readers_everything_is_found_again(three: Cluster) -> None:
    """R6: an error meanwhile, never an empty success; then everything."""
    cluster, processes, client = three
    names = [name for name in processes if name.startswith("reader")]
    for name in names:
        processes[name].kill()
    with pytest.raises(MilvusException) as caught:
        nearest(client, "rows", QUERIES[0], timeout=10)
    assert caught.value.code in (2, 401), caught.value
    for name in names:
        processes[name] = cluster.start("reader", name=name)
    for name in names:
        processes[name].wait_ready()

    def served() -> bool:
        try:
            return nearest(client, "rows", QUERIES[0], timeout=10) == TRUTH[0]
        except MilvusException:
            return False

    wait_for(served, "searches succeed again")
    for query, truth in zip(QUERIES, TRUTH, strict=True):
        assert nearest(client, "rows", query) == truth
