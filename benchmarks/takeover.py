"""What clients notice of a leader that is killed while a standby is there.

Two writers, two readers, a proxy; whoever leads is killed with SIGKILL at a moment of chance, again
and again, and started anew as the standby. A takeover lasts, as clients see it, for the longest
time between two acknowledged upserts around a kill.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from pymilvus import MilvusClient

from benchmarks.calls import Call, Calls, Load, calling, create
from benchmarks.recorder import COLLECTION, KEYS_PER_CLIENT
from benchmarks.table import row
from mishards.testing.local_cluster import LocalCluster, LocalProcess, wait_for

_WRITERS = 4
_SEARCHERS = 2
_LOADS = (
    Load("upsert", _WRITERS // 2),
    Load("upsert", _WRITERS // 2, first=_WRITERS // 2),
    Load("search", _SEARCHERS),
)
_GOAL_S = 3.0
_HARD_LIMIT_S = 10.0


def run(quick: bool) -> list[dict[str, Any]]:
    kills = 5 if quick else 30
    with (
        tempfile.TemporaryDirectory(prefix="mishards-bench-") as folder,
        LocalCluster(Path(folder) / "cluster") as cluster,
    ):
        names = ("writer-1", "writer-2", "reader-1", "reader-2", "proxy")
        processes = {name: cluster.start(name.partition("-")[0], name=name) for name in names}
        for process in processes.values():
            process.wait_ready()
        create(cluster.uri)
        with calling(cluster.uri, _LOADS) as calls:
            killed_s = [_kill(cluster, processes) for _ in range(kills)]
        lost = _lost(cluster.uri, calls.done["upsert"])
    return _rows(calls, killed_s, lost)


def _kill(cluster: LocalCluster, processes: dict[str, LocalProcess]) -> float:
    """Kill the leader; when. Returns once another leads and the killed one stands by."""
    leader = wait_for(lambda: _leader(cluster), "one writer leads")
    time.sleep(random.uniform(1.0, 2.0))  # the moment of chance, not a wait for anything
    killed_s = time.time()
    processes[leader].kill()
    wait_for(lambda: _leader(cluster) not in ("", leader), "the standby leads")
    processes[leader] = cluster.start("writer", name=leader).wait_ready()
    return killed_s


def _leader(cluster: LocalCluster) -> str:
    found = [node.id for node in cluster.nodes().values() if node.leads]
    return found[0] if len(found) == 1 else ""


def gaps_s(ended_s: Sequence[float], killed_s: Sequence[float]) -> list[float]:
    """Per kill the longest time without an acknowledgement, from the last one before it on, up to
    the next kill."""
    moments = np.sort(np.array(ended_s))
    found = []
    for kill_s, next_s in pairwise([*killed_s, float("inf")]):
        first = max(int(np.searchsorted(moments, kill_s)) - 1, 0)
        last = int(np.searchsorted(moments, next_s))
        found.append(float(np.max(np.diff(moments[first:last]))))
    return found


def _lost(uri: str, done: Sequence[Call]) -> int:
    """Acknowledged rows that are not there, or only an older state of them."""
    newest: dict[int, int] = {}
    for call in done:
        newest[call.key] = max(call.stamp, newest.get(call.key, 0))
    client = MilvusClient(uri)
    found = client.query(
        COLLECTION,
        filter="id >= 0",
        output_fields=["id", "stamp"],
        consistency_level="Strong",
        limit=2 * _WRITERS * KEYS_PER_CLIENT,
    )
    client.close()
    stored = {one["id"]: one["stamp"] for one in found}
    if len(stored) != len(found):
        raise AssertionError("a primary key came twice in one answer")
    return sum(stored.get(key, 0) < stamp for key, stamp in newest.items())


def _rows(calls: Calls, killed_s: Sequence[float], lost: int) -> list[dict[str, Any]]:
    gaps = gaps_s([call.ended_s for call in calls.done["upsert"]], killed_s)
    median, p99 = np.percentile(gaps, [50, 99])
    searches = [1000 * (call.ended_s - call.began_s) for call in calls.done["search"]]
    what = f"takeover after kill -9 of the leader, {len(gaps)} kills"
    counts = {
        "failed searches": (len(calls.failed["search"]), len(searches)),
        "failed upserts": (len(calls.failed["upsert"]), len(calls.done["upsert"])),
        "acknowledged rows lost": (lost, len(calls.done["upsert"])),
    }
    return [
        row(f"{what}, median (s)", "bound", float(median), _GOAL_S, ratio=_GOAL_S / median),
        row(
            f"{what}, p99 (s)",
            "bound",
            float(p99),
            _GOAL_S,
            ratio=_GOAL_S / p99,
            at_most=_GOAL_S,
        ),
        row(
            f"{what}, longest (s)",
            "bound",
            max(gaps),
            _HARD_LIMIT_S,
            ratio=_HARD_LIMIT_S / max(gaps),
            at_most=_HARD_LIMIT_S,
            note=f"slowest search {max(searches):.0f} ms",
        ),
        *(
            row(f"{what}, {name}", "bound", bad, 0, ratio=1.0, at_most=0, note=f"of {total:,}")
            for name, (bad, total) in counts.items()
        ),
    ]
