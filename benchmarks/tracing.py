"""What tracing costs searches of one process: off, recording only, and with traces exported.

All servers run at the same time and are measured in turn, many rounds over. A figure is the median
over the rounds of what a server did beside the one without tracing in the same round. Processor
time per search is counted too: other load on the machine moves it far less than the rate.
"""

from __future__ import annotations

import statistics
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import psutil

from benchmarks import servers
from benchmarks.datasets import Dataset, clustered
from benchmarks.load import fill, measure_rate
from benchmarks.table import row

_OFF = "off"
_WAYS = {
    "recording, nothing kept": ("tracing.record=true", "tracing.sample=0"),
    "1 % exported": ("tracing.record=true", "tracing.sample=0.01"),
    "100 % exported": ("tracing.record=true", "tracing.sample=1"),
}
_AT_LEAST = {"recording, nothing kept": 0.98, "1 % exported": 0.98}
_HNSW = {"index_type": "HNSW", "params": {"M": 16, "efConstruction": 100}}
_EF = 32


class _Server(NamedTuple):
    uri: str
    process: psutil.Process

    def cpu_s(self) -> float:
        """Processor time since it began."""
        times = self.process.cpu_times()
        return float(times.user + times.system)


class _Round(NamedTuple):
    per_second: float
    cpu_us: float
    p99_ms: float


def run(quick: bool) -> list[dict[str, Any]]:
    """Rows of the table."""
    data = clustered(20_000 if quick else 100_000)
    rounds, seconds = (3, 2.0) if quick else (15, 3.0)
    rows = []
    with ExitStack() as stack:
        collector = stack.enter_context(_collector())
        running = {_OFF: stack.enter_context(_mishards("tracing.record=false"))}
        for name, settings in _WAYS.items():
            where = ("tracing.exporter=otlp", f"tracing.endpoint={collector}")
            running[name] = stack.enter_context(_mishards(*settings, *where))
        for server in running.values():
            fill(server.uri, data, index=_HNSW)
        for clients in (1, 4):
            found = _rounds(running, data, clients, rounds, seconds)
            for name in _WAYS:
                rows += _rows(name, clients, found[name], found[_OFF])
    return rows


def _rounds(
    running: dict[str, _Server], data: Dataset, clients: int, rounds: int, seconds: float
) -> dict[str, list[_Round]]:
    found: dict[str, list[_Round]] = {name: [] for name in running}
    names = list(running)
    for number in range(rounds):
        # Each is first as often as the others: a machine that tires tires for all of them.
        first = number % len(names)
        for name in names[first:] + names[:first]:
            found[name].append(_measured(running[name], data, clients, seconds))
    return found


def _measured(server: _Server, data: Dataset, clients: int, seconds: float) -> _Round:
    before = server.cpu_s()
    rate = measure_rate(server.uri, data, clients=clients, seconds=seconds, ef=_EF)
    # Clients warm up with a few searches that are in no rate.
    searches = rate.per_second * seconds + 50 * clients
    return _Round(rate.per_second, (server.cpu_s() - before) / searches * 1e6, rate.p99_ms)


def _rows(name: str, clients: int, ours: list[_Round], off: list[_Round]) -> list[dict[str, Any]]:
    who = f"{clients} client{'s' if clients > 1 else ''}"
    goal = _AT_LEAST.get(name)
    pairs = list(zip(ours, off, strict=True))
    median = statistics.median
    return [
        row(
            f"tracing: {name}, {who}, searches/s",
            _OFF,
            median(one.per_second for one in ours),
            median(one.per_second for one in off),
            ratio=median(one.per_second / other.per_second for one, other in pairs),
            at_least=goal,
            note=f"p99 {_p99(ours):.2f} / {_p99(off):.2f} ms",
        ),
        row(
            f"tracing: {name}, {who}, processor time of a search (µs)",
            _OFF,
            median(one.cpu_us for one in ours),
            median(one.cpu_us for one in off),
            ratio=median(other.cpu_us / one.cpu_us for one, other in pairs),
            at_least=goal,
            note=f"median of {len(ours)} rounds",
        ),
    ]


def _p99(rounds: list[_Round]) -> float:
    return statistics.median(one.p99_ms for one in rounds)


@contextmanager
def _mishards(*settings: str) -> Iterator[_Server]:
    """`mishards up` with the settings."""
    with servers.temporary_folder() as data:
        port = servers.free_port()
        command = [sys.executable, "-m", "mishards", "up", "--data", str(data)]
        # Looking for the next call takes processor time that no search needs.
        for setting in ("proxy.spin_us=0", "http.enabled=false", *settings):
            command += ["--set", setting]
        with servers.process([*command, "--port", str(port)]) as child:
            uri = servers.wait_until_ready(f"http://127.0.0.1:{port}")
            yield _Server(uri, psutil.Process(child.pid))


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
