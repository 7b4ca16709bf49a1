"""Searches through pymilvus beside Milvus 2.3.5 and milvus-lite.

All systems of a comparison run at the same time and are measured in turn, several rounds over, so
that a machine whose speed drifts drifts for all of them; a figure is the median of its rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import numpy as np

from benchmarks import servers
from benchmarks.datasets import MONTH, Dataset, clustered, packages
from benchmarks.load import Rate, fill, measure_batch, measure_rate, measure_recall
from benchmarks.table import row

Server = Callable[[], AbstractContextManager[str]]
HNSW = {"index_type": "HNSW", "params": {"M": 16, "efConstruction": 100}}
_MILVUS = "Milvus 2.3.5"
_LITE = "milvus-lite 3.2"
_ONE = "one process"
_CLUSTER = "1 proxy, 2 readers"
_CLUSTER_OPTIONS = (
    *("--processes", "--readers", "2"),
    # Two segments of half the rows each, one for each reader.
    *("--set", "writer.segment_max_rows=50000", "--set", "cluster.routing=rendezvous"),
)


class Contest:
    """Systems that hold the same data, measured in turn."""

    def __init__(self, data: Dataset, ef: int, rounds: int, seconds: float) -> None:
        self._data = data
        self._ef = ef
        self._rounds = rounds
        self._seconds = seconds
        self._uris: dict[str, str] = {}
        self.inserted: dict[str, float] = {}

    def add(self, name: str, uri: str) -> None:
        """A running system, filled here."""
        self._uris[name] = uri
        self.inserted[name] = fill(uri, self._data, index=HNSW)

    def recall(self, filter: str = "") -> dict[str, float]:
        return {
            name: measure_recall(uri, self._data, self._ef, filter)
            for name, uri in self._uris.items()
        }

    def rates(self, clients: int, filter: str = "") -> dict[str, Rate]:
        """Per system the median round by searches per second."""
        found: dict[str, list[Rate]] = {name: [] for name in self._uris}
        for _ in range(self._rounds):
            for name, uri in self._uris.items():
                found[name].append(
                    measure_rate(
                        uri,
                        self._data,
                        clients=clients,
                        seconds=self._seconds,
                        ef=self._ef,
                        filter=filter,
                    )
                )
        return {name: sorted(rates)[len(rates) // 2] for name, rates in found.items()}

    def batches(self) -> dict[str, float]:
        """Per system queries per second with all queries in one call."""
        found: dict[str, list[float]] = {name: [] for name in self._uris}
        for _ in range(self._rounds):
            for name, uri in self._uris.items():
                found[name].append(measure_batch(uri, self._data, self._ef))
        return {name: float(np.median(rates)) for name, rates in found.items()}


def run(quick: bool) -> list[dict[str, Any]]:
    """All rows of the table that go through pymilvus."""
    clients = (1, 4) if quick else (1, 4, 8)
    rounds, seconds = (1, 2.0) if quick else (3, 3.0)
    return [
        *_synthetic(clustered(20_000 if quick else 100_000), clients, rounds, seconds),
        *_beside_lite(clustered(20_000 if quick else 100_000), clients, seconds),
        *_real(packages(6_000 if quick else None), clients, rounds, seconds),
    ]


def _synthetic(
    data: Dataset, clients: Sequence[int], rounds: int, seconds: float
) -> list[dict[str, Any]]:
    contest = Contest(data, 32, rounds, seconds)
    with ExitStack() as stack:
        contest.add(_MILVUS, stack.enter_context(servers.milvus()))
        contest.add(_ONE, stack.enter_context(servers.mishards()))
        contest.add(_CLUSTER, stack.enter_context(servers.mishards(*_CLUSTER_OPTIONS)))
        recall = contest.recall()
        rates = [contest.rates(count) for count in clients]
        batches = contest.batches()
    inserted = contest.inserted
    return [
        *(_rate(_ONE, _ONE, _MILVUS, r, recall, 2.5, 2.2, least=0.96, tail=True) for r in rates),
        *(_rate(_CLUSTER, _CLUSTER, _MILVUS, r, recall, 2.0, 1.6, least=0.96) for r in rates),
        row("nq=1000, queries/s", _MILVUS, batches[_ONE], batches[_MILVUS], at_least=1.2),
        row("insert, rows/s", _MILVUS, inserted[_ONE], inserted[_MILVUS], at_least=1.0),
    ]


def _beside_lite(data: Dataset, clients: Sequence[int], seconds: float) -> list[dict[str, Any]]:
    contest = Contest(data, 32, 1, seconds)
    with ExitStack() as stack:
        contest.add(_LITE, stack.enter_context(servers.milvus_lite()))
        contest.add(_ONE, stack.enter_context(servers.mishards()))
        recall = contest.recall()
        rates = [contest.rates(count) for count in clients]
    return [_rate(_ONE, _ONE, _LITE, r, recall, 30.0, 30.0, least=0.96) for r in rates]


def _real(
    data: Dataset, clients: Sequence[int], rounds: int, seconds: float
) -> list[dict[str, Any]]:
    chosen = f'month >= "{MONTH}"'
    contest = Contest(data, 64, rounds, seconds)
    rows = []
    with ExitStack() as stack:
        contest.add(_MILVUS, stack.enter_context(servers.milvus()))
        contest.add(_ONE, stack.enter_context(servers.mishards()))
        for what, filter in (("packages", ""), ("packages, filtered", chosen)):
            recall = contest.recall(filter)
            for count in clients:
                rates = contest.rates(count, filter)
                rows.append(_rate(what, _ONE, _MILVUS, rates, recall, 2.0, 2.0, least=0.95))
    return rows


def _rate(
    what: str,
    ours: str,
    theirs: str,
    rates: dict[str, Rate],
    recall: dict[str, float],
    alone: float,
    many: float,
    *,
    least: float,
    tail: bool = False,
) -> dict[str, Any]:
    """Searches per second; the goal asks for the recall too, and where `tail` for the p99.

    Args:
        alone: ratio to reach with one client; `many` with more.
        least: the recall to reach.
    """
    mine, other = rates[ours], rates[theirs]
    return row(
        f"{what}, {mine.clients} client{'s' if mine.clients > 1 else ''}, searches/s",
        theirs,
        mine.per_second,
        other.per_second,
        at_least=alone if mine.clients == 1 else many,
        also=recall[ours] >= least and (not tail or mine.p99_ms <= other.p99_ms),
        note=f"recall {recall[ours]:.3f} / {recall[theirs]:.3f}; "
        f"p50 {mine.p50_ms:.2f} / {other.p50_ms:.2f} ms; "
        f"p99 {mine.p99_ms:.2f} / {other.p99_ms:.2f} ms",
    )
