"""Backup, incremental backup and restore, beside a plain copy of the same folder that is synced.

No peer does this job while writes go on: of milvus-lite a stopped instance's folder is copied,
which is what stands beside.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pymilvus import MilvusClient

from benchmarks import servers
from benchmarks.datasets import Dataset, clustered
from benchmarks.load import COLLECTION, fill
from benchmarks.search import HNSW
from benchmarks.table import row

_MORE = 5_000


def run(quick: bool) -> list[dict[str, Any]]:
    data = clustered(rows=20_000 if quick else 100_000)
    with servers.temporary_folder() as folder:
        return _measured(folder, data)


def _measured(folder: Path, data: Dataset) -> list[dict[str, Any]]:
    live, port = folder / "live", servers.free_port()
    command = [sys.executable, "-m", "mishards", "up", "--data", str(live), "--port", str(port)]
    with servers.process(command):
        uri = servers.wait_until_ready(f"http://127.0.0.1:{port}")
        fill(uri, data, index=HNSW)
        whole = _run("backup", "--data", live, "--to", folder / "backups", "--name", "whole")
        _add(uri, data)
        more = _run("backup", "--data", live, "--to", folder / "backups", "--name", "more")
    start = time.perf_counter()
    restored = _run("restore", "--from", folder / "backups", "--data", folder / "restored")
    restore_s = time.perf_counter() - start
    copy_mb_s = _copy(live, folder / "copy")
    return [
        row(
            "backup of a running instance, MB/s",
            "copy and sync",
            whole["bytes_copied"] / 1e6 / whole["seconds"],
            copy_mb_s,
            note=f"{whole['bytes_copied'] / 1e6:,.0f} MB in {whole['seconds']:.2f} s, verified",
        ),
        row(
            f"the next backup, {_MORE:,} rows later, s",
            "the whole one",
            more["seconds"],
            whole["seconds"],
            ratio=whole["seconds"] / more["seconds"],
            note=f"{more['bytes_copied'] / 1e6:,.1f} of {more['size_bytes'] / 1e6:,.0f} MB copied",
        ),
        row(
            "restore, MB/s, start of the command included",
            "copy and sync",
            more["size_bytes"] / 1e6 / restore_s,
            copy_mb_s,
            note=f"{restored['rows']:,} rows in {restore_s:.2f} s, verified",
        ),
    ]


def _run(command: str, *options: object) -> dict[str, Any]:
    """The report of a command."""
    given = [sys.executable, "-m", "mishards", command, "--json", *map(str, options)]
    done = subprocess.run(given, capture_output=True, check=True, text=True)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def _add(uri: str, data: Dataset) -> None:
    client = MilvusClient(uri)
    first = len(data.vectors)
    rows = [{"id": first + i, "vector": vector} for i, vector in enumerate(data.vectors[:_MORE])]
    client.insert(COLLECTION, rows)
    client.close()


def _copy(source: Path, target: Path) -> float:
    """MB a second of copying a folder and syncing each file."""
    start = time.perf_counter()
    shutil.copytree(source, target)
    size = 0
    for path in target.rglob("*"):
        if path.is_file():
            size += path.stat().st_size
            with path.open("rb") as file:
                os.fsync(file.fileno())
    return size / 1e6 / (time.perf_counter() - start)
