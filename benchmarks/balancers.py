"""What a balancer adds to a search: one server, asked directly and through nginx and HAProxy.

All ways are there at once. One client goes from way to way every hundred searches, so that all of
them meet the same machine; what several clients reach is measured in turn.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from typing import Any

import numpy as np
from pymilvus import MilvusClient

from benchmarks import servers
from benchmarks.datasets import Dataset, K, clustered
from benchmarks.load import COLLECTION, fill, measure_rate
from benchmarks.search import HNSW
from benchmarks.table import row
from mishards.server.balancing.haproxy import haproxy_file
from mishards.server.balancing.nginx import nginx_file
from mishards.server.balancing.plan import BalancerPlan, named_proxies
from mishards.testing.services.balancer import Balancer, HaProxy, Nginx

_DIRECTLY = "directly"
_EF = 32
_TURN = 100
_CLIENTS = 4


def run(quick: bool) -> list[dict[str, Any]]:
    """Two rows per balancer: the latency of one client, the rate of several."""
    data = clustered(20_000)
    turns, rounds, seconds = (5, 1, 2.0) if quick else (40, 3, 3.0)
    with ExitStack() as stack:
        uri = stack.enter_context(servers.mishards())
        fill(uri, data, index=HNSW)
        ways = {_DIRECTLY: uri}
        for kind in (HaProxy, Nginx):
            balancer = stack.enter_context(closing(kind()))
            balancer.configure(_file(balancer, uri.removeprefix("http://")))
            ways[balancer.name] = f"http://{balancer.start().listen}"
        taken = _latencies(ways, data, turns)
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, way in ways.items():
                rate = measure_rate(way, data, clients=_CLIENTS, seconds=seconds, ef=_EF)
                rates[name].append(rate.per_second)
    balancers = [name for name in ways if name != _DIRECTLY]
    return [
        *(_latency_row(name, taken[name], taken[_DIRECTLY]) for name in balancers),
        *(_rate_row(name, rates[name], rates[_DIRECTLY]) for name in balancers),
    ]


def _file(balancer: Balancer, proxy: str) -> str:
    plan = BalancerPlan(
        proxies=named_proxies([proxy], []), listen=balancer.listen, folder=str(balancer.folder)
    )
    return nginx_file(plan) if isinstance(balancer, Nginx) else haproxy_file(plan)


def _latencies(ways: dict[str, str], data: Dataset, turns: int) -> dict[str, list[float]]:
    """Milliseconds of each search of one client, by way."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    parameters = {"metric_type": data.metric, "params": {"ef": _EF}}
    with ExitStack() as stack:
        clients = {
            name: stack.enter_context(closing(MilvusClient(uri))) for name, uri in ways.items()
        }
        for turn in range(turns + 1):
            for name, client in clients.items():
                for vector in data.queries[:_TURN]:
                    began = time.perf_counter()
                    client.search(COLLECTION, [vector], limit=K, search_params=parameters)
                    if turn:  # the first is for getting warm
                        found[name].append((time.perf_counter() - began) * 1000)
    return found


def _latency_row(name: str, through: list[float], directly: list[float]) -> dict[str, Any]:
    (ours, our_tail), (theirs, tail) = (np.percentile(t, [50, 99]) for t in (through, directly))
    return row(
        f"a search through {name}, 1 client, p50 (ms)",
        _DIRECTLY,
        float(ours),
        float(theirs),
        ratio=float(theirs / ours),
        note=f"adds {ours - theirs:.2f} ms; p99 {our_tail:.2f} / {tail:.2f} ms",
    )


def _rate_row(name: str, through: list[float], directly: list[float]) -> dict[str, Any]:
    return row(
        f"through {name}, {_CLIENTS} clients, searches/s",
        _DIRECTLY,
        float(np.median(through)),
        float(np.median(directly)),
    )
