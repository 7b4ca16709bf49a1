"""What a balancer adds to a search: one server, asked directly and through nginx and HAProxy.

All ways are there at once and are measured in turn, several rounds over; a figure is the median of
its rounds.
"""

from __future__ import annotations

from contextlib import ExitStack, closing
from typing import Any

import numpy as np

from benchmarks import servers
from benchmarks.datasets import clustered
from benchmarks.load import Rate, fill, measure_rate
from benchmarks.search import HNSW
from benchmarks.table import row
from mishards.server.balancing.haproxy import haproxy_file
from mishards.server.balancing.nginx import nginx_file
from mishards.server.balancing.plan import BalancerPlan, named_proxies
from mishards.testing.services.balancer import Balancer, HaProxy, Nginx

_DIRECTLY = "directly"
_EF = 32


def run(quick: bool) -> list[dict[str, Any]]:
    """A row per balancer and number of clients."""
    data = clustered(20_000)
    rounds, seconds = (1, 2.0) if quick else (5, 3.0)
    rows = []
    with ExitStack() as stack:
        uri = stack.enter_context(servers.mishards())
        fill(uri, data, index=HNSW)
        ways = {_DIRECTLY: uri}
        for kind in (HaProxy, Nginx):
            balancer = stack.enter_context(closing(kind()))
            balancer.configure(_file(balancer, uri.removeprefix("http://")))
            ways[balancer.name] = f"http://{balancer.start().listen}"
        for clients in (1, 4):
            rates: dict[str, list[Rate]] = {name: [] for name in ways}
            for _ in range(rounds):
                for name, way in ways.items():
                    rates[name].append(
                        measure_rate(way, data, clients=clients, seconds=seconds, ef=_EF)
                    )
            rows += [_row(name, rates) for name in ways if name != _DIRECTLY]
    return rows


def _file(balancer: Balancer, proxy: str) -> str:
    plan = BalancerPlan(
        proxies=named_proxies([proxy], []), listen=balancer.listen, folder=str(balancer.folder)
    )
    return nginx_file(plan) if isinstance(balancer, Nginx) else haproxy_file(plan)


def _row(name: str, rates: dict[str, list[Rate]]) -> dict[str, Any]:
    def median(way: str, figure: str) -> float:
        return float(np.median([getattr(rate, figure) for rate in rates[way]]))

    clients = rates[name][0].clients
    ours, theirs = median(name, "p50_ms"), median(_DIRECTLY, "p50_ms")
    return row(
        f"a search through {name}, {clients} client{'s' if clients > 1 else ''}, p50 (ms)",
        _DIRECTLY,
        ours,
        theirs,
        ratio=theirs / ours,
        note=f"adds {ours - theirs:.2f} ms; "
        f"p99 {median(name, 'p99_ms'):.2f} / {median(_DIRECTLY, 'p99_ms'):.2f} ms; "
        f"{median(name, 'per_second'):,.0f} / {median(_DIRECTLY, 'per_second'):,.0f} searches/s",
    )
