"""Private memory of an idle instance, and of a reader with 100,000 × 128 vectors loaded."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from benchmarks import servers
from benchmarks.datasets import clustered
from benchmarks.load import fill, measure_rate
from benchmarks.search import HNSW
from benchmarks.table import row

_FIXED_MB = 150.0


def private_mb(pid: int) -> float:
    """Memory that this process alone has written (anonymous and dirty private pages), MB."""
    fields = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, value = line.partition(":")
        fields[name] = int(value.split()[0]) / 1024
    return fields["Private_Dirty"]


def run(quick: bool) -> list[dict[str, Any]]:
    with servers.temporary_folder() as folder:
        idle = _idle(folder)
    return [idle, _loaded_reader(20_000 if quick else 100_000)]


def _idle(folder: Path) -> dict[str, Any]:
    port = servers.free_port()
    command = [sys.executable, "-m", "mishards", "up", "--data", str(folder), "--port", str(port)]
    with servers.process(command) as child:
        servers.wait_until_ready(f"http://127.0.0.1:{port}")
        return _limited("idle instance", private_mb(child.pid), _FIXED_MB)


def _loaded_reader(rows: int) -> dict[str, Any]:
    data = clustered(rows)
    with servers.temporary_folder() as folder:
        port = servers.free_port()
        command = [sys.executable, "-m", "mishards", "up", "--processes", "--data", str(folder)]
        with servers.process([*command, "--port", str(port)]):
            uri = servers.wait_until_ready(f"http://127.0.0.1:{port}")
            fill(uri, data, index=HNSW)
            measure_rate(uri, data, clients=1, seconds=2, ef=32)
            pid = _reader_pid(folder)
            measured = private_mb(pid)
    raw = data.vectors.nbytes / 1e6
    return _limited(f"reader with {rows:,} × 128", measured, 1.3 * raw + _FIXED_MB)


def _reader_pid(folder: Path) -> int:
    nodes: Any = servers.cluster_status(folder)["nodes"]
    return next(int(node["pid"]) for node in nodes if node["roles"] == ["reader"])


def _limited(what: str, measured: float, limit: float) -> dict[str, Any]:
    return row(f"{what}, private memory, MB", "limit", measured, limit, at_most=limit)
