"""What tracing costs searches of one process: off, recording only, and with traces exported."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from benchmarks.datasets import clustered
from benchmarks.load import fill
from benchmarks.turns import HNSW, one_process, rounds_in_turn, rows_beside

_OFF = "off"
_WAYS = {
    "recording, nothing kept": ("tracing.record=true", "tracing.sample=0"),
    "1 % exported": ("tracing.record=true", "tracing.sample=0.01"),
    "100 % exported": ("tracing.record=true", "tracing.sample=1"),
}
_AT_LEAST = {"recording, nothing kept": 0.98, "1 % exported": 0.98}
_NO_HTTP = "http.enabled=false"


def run(quick: bool) -> list[dict[str, Any]]:
    """Rows of the table."""
    data = clustered(20_000 if quick else 100_000)
    rounds, seconds = (3, 2.0) if quick else (15, 3.0)
    rows = []
    with ExitStack() as stack:
        collector = stack.enter_context(_collector())
        running = {_OFF: stack.enter_context(one_process(_NO_HTTP, "tracing.record=false"))}
        for name, settings in _WAYS.items():
            where = ("tracing.exporter=otlp", f"tracing.endpoint={collector}")
            running[name] = stack.enter_context(one_process(_NO_HTTP, *settings, *where))
        for server in running.values():
            fill(server.uri, data, index=HNSW)
        for clients in (1, 4):
            found = rounds_in_turn(running, data, clients, rounds, seconds)
            for name in _WAYS:
                what, goal = f"tracing: {name}", _AT_LEAST.get(name)
                rows += rows_beside(what, _OFF, clients, found[name], found[_OFF], goal)
    return rows


@contextmanager
def _collector() -> Iterator[str]:
    """A collector that takes everything and keeps nothing."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.1,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
