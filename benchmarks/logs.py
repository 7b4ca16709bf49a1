"""Durable inserts with 1, 2 and 4 logs, each led by a writer of its own.

Clients, each with a collection of its own, insert small batches: what is measured is mostly the
way from proxy to log and back.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.servers import wait_until, wait_until_ready
from benchmarks.table import row
from mishards.testing.local_cluster import LocalCluster

_LOGS = (1, 2, 4)
_CLIENTS = 8
_BATCH = 50
_ROUNDS = 3


def run(quick: bool) -> list[dict[str, Any]]:
    rounds, seconds = (1, 3.0) if quick else (_ROUNDS, 8.0)
    found: dict[int, list[tuple[float, float, float]]] = {logs: [] for logs in _LOGS}
    for _ in range(rounds):
        for logs in _LOGS:
            found[logs].append(_measured(logs, seconds))
    medians = {logs: np.median(np.array(rates), axis=0) for logs, rates in found.items()}
    return [
        row(
            f"inserts of {_BATCH} rows, {_CLIENTS} clients, {logs} log{'s' if logs > 1 else ''}, "
            "rows/s",
            "1 log",
            medians[logs][0],
            medians[1][0],
            note=f"p50 {medians[logs][1]:.1f} ms; p99 {medians[logs][2]:.1f} ms",
        )
        for logs in _LOGS
    ]


def _measured(logs: int, seconds: float) -> tuple[float, float, float]:
    """Rows per second over all clients; p50 and p99 of an insert in milliseconds."""
    with (
        tempfile.TemporaryDirectory(prefix="mishards-bench-") as folder,
        LocalCluster(Path(folder) / "cluster", f"cluster.logs={logs}") as cluster,
    ):
        writers = [cluster.start("writer", name=f"writer-{n}") for n in range(logs)]
        for process in (*writers, cluster.start("proxy", name="proxy")):
            process.wait_ready()
        wait_until_ready(cluster.uri)
        wait_until(lambda: _spread(cluster) == logs, "the logs were not spread", 60)
        return _load(cluster.uri, seconds)


def _spread(cluster: LocalCluster) -> int:
    """How many writers lead a log."""
    return sum(bool(node.leads) for node in cluster.report().nodes)


def _load(uri: str, seconds: float) -> tuple[float, float, float]:
    command = [sys.executable, "-m", "benchmarks.write_client", uri]
    options = ["--seconds", str(seconds), "--batch", str(_BATCH)]
    children = []
    for number in range(_CLIENTS):
        child = subprocess.Popen(
            [*command, f"c{number}", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        if child.stdout.readline().strip() != "ready":
            raise RuntimeError("a client did not start")
        children.append(child)
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    reports = [json.loads(child.communicate(timeout=seconds + 60)[0]) for child in children]
    rate = sum(report["rows"] / report["seconds"] for report in reports)
    latencies = np.concatenate([report["latencies"] for report in reports]) * 1000
    p50, p99 = np.percentile(latencies, [50, 99])
    return rate, float(p50), float(p99)
