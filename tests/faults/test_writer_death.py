"""The writer killed at any moment: what was acknowledged is there, once; searches go on."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from pymilvus import MilvusClient, MilvusException

from mishards.testing.client_rows import (
    connected,
    contents,
    count,
    create,
    insert,
    nearest,
    query_of,
    row,
    true_nearest,
    vector_of,
)
from mishards.testing.local_cluster import LocalCluster, LocalProcess, wait_for

LEVELS = ("Strong", "Session", "Bounded", "Eventually")


class Mutations:
    """Inserts, upserts and deletes without a pause; `expected` is what was acknowledged.

    One thread does one after the other, so that the order of the acknowledgements is the order
    of the mutations. Its client retries by itself, as clients do.
    """

    def __init__(self, uri: str, name: str, first: int = 0) -> None:
        self.expected: dict[int, int] = {}
        self.done = 0
        self.error: Exception | None = None
        self._uri = uri
        self._name = name
        self._next = first
        self._stop = threading.Event()
        self._random = random.Random(first)
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with connected(self._uri) as client:
            while not self._stop.is_set():
                try:
                    self._mutate(client)
                except Exception as error:
                    self.error = error
                    return
                self.done += 1

    def _mutate(self, client: MilvusClient) -> None:
        kind = self._random.random()
        known = self._random.sample(sorted(self.expected), min(5, len(self.expected)))
        if kind < 0.6 or len(known) < 5:
            keys = range(self._next, self._next + 10)
            self._next += 10
            insert(client, self._name, keys)
            self.expected |= dict.fromkeys(keys, 0)
        elif kind < 0.85:
            rows = [row(key, self.expected[key] + 1) for key in known]
            client.upsert(self._name, rows)
            self.expected |= {found["id"]: found["generation"] for found in rows}
        else:
            client.delete(self._name, ids=known)
            for key in known:
                del self.expected[key]

    def go_on(self, more: int = 20) -> None:
        """Wait until further mutations were acknowledged."""
        target = self.done + more
        wait_for(lambda: self.done >= target or self.error, "mutations are acknowledged")

    @contextmanager
    def running(self) -> Iterator[None]:
        self._thread.start()
        try:
            self.go_on()
            yield
            self.go_on()
        finally:
            self._stop.set()
            self._thread.join()
        if self.error is not None:
            raise self.error


@pytest.fixture(scope="module")
def pair(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[LocalCluster, dict[str, LocalProcess], MilvusClient]]:
    """A writer, two readers, a proxy; each test leaves them alive."""
    folder = tmp_path_factory.mktemp("writer")
    with LocalCluster(folder, "writer.build_min_rows=100") as cluster:
        processes = cluster.start_all(readers=2)
        with connected(cluster.uri) as client:
            yield cluster, processes, client


Pair = tuple[LocalCluster, dict[str, LocalProcess], MilvusClient]


def restart_writer(pair: Pair) -> None:
    cluster, processes, _ = pair
    processes["writer"].kill()
    processes["writer"] = cluster.start("writer", name="writer").wait_ready()


def test_what_was_acknowledged_is_there_once_after_the_writer_was_killed(pair: Pair) -> None:
    _, _, client = pair
    create(client, "kept")
    work = Mutations(pair[0].uri, "kept")
    with work.running():
        for _ in range(3):
            restart_writer(pair)
            work.go_on()
    assert contents(client, "kept") == work.expected
    client.flush("kept")
    assert contents(client, "kept") == work.expected
    restart_writer(pair)
    assert contents(client, "kept") == work.expected
    some = next(iter(work.expected))
    assert nearest(client, "kept", vector_of(some, work.expected[some]), limit=1) == [some]


def test_a_kill_amid_flushes_and_builds_loses_nothing(pair: Pair) -> None:
    kill_amid_flushes(pair, "flushed", rounds=4)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_many_kills_amid_flushes_and_builds_lose_nothing(pair: Pair, seed: int) -> None:
    kill_amid_flushes(pair, f"flushed_{seed}", rounds=15, seed=seed)


def kill_amid_flushes(pair: Pair, name: str, rounds: int, seed: int = 1) -> None:
    """Kill the writer at random moments after a flush was asked for."""
    cluster, _, client = pair
    chance = random.Random(seed)
    create(client, name, "HNSW")
    expected: dict[int, int] = {}
    for number in range(rounds):
        keys = range(number * 150, (number + 1) * 150)
        insert(client, name, keys)
        expected |= dict.fromkeys(keys, 0)
        gone = chance.sample(sorted(expected), 20)
        client.delete(name, ids=gone)
        for key in gone:
            del expected[key]
        flush = threading.Thread(target=_flush, args=(cluster.uri, name))
        flush.start()
        time.sleep(chance.uniform(0, 0.4))  # the random moment, not a wait for anything
        restart_writer(pair)
        assert contents(client, name) == expected, f"round {number} of seed {seed}"
        flush.join()
    wait_for(lambda: not client.describe_index(name, "vector")["pending_index_rows"], "the indexes")
    assert contents(client, name) == expected
    found = next(c for c in cluster.report().collections if c.name == name)
    assert found.rows_growing + found.rows_sealed >= len(expected)
    left = sorted(expected)
    for query in (query_of(1), query_of(2)):
        assert nearest(client, name, query) == true_nearest(left, query)
    assert_no_orphans(cluster)


def _flush(uri: str, name: str) -> None:
    with connected(uri) as client:
        client.flush(name, timeout=30)


def assert_no_orphans(cluster: LocalCluster) -> None:
    """What metadata names exists on storage."""
    for collection in cluster.report().collections:
        for segment in collection.segments:
            folders = list(Path(cluster.data, "segments").glob(f"*/{segment.id}"))
            assert len(folders) == 1, f"segment {segment.id} has no folder"


def test_reads_of_every_level_go_on_without_a_writer(pair: Pair) -> None:
    cluster, processes, client = pair
    create(client, "read")
    insert(client, "read", range(50))
    client.flush("read")
    insert(client, "read", range(50, 80))
    client.delete("read", ids=[0, 60])
    left = [key for key in range(80) if key not in (0, 60)]
    nearest(client, "read", query_of(0))
    processes["writer"].kill()
    try:
        began = time.monotonic()
        for level in LEVELS:
            for number in range(5):
                query = query_of(number)
                found = nearest(client, "read", query, consistency_level=level, timeout=10)
                assert found == true_nearest(left, query), level
            assert client.get("read", ids=[5, 60, 70], output_fields=["id"]) == [
                {"id": 5},
                {"id": 70},
            ]
        assert count(client, "read") == len(left)
        took = time.monotonic() - began
        assert took < 10, f"reads without a writer took {took:.1f} s"
        with connected(cluster.uri) as late:
            assert nearest(late, "read", query_of(3)) == true_nearest(left, query_of(3))
        for refused in (
            lambda: client.insert("read", [row(1000)], timeout=1),
            lambda: client.create_partition("read", "late", timeout=1),
        ):
            began = time.monotonic()
            with pytest.raises((MilvusException, grpc.RpcError)):
                refused()
            assert time.monotonic() - began < 5
    finally:
        processes["writer"] = cluster.start("writer", name="writer").wait_ready()
    insert(client, "read", range(200, 210))
    assert count(client, "read") in (len(left) + 10, len(left) + 11)


def test_a_reader_that_starts_without_a_writer_serves_everything(pair: Pair) -> None:
    cluster, processes, client = pair
    create(client, "alone")
    insert(client, "alone", range(40))
    client.flush("alone")
    insert(client, "alone", range(40, 60))
    processes["writer"].kill()
    try:
        for name in ("reader-1", "reader-2"):
            processes[name].kill()
        processes["reader-1"] = cluster.start("reader", name="reader-1").wait_ready()
        wait_for(lambda: _served(client, "alone", 60), "everything is found")
    finally:
        processes["writer"] = cluster.start("writer", name="writer")
        processes["reader-2"] = cluster.start("reader", name="reader-2")
        processes["writer"].wait_ready()
        processes["reader-2"].wait_ready()
    assert contents(client, "alone") == dict.fromkeys(range(60), 0)


def _served(client: MilvusClient, name: str, rows: int) -> bool:
    try:
        return count(client, name) == rows
    except MilvusException:
        return False
