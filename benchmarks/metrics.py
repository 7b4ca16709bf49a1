"""What metrics cost searches of one process: measured and scraped every second, beside none."""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from benchmarks import servers
from benchmarks.datasets import clustered
from benchmarks.load import fill
from benchmarks.table import row
from benchmarks.turns import HNSW, one_process, rounds_in_turn, rows_beside

_ON, _OFF = "metrics, scraped every second", "off"
_EVERY_S = 1.0


def run(quick: bool) -> list[dict[str, Any]]:
    """Rows of the table."""
    data = clustered(20_000 if quick else 100_000)
    rounds, seconds = (3, 2.0) if quick else (15, 3.0)
    port = servers.free_port()
    rows = []
    with ExitStack() as stack:
        running = {
            _OFF: stack.enter_context(one_process("http.port=0", "http.metrics=false")),
            _ON: stack.enter_context(one_process(f"http.port={port}")),
        }
        for server in running.values():
            fill(server.uri, data, index=HNSW)
        page_bytes = stack.enter_context(_scraped(f"http://127.0.0.1:{port}/metrics"))
        for clients in (1, 4):
            found = rounds_in_turn(running, data, clients, rounds, seconds)
            rows += rows_beside(_ON, _OFF, clients, found[_ON], found[_OFF], 0.98)
        rows.append(row("metrics: a page (bytes)", "–", page_bytes[-1], page_bytes[-1]))
    return rows


@contextmanager
def _scraped(url: str) -> Iterator[list[int]]:
    """Have the page read every second; its sizes."""
    stop = threading.Event()
    sizes: list[int] = []

    def scrape() -> None:
        while not stop.is_set():
            with urllib.request.urlopen(url, timeout=10) as answer:
                sizes.append(len(answer.read()))
            stop.wait(_EVERY_S)

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield sizes
    finally:
        stop.set()
        thread.join()
