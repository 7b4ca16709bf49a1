"""What the recall guard costs: processor time per search without it and with a share of 1 %.

Instances of one process each hold the same data and are searched in turn by one client in the same
process, whose own share is the same for all.
"""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack
from typing import Any

from pymilvus import MilvusClient

import mishards
from benchmarks.datasets import Dataset, K, clustered
from benchmarks.load import COLLECTION, fill
from benchmarks.table import row

_HNSW = {"index_type": "HNSW", "params": {"M": 16, "efConstruction": 100}}
_OFF = "recall guard off"
_ARMS: dict[str, dict[str, Any]] = {
    _OFF: {},
    "share 1 %, at most 6 a minute": {"recall__share": 0.01},
    "share 1 %, however many": {"recall__share": 0.01, "recall__per_minute": 1e6},
}


def run(quick: bool) -> list[dict[str, Any]]:
    """Rows of the table."""
    data = clustered(10_000, queries=200) if quick else clustered()
    searches, rounds = (500, 3) if quick else (3_000, 7)
    found: dict[str, list[float]] = {name: [] for name in _ARMS}
    with ExitStack() as stack:
        clients = {}
        for name, options in _ARMS.items():
            # Threads that look for the next call for a while would be counted too.
            uri = stack.enter_context(mishards.start(proxy__spin_us=0, **options)).uri
            fill(uri, data, index=_HNSW)
            clients[name] = MilvusClient(uri)
            stack.callback(clients[name].close)
        for number in range(rounds + 1):
            for name, client in clients.items():
                used = _us_per_search(client, data, searches)
                if number:  # the first warms up
                    found[name].append(used)
    figures = {name: statistics.median(used) for name, used in found.items()}
    rows = f"{len(data.vectors):,} rows"
    return [
        row(
            f"µs of CPU per search, {name}, {rows}",
            _OFF,
            figures[name],
            figures[_OFF],
            ratio=figures[_OFF] / figures[name],
            note="client and server; less is better",
        )
        for name in list(_ARMS)[1:]
    ]


def _us_per_search(client: MilvusClient, data: Dataset, searches: int) -> float:
    parameters = {"metric_type": data.metric, "params": {"ef": 32}}
    began = time.process_time()
    for number in range(searches):
        query = data.queries[number % len(data.queries)]
        client.search(COLLECTION, [query], limit=K, search_params=parameters)
    return (time.process_time() - began) / searches * 1e6
