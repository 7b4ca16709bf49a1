"""Upserts of single rows by clients at once on S3: how long a commit takes, and what it costs.

The store is SeaweedFS on this machine, once as it is and once behind a line that takes 10 ms each
way, as a store in another building; beside them the same system on a folder. A commit is one
request; how many upserts share it follows from how long it takes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NamedTuple
from uuid import uuid4

from benchmarks import servers
from benchmarks.calls import create
from benchmarks.commit import Latency, measured, median
from benchmarks.table import row
from mishards.testing.fault_proxy import FaultNetwork
from mishards.testing.services.seaweedfs import SeaweedFs

_FOLDER, _NEAR, _FAR = "a folder", "S3", "S3 behind a line of 10 ms"
_CLIENTS = (1, 8, 32)
_FAR_S = 0.010


class _Round(NamedTuple):
    latency: Latency
    puts: int


def run(quick: bool) -> list[dict[str, Any]]:
    rounds, seconds, idle_s = (1, 3.0, 10.0) if quick else (3, 5.0, 60.0)
    found: dict[tuple[str, int], list[_Round]] = {}
    with ExitStack() as stack:
        store = stack.enter_context(SeaweedFs())
        line = stack.enter_context(FaultNetwork()).link("far", "127.0.0.1", store.port)
        line.there.delay_s = line.back.delay_s = _FAR_S
        far = store.data(uuid4().hex, f"http://127.0.0.1:{line.port}")
        near = stack.enter_context(servers.mishards(url=store.data(uuid4().hex)))
        idle = _idle(store, idle_s)
        uris = {
            _FOLDER: stack.enter_context(servers.mishards()),
            _NEAR: near,
            _FAR: stack.enter_context(servers.mishards(url=far)),
        }
        for uri in uris.values():
            create(uri)
        for clients in _CLIENTS:
            for _ in range(rounds):
                for name, uri in uris.items():
                    result = _counted(store, lambda u=uri, c=clients: measured(u, c, seconds))
                    found.setdefault((name, clients), []).append(result)
    rows = [
        one
        for clients in _CLIENTS
        for name in (_NEAR, _FAR)
        for one in _rows(name, clients, found[name, clients], found[_FOLDER, clients])
    ]
    return [*rows, row("S3, idle instance, requests/min", "limit", idle, 60, at_most=60)]


def _counted(store: SeaweedFs, work: Callable[[], Latency]) -> _Round:
    before = store.requests().get("PUT", 0)
    latency = work()
    return _Round(latency, store.requests().get("PUT", 0) - before)


def _idle(store: SeaweedFs, seconds: float) -> float:
    """Requests a minute of the one instance there is, which nobody asks for anything."""
    before = sum(store.requests().values())
    time.sleep(seconds)  # for how long it is counted
    return (sum(store.requests().values()) - before) * 60 / seconds


def _rows(
    name: str, clients: int, ours: list[_Round], folder: list[_Round]
) -> list[dict[str, Any]]:
    here = median([one.latency for one in ours])
    there = median([one.latency for one in folder])
    upserts = sum(one.latency.done for one in ours)
    shared = upserts / max(1, sum(one.puts for one in ours))
    what = f"{name}, durable upserts of one row, {clients} client{'s' if clients > 1 else ''}"
    return [
        row(
            f"{what}, rows/s",
            _FOLDER,
            here.per_second,
            there.per_second,
            note=f"{shared:.1f} upserts to a request; {1 / shared:.2f} requests to an upsert",
        ),
        row(
            f"{what}, p50 (ms)",
            _FOLDER,
            here.p50_ms,
            there.p50_ms,
            ratio=there.p50_ms / here.p50_ms,
            note=f"p99 {here.p99_ms:.2f} / {there.p99_ms:.2f} ms",
        ),
    ]
