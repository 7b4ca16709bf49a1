"""Several writers as processes: planned handovers, and the end of a leader, while clients write."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from pymilvus import DataType, MilvusClient

from mishards.testing.local_cluster import LocalCluster, LocalProcess, wait_for

PAUSE_S = 0.2
"""What a planned handover may cost writes."""


class Writing:
    """A client that inserts one row after another, and notes when each was acknowledged."""

    def __init__(self, uri: str) -> None:
        self.acknowledged: list[tuple[int, float]] = []
        self.error: Exception | None = None
        self._uri = uri
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        client = MilvusClient(self._uri)
        key = 0
        try:
            while not self._stop.is_set():
                key += 1
                client.insert("c", [{"id": key, "v": [float(key), 0.0]}])
                self.acknowledged.append((key, time.monotonic()))
        except Exception as error:  # shown by the test
            self.error = error
        finally:
            client.close()

    def longest_pause_s(self, since_s: float) -> float:
        times = [at for _, at in self.acknowledged if at >= since_s - 1.0]
        return max(later - sooner for sooner, later in pairwise(times))

    def wait_for_more(self, count: int = 20) -> None:
        wanted = len(self.acknowledged) + count
        wait_for(lambda: self.error or len(self.acknowledged) >= wanted, "acknowledged inserts")
        assert self.error is None

    def __enter__(self) -> Writing:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)


@contextmanager
def cluster_of_writers(folder: Path) -> Iterator[tuple[LocalCluster, list[LocalProcess]]]:
    """The cluster, and its two writers: the first leads."""
    with LocalCluster(folder) as cluster:
        first = cluster.start("writer", name="writer-1")
        first.wait_ready()
        others = [cluster.start("writer", name="writer-2")]
        others += [cluster.start("reader"), cluster.start("proxy")]
        for process in others:
            process.wait_ready()
        client = MilvusClient(cluster.uri)
        schema = client.create_schema()
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("v", DataType.FLOAT_VECTOR, dim=2)
        index = client.prepare_index_params("v", metric_type="L2")
        client.create_collection("c", schema=schema, index_params=index)
        client.close()
        yield cluster, [first, others[0]]


def leader(cluster: LocalCluster) -> str:
    found = [node.id for node in cluster.report().nodes if node.leads]
    return found[0] if len(found) == 1 else ""


def rows(cluster: LocalCluster) -> int:
    client = MilvusClient(cluster.uri)
    try:
        found = client.query("c", output_fields=["count(*)"], consistency_level="Strong")
        return int(found[0]["count(*)"])
    finally:
        client.close()


def test_a_handover_costs_writes_a_blink_and_loses_none(tmp_path: Path) -> None:
    with cluster_of_writers(tmp_path) as (cluster, _), Writing(cluster.uri) as writing:
        writing.wait_for_more()
        pauses = []
        for _ in range(3):
            before, began_s = leader(cluster), time.monotonic()
            code, output, errors = cluster.run("handover", "--data", str(cluster.data))
            assert code == 0, errors
            assert "leads log 0" in output
            assert leader(cluster) not in (before, "")
            writing.wait_for_more()
            pauses.append(writing.longest_pause_s(began_s))
        assert min(pauses) < PAUSE_S, pauses
        writing.__exit__()
        assert writing.error is None
        assert rows(cluster) == len(writing.acknowledged)


def test_a_leader_that_is_told_to_end_hands_over_first(tmp_path: Path) -> None:
    with cluster_of_writers(tmp_path) as (cluster, writers), Writing(cluster.uri) as writing:
        writing.wait_for_more()
        leading, standing = writers
        began_s = time.monotonic()
        assert leading.stop() == 0
        writing.wait_for_more()
        assert leader(cluster) == standing.name
        assert writing.longest_pause_s(began_s) < 5 * PAUSE_S
        writing.__exit__()
        assert writing.error is None
        assert rows(cluster) == len(writing.acknowledged)


def test_a_handover_without_a_standby_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    with LocalCluster(tmp_path) as cluster:
        cluster.start("writer").wait_ready()
        before = leader(cluster)
        code, _, errors = cluster.run("handover", "--data", str(cluster.data))
        assert code == 1
        assert "no standby" in errors
        assert leader(cluster) == before


@pytest.mark.parametrize("second", ["up", "writer"])
def test_a_complete_instance_and_other_writers_keep_out_of_each_other_s_folder(
    tmp_path: Path, second: str
) -> None:
    with LocalCluster(tmp_path) as cluster:
        cluster.start("up" if second == "writer" else "writer").wait_ready()
        code, _, errors = cluster.run(second, "--data", str(cluster.data))
        assert code == 1
        assert "is in use by process" in errors
