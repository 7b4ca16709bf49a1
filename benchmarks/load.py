"""Filling a collection and loading a server with searches, through pymilvus in other processes."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pymilvus import DataType, MilvusClient

from benchmarks.datasets import Dataset, K, recall
from benchmarks.servers import wait_until

COLLECTION = "bench"
INSERT_ROWS = 5_000


class Rate(NamedTuple):
    """Searches per second over all clients, and latencies in milliseconds."""

    clients: int
    per_second: float
    p50_ms: float
    p99_ms: float


def fill(uri: str, data: Dataset, *, index: dict[str, Any], batch: int = INSERT_ROWS) -> float:
    """Create, insert, flush, index, load; gives rows per second of the acknowledged inserts."""
    client = MilvusClient(uri)
    schema = client.create_schema(auto_id=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    if data.months is not None:
        schema.add_field("month", DataType.VARCHAR, max_length=7)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=data.vectors.shape[1])
    client.create_collection(COLLECTION, schema=schema)
    rows = [{"id": i, "vector": vector} for i, vector in enumerate(data.vectors)]
    if data.months is not None:
        for row, month in zip(rows, data.months, strict=True):
            row["month"] = month
    start = time.perf_counter()
    for first in range(0, len(rows), batch):
        client.insert(COLLECTION, rows[first : first + batch])
    seconds = time.perf_counter() - start
    client.flush(COLLECTION)
    wanted = client.prepare_index_params()
    wanted.add_index("vector", metric_type=data.metric, **index)
    client.create_index(COLLECTION, wanted)
    wait_until(lambda: _built(client), "the index was not built", 600)
    client.load_collection(COLLECTION)
    client.close()
    return len(rows) / seconds


def _built(client: MilvusClient) -> bool:
    state = client.describe_index(COLLECTION, "vector")
    return int(state.get("pending_index_rows", 0)) == 0 and state.get("state") != "InProgress"


def measure_recall(uri: str, data: Dataset, ef: int, filter: str = "") -> float:
    """Of single searches, one per query."""
    client = MilvusClient(uri)
    found = [
        [hit["id"] for hit in _search(client, data, vector[None, :], ef, filter)[0]]
        for vector in data.queries
    ]
    client.close()
    truth = data.filtered_truth if filter else data.truth
    assert truth is not None
    return recall(found, truth)


def measure_batch(uri: str, data: Dataset, ef: int, repeats: int = 5) -> float:
    """Queries per second of all queries in one call: the median of several."""
    client = MilvusClient(uri)
    rates = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        _search(client, data, data.queries, ef, "")
        rates.append(len(data.queries) / (time.perf_counter() - start))
    client.close()
    return float(np.median(rates[1:]))


def _search(client: MilvusClient, data: Dataset, vectors: np.ndarray, ef: int, filter: str) -> Any:
    parameters = {"metric_type": data.metric, "params": {"ef": ef}}
    return client.search(
        COLLECTION, list(vectors), limit=K, search_params=parameters, filter=filter
    )


def measure_rate(
    uri: str, data: Dataset, *, clients: int, seconds: float, ef: int, filter: str = ""
) -> Rate:
    """Closed-loop clients, each a process of its own, started together."""
    with tempfile.TemporaryDirectory() as folder:
        queries = Path(folder) / "queries.npy"
        np.save(queries, data.queries)
        command = [sys.executable, "-m", "benchmarks.client", uri, str(queries)]
        command += ["--seconds", str(seconds), "--metric", data.metric, "--ef", str(ef)]
        command += ["--filter", filter]
        children = [
            subprocess.Popen(
                [*command, "--skip", str(97 * number)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for number in range(clients)
        ]
        for child in children:
            assert child.stdout is not None
            if child.stdout.readline().strip() != "ready":
                raise RuntimeError("a client did not start")
        for child in children:
            assert child.stdin is not None
            child.stdin.write("go\n")
            child.stdin.flush()
        reports = [json.loads(child.communicate(timeout=seconds + 60)[0]) for child in children]
    latencies = np.concatenate([report["latencies"] for report in reports]) * 1000
    per_second = sum(len(report["latencies"]) / report["seconds"] for report in reports)
    p50, p99 = np.percentile(latencies, [50, 99])
    return Rate(clients, per_second, float(p50), float(p99))
