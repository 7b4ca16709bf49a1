"""A cluster of five processes that searches real vectors, also while one of them is killed.

Starts one proxy, one writer and three readers on this machine, loads 6,000 software packages with
sentence embeddings of their summaries, runs held-out queries, compares with brute force, kills a
reader with SIGKILL in between, and ends everything it started.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pymilvus import DataType, MilvusClient
from rich.console import Console
from rich.progress import track
from rich.table import Table

DATA = Path(__file__).parent / "data"
COLLECTION = "packages"
DIM = 384
K = 10
BATCH = 500
SHOWN = (1, 3, 10)
console = Console(width=110)


def main() -> None:
    packages = pq.read_table(DATA / "packages.parquet")
    queries = pq.read_table(DATA / "queries.parquet")
    vectors, asked = embeddings(packages), embeddings(queries)
    with tempfile.TemporaryDirectory(prefix="mishards-demo-") as folder:
        settings = ["--data", folder, "--set", "writer.segment_max_rows=1000"]
        with cluster(folder, settings) as (uri, supervisor):
            console.rule("one proxy, one writer, three readers")
            client = connect(uri)
            load(client, packages, vectors)
            console.rule("held-out queries")
            before = ask(client, asked, "searching")
            truth = brute_force(vectors, asked, packages)
            show_hits(queries, packages, before)
            show_recall("all readers alive", before, truth)
            report = status(settings)
            show_segments(report)
            victim = next(n for n in report["nodes"] if "reader" in n["roles"])
            console.rule(f"kill -9 {victim['pid']} ({victim['id']})")
            after = ask(client, asked, "searching", kill=victim["pid"])
            show_recall("one reader killed", after, truth)
            same = sum(ids(a) == ids(b) for a, b in zip(before, after, strict=True))
            console.print(f"same answers as before: [bold]{same} of {len(asked)}[/bold]")
            show_segments(status(settings))
            client.close()
            if same != len(asked):
                sys.exit("the answers changed when a reader was killed")
        assert supervisor.poll() is not None
    console.print("all processes ended, nothing left behind")


@contextmanager
def cluster(folder: str, settings: list[str]) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """`mishards up --processes`, ended with SIGTERM at the end."""
    port = free_port()
    command = [sys.executable, "-m", "mishards", "up", "--processes", "--readers", "3"]
    log = Path(folder) / "demo.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--port", str(port), *settings], stdout=output, stderr=output
        )
    try:
        wait_for(lambda: len(ready_nodes(settings)) == 5, process, log)
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def wait_for(condition: Any, process: subprocess.Popen[bytes], log: Path) -> None:
    """Poll until the condition holds; give up when the cluster ends or after a minute."""
    end = time.monotonic() + 60
    with console.status("starting the cluster"):
        while not condition():
            if process.poll() is not None or time.monotonic() > end:
                sys.exit(f"the cluster did not start:\n{log.read_text()}")
            time.sleep(0.2)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def status(settings: list[str]) -> dict[str, Any]:
    """What `mishards status --json` says."""
    command = [sys.executable, "-m", "mishards", "status", "--json", *settings]
    done = subprocess.run(command, capture_output=True, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else {"nodes": [], "collections": []}


def ready_nodes(settings: list[str]) -> list[dict[str, Any]]:
    return [n for n in status(settings)["nodes"] if n["ready"] and n["answers"]]


def connect(uri: str) -> MilvusClient:
    client = MilvusClient(uri)
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("name", DataType.VARCHAR, max_length=200)
    schema.add_field("summary", DataType.VARCHAR, max_length=2000)
    schema.add_field("month", DataType.VARCHAR, max_length=7)
    schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=DIM)
    index = client.prepare_index_params()
    index.add_index(
        "embedding",
        index_type="HNSW",
        metric_type="COSINE",
        params={"M": 16, "efConstruction": 200},
    )
    client.create_collection(COLLECTION, schema=schema, index_params=index)
    return client


def load(client: MilvusClient, packages: pa.Table, vectors: np.ndarray) -> None:
    columns = packages.select(["id", "name", "summary", "month"])
    for start in track(range(0, len(vectors), BATCH), "inserting", console=console):
        rows = columns.slice(start, BATCH).to_pylist()
        for row, vector in zip(rows, vectors[start:], strict=False):
            row["embedding"] = vector
        client.insert(COLLECTION, rows)
    client.flush(COLLECTION)
    with console.status("building indexes"):
        end = time.monotonic() + 120
        while client.describe_index(COLLECTION, "embedding")["pending_index_rows"]:
            if time.monotonic() > end:
                sys.exit("the indexes were not built in two minutes")
            time.sleep(0.1)
    console.print(client.get_collection_stats(COLLECTION))


def ask(client: MilvusClient, asked: np.ndarray, title: str, kill: int | None = None) -> list[Any]:
    """One search per query; a process is killed after a third of them."""
    answers = []
    for number, vector in enumerate(track(asked, title, console=console)):
        if kill is not None and number == len(asked) // 3:
            os.kill(kill, signal.SIGKILL)
        hits = client.search(
            COLLECTION,
            [vector],
            limit=K,
            search_params={"params": {"ef": 128}},
            output_fields=["name", "summary"],
            consistency_level="Strong",
        )
        answers.append(hits[0])
    return answers


def embeddings(table: pa.Table) -> np.ndarray:
    flat = table.column("embedding").combine_chunks().values.to_numpy()
    return flat.astype(np.float32).reshape(-1, DIM)


def brute_force(vectors: np.ndarray, asked: np.ndarray, packages: pa.Table) -> list[set[int]]:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    wanted = asked / np.linalg.norm(asked, axis=1, keepdims=True)
    best = np.argsort(-(wanted @ unit.T), axis=1)[:, :K]
    return [set(row.tolist()) for row in packages.column("id").to_numpy()[best]]


def ids(hits: Any) -> list[int]:
    return [hit["id"] for hit in hits]


def show_recall(title: str, answers: list[Any], truth: list[set[int]]) -> None:
    found = [len(set(ids(hits)) & best) / K for hits, best in zip(answers, truth, strict=True)]
    console.print(f"{title}: recall@{K} against brute force [bold]{np.mean(found):.3f}[/bold]")


def show_hits(queries: pa.Table, packages: pa.Table, answers: list[Any]) -> None:
    for number in SHOWN:
        summary = queries.column("summary")[number].as_py()
        table = Table("cosine", "package", "summary", title=f"“{summary}”")
        for hit in answers[number][:5]:
            entity = hit["entity"]
            table.add_row(f"{hit['distance']:.3f}", entity["name"], entity["summary"])
        console.print(table)


def show_segments(report: dict[str, Any]) -> None:
    table = Table("segment", "rows", "served by", title="which reader has which segments open")
    for collection in report["collections"]:
        for segment in collection["segments"]:
            served = ", ".join(f"{n} ({how})" for n, how in segment["served_by"].items())
            table.add_row(str(segment["id"]), f"{segment['rows']:,}", served or "-")
    console.print(table)


if __name__ == "__main__":
    main()
