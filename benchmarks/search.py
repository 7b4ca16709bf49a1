"""Searches through pymilvus beside Milvus 2.3.5 and milvus-lite, in turn on one machine."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from benchmarks import servers
from benchmarks.datasets import MONTH, Dataset, clustered, packages
from benchmarks.load import fill, measure_batch, measure_rate, measure_recall
from benchmarks.table import row

Server = Callable[[], AbstractContextManager[str]]
HNSW = {"index_type": "HNSW", "params": {"M": 16, "efConstruction": 100}}
_MILVUS = "Milvus 2.3.5"
_CLUSTER = (
    *("--processes", "--readers", "2"),
    # Two segments of half the rows each, one for each reader.
    *("--set", "writer.segment_max_rows=50000", "--set", "cluster.routing=rendezvous"),
)


def _measure(server: Server, data: Dataset, ef: int, clients: tuple[int, ...], seconds: float,
             filter: str = "", batch: bool = True) -> dict[str, Any]:  # fmt: skip
    with server() as uri:
        inserted = fill(uri, data, index=HNSW)
        result: dict[str, Any] = {"insert": inserted, "recall": measure_recall(uri, data, ef)}
        result["rates"] = [
            measure_rate(uri, data, clients=n, seconds=seconds, ef=ef) for n in clients
        ]
        if filter:
            result["filtered_recall"] = measure_recall(uri, data, ef, filter)
            result["filtered_rates"] = [
                measure_rate(uri, data, clients=n, seconds=seconds, ef=ef, filter=filter)
                for n in clients
            ]
        if batch:
            result["batch"] = measure_batch(uri, data, ef)
    return result


def run(quick: bool) -> list[dict[str, Any]]:
    """All rows of the table that go through pymilvus."""
    clients = (1, 4) if quick else (1, 4, 8)
    seconds = 2.0 if quick else 8.0
    data = clustered(20_000 if quick else 100_000)
    peer = _measure(servers.milvus, data, 32, clients, seconds)
    one = _measure(servers.mishards, data, 32, clients, seconds)
    many = _measure(lambda: servers.mishards(*_CLUSTER), data, 32, clients, seconds)
    lite = _measure(servers.milvus_lite, data, 32, clients, seconds, batch=False)
    rows = [
        *_rates("one process", one, peer, _MILVUS, {1: 2.5}, 2.2, recall=0.96, tail=True),
        *_rates("one process", one, lite, "milvus-lite 3.2", {}, 30.0, recall=0.96),
        *_rates("1 proxy, 2 readers", many, peer, _MILVUS, {1: 2.0}, 1.6, recall=0.96),
        row("nq=1000, queries/s", _MILVUS, one["batch"], peer["batch"], at_least=1.2),
        row("insert, rows/s", _MILVUS, one["insert"], peer["insert"], at_least=1.0),
    ]
    return rows + _real_embeddings(quick, clients, seconds)


def _real_embeddings(quick: bool, clients: tuple[int, ...], seconds: float) -> list[dict[str, Any]]:
    data = packages(6_000 if quick else None)
    chosen = f'month >= "{MONTH}"'
    peer = _measure(servers.milvus, data, 64, clients, seconds, chosen, batch=False)
    ours = _measure(servers.mishards, data, 64, clients, seconds, chosen, batch=False)
    plain = _rates("packages", ours, peer, _MILVUS, {}, 2.0, recall=0.95)
    filtered = [
        {"recall": r["filtered_recall"], "rates": r["filtered_rates"]} for r in (ours, peer)
    ]
    return plain + _rates("packages, filtered", *filtered, _MILVUS, {}, 2.0, recall=0.95)


def _rates(
    what: str,
    ours: dict[str, Any],
    theirs: dict[str, Any],
    peer: str,
    goals: dict[int, float],
    otherwise: float,
    *,
    recall: float,
    tail: bool = False,
) -> list[dict[str, Any]]:
    """Searches per second; the goal asks for the recall too, and where `tail` for the p99."""
    rows = []
    for mine, other in zip(ours["rates"], theirs["rates"], strict=True):
        rows.append(
            row(
                f"{what}, {mine.clients} client{'s' if mine.clients > 1 else ''}, searches/s",
                peer,
                mine.per_second,
                other.per_second,
                at_least=goals.get(mine.clients, otherwise),
                also=ours["recall"] >= recall and (not tail or mine.p99_ms <= other.p99_ms),
                note=f"recall {ours['recall']:.3f} / {theirs['recall']:.3f}; "
                f"p50 {mine.p50_ms:.2f} / {other.p50_ms:.2f} ms; "
                f"p99 {mine.p99_ms:.2f} / {other.p99_ms:.2f} ms",
            )
        )
    return rows
