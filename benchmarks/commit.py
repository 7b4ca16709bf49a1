"""Upserts of single rows by clients at once: what group commit costs and what it gains.

Ours is acknowledged when its log entry is on disk (fsync of the file and of its folder).
milvus-lite keeps a log that by default is synced when it is closed, so what it acknowledged may be
lost with the machine: the two do not promise the same.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np

from benchmarks import servers
from benchmarks.calls import Load, calling, create
from benchmarks.table import row

_OURS = "one process"
_LITE = "milvus-lite 3.2"
_CLIENTS = (1, 8, 32)
_PROCESSES = 2


class Latency(NamedTuple):
    per_second: float
    p50_ms: float
    p99_ms: float
    done: int


def run(quick: bool) -> list[dict[str, Any]]:
    rounds, seconds = (1, 3.0) if quick else (3, 5.0)
    found: dict[tuple[str, int], list[Latency]] = {}
    with ExitStack() as stack:
        uris = {
            _OURS: stack.enter_context(servers.mishards()),
            _LITE: stack.enter_context(servers.milvus_lite()),
        }
        for uri in uris.values():
            create(uri)
        for clients in _CLIENTS:
            for _ in range(rounds):
                for name, uri in uris.items():
                    latency = measured(uri, clients, seconds)
                    found.setdefault((name, clients), []).append(latency)
    return [
        one
        for clients in _CLIENTS
        for one in _rows(clients, median(found[_OURS, clients]), median(found[_LITE, clients]))
    ]


def measured(uri: str, clients: int, seconds: float) -> Latency:
    """What so many clients see of upserts, for so long."""
    share = -(-clients // _PROCESSES)
    loads = [
        Load("upsert", min(share, clients - first), first) for first in range(0, clients, share)
    ]
    with calling(uri, loads) as calls:
        began_s = time.time()
        time.sleep(seconds)  # for how long it is measured
    if calls.failed["upsert"]:
        raise RuntimeError(f"an upsert failed: {calls.failed['upsert'][0]}")
    done = calls.done["upsert"]
    latencies = [1000 * (call.ended_s - call.began_s) for call in done]
    p50, p99 = np.percentile(latencies, [50, 99])
    lasted_s = max(call.ended_s for call in done) - began_s
    return Latency(len(done) / lasted_s, float(p50), float(p99), len(done))


def median(rounds: list[Latency]) -> Latency:
    """The median round by upserts per second."""
    return sorted(rounds)[len(rounds) // 2]


def _rows(clients: int, ours: Latency, theirs: Latency) -> list[dict[str, Any]]:
    what = f"durable upserts of one row, {clients} client{'s' if clients > 1 else ''}"
    promise = "theirs is synced on close only"
    return [
        row(f"{what}, rows/s", _LITE, ours.per_second, theirs.per_second, note=promise),
        row(
            f"{what}, p50 (ms)",
            _LITE,
            ours.p50_ms,
            theirs.p50_ms,
            ratio=theirs.p50_ms / ours.p50_ms,
            note=f"p99 {ours.p99_ms:.2f} / {theirs.p99_ms:.2f} ms",
        ),
    ]
