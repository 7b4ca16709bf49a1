"""Servers that differ in a setting, measured in turn against one another.

All run at the same time, many rounds over. A figure is the median over the rounds of what a server
did beside the other in the same round. Processor time per search is counted too: other load on the
machine moves it far less than the rate.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import psutil

from benchmarks import servers
from benchmarks.datasets import Dataset
from benchmarks.load import measure_rate
from benchmarks.table import row

HNSW = {"index_type": "HNSW", "params": {"M": 16, "efConstruction": 100}}
_EF = 32


class Server(NamedTuple):
    uri: str
    process: psutil.Process

    def cpu_s(self) -> float:
        """Processor time since it began."""
        times = self.process.cpu_times()
        return float(times.user + times.system)


class Round(NamedTuple):
    per_second: float
    cpu_us: float
    p99_ms: float


def rounds_in_turn(
    running: dict[str, Server], data: Dataset, clients: int, rounds: int, seconds: float
) -> dict[str, list[Round]]:
    found: dict[str, list[Round]] = {name: [] for name in running}
    names = list(running)
    for number in range(rounds):
        # Each is first as often as the others: a machine that tires tires for all of them.
        first = number % len(names)
        for name in names[first:] + names[:first]:
            found[name].append(_measured(running[name], data, clients, seconds))
    return found


def _measured(server: Server, data: Dataset, clients: int, seconds: float) -> Round:
    before = server.cpu_s()
    rate = measure_rate(server.uri, data, clients=clients, seconds=seconds, ef=_EF)
    # Clients warm up with a few searches that are in no rate.
    searches = rate.per_second * seconds + 50 * clients
    return Round(rate.per_second, (server.cpu_s() - before) / searches * 1e6, rate.p99_ms)


def rows_beside(
    what: str, other: str, clients: int, ours: list[Round], off: list[Round], goal: float | None
) -> list[dict[str, Any]]:
    """Searches per second and processor time of a search, `ours` beside `off`."""
    who = f"{clients} client{'s' if clients > 1 else ''}"
    pairs = list(zip(ours, off, strict=True))
    median = statistics.median
    return [
        row(
            f"{what}, {who}, searches/s",
            other,
            median(one.per_second for one in ours),
            median(one.per_second for one in off),
            ratio=median(one.per_second / other.per_second for one, other in pairs),
            at_least=goal,
            note=f"p99 {_p99(ours):.2f} / {_p99(off):.2f} ms",
        ),
        row(
            f"{what}, {who}, processor time of a search (µs)",
            other,
            median(one.cpu_us for one in ours),
            median(one.cpu_us for one in off),
            ratio=median(other.cpu_us / one.cpu_us for one, other in pairs),
            at_least=goal,
            note=f"median of {len(ours)} rounds",
        ),
    ]


def _p99(rounds: list[Round]) -> float:
    return statistics.median(one.p99_ms for one in rounds)


@contextmanager
def one_process(*settings: str) -> Iterator[Server]:
    """`mishards up` with the settings."""
    with servers.temporary_folder() as data:
        port = servers.free_port()
        command = [sys.executable, "-m", "mishards", "up", "--data", str(data)]
        # Looking for the next call takes processor time that no search needs.
        for setting in ("proxy.spin_us=0", *settings):
            command += ["--set", setting]
        with servers.process([*command, "--port", str(port)]) as child:
            uri = servers.wait_until_ready(f"http://127.0.0.1:{port}")
            yield Server(uri, psutil.Process(child.pid))
