"""A cluster whose readers have all died: how long it takes until everything is found again."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import numpy as np
import pytest
from pymilvus import DataType, MilvusClient, MilvusException

from mishards.testing.client_rows import connected, nearest
from mishards.testing.local_cluster import LocalCluster, LocalProcess, wait_for

DIM = 256
BATCH = 5_000
BATCHES = 8
MORE = 4
ROUNDS = 3


@pytest.mark.slow
def test_the_time_to_come_back_grows_no_faster_than_the_bytes(tmp_path: Path) -> None:
    """R6: four times the bytes, at most four times the time; every answer is that of before."""
    with LocalCluster(tmp_path, "cluster.routing=rendezvous") as cluster:
        processes = cluster.start_all(readers=2)
        with connected(cluster.uri) as client:
            create(client)
            fill(client, range(BATCHES))
            few_s = comes_back_s(cluster, processes, client)
            fill(client, range(BATCHES, MORE * BATCHES))
            many_s = comes_back_s(cluster, processes, client)
    assert many_s < MORE * few_s, (few_s, many_s)


def create(client: MilvusClient) -> None:
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIM)
    indexes = client.prepare_index_params()
    indexes.add_index("vector", index_type="FLAT", metric_type="L2")
    client.create_collection("rows", schema=schema, index_params=indexes)


def fill(client: MilvusClient, batches: range) -> None:
    """Sealed rows, a segment for each batch or fewer."""
    for number in batches:
        vectors = np.random.default_rng(number).standard_normal((BATCH, DIM), np.float32)
        rows = [{"id": number * BATCH + i, "vector": vectors[i]} for i in range(BATCH)]
        client.insert("rows", rows)
    client.flush("rows")


def comes_back_s(
    cluster: LocalCluster, processes: dict[str, LocalProcess], client: MilvusClient
) -> float:
    """Seconds from the start of killed readers to the right answer; the median of some rounds."""
    query = np.random.default_rng(1_000).standard_normal(DIM, np.float32)
    truth = nearest(client, "rows", query)
    took = []
    for _ in range(ROUNDS):
        readers = [name for name in processes if name.startswith("reader")]
        for name in readers:
            processes[name].kill()
        began = time.monotonic()
        for name in readers:
            processes[name] = cluster.start("reader", name=name)
        wait_for(lambda: found(client, query) == truth, "everything is found again")
        took.append(time.monotonic() - began)
    return statistics.median(took)


def found(client: MilvusClient, query: np.ndarray) -> list[int]:  # type: ignore[type-arg]
    try:
        return nearest(client, "rows", query, timeout=10)
    except MilvusException:
        return []
