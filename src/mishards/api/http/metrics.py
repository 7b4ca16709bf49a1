"""`/metrics`: what a node measured, for Prometheus, as text or as OpenMetrics where it asks so.

Invariants: values are read on the loop, where what they describe lives, and at one moment; they
are written out in another thread. Beside the declared metrics there are those of the process, which
all programs with Prometheus's clients have.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path

from prometheus_client import ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.utils import floatToGoString
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mishards.core.runtime import Runtime
from mishards.observability.instruments import Measured, Metrics
from mishards.observability.metrics import MEMORY, CounterOf, HistogramOf

_KINDS = {"RssFile": "mapped", "RssAnon": "anonymous"}
_STATUS = Path("/proc/self/status")


def metrics_routes(metrics: Metrics, runtime: Runtime) -> list[Route]:
    """The path, where the node measures itself."""
    if not metrics.enabled:
        return []

    async def tell(request: Request) -> Response:
        page, kind = await runtime.blocking(
            written, metrics.values(), request.headers.get("accept", "")
        )
        return Response(page, headers={"Content-Type": kind, "Cache-Control": "no-store"})

    return [Route("/metrics", tell)]


def written(measured: Sequence[Measured], accept: str) -> tuple[bytes, str]:
    """The page and its media type.

    Args:
        accept: the media types that are wanted, as the header says.
    """
    encode, kind = choose_encoder(accept)
    registry = CollectorRegistry()
    registry.register(_Families(measured))
    ProcessCollector(registry=registry)
    return encode(registry), kind


class _Families(Collector):
    """Hands values to the client library."""

    def __init__(self, measured: Sequence[Measured]) -> None:
        self._measured = measured

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        memory = _resident_bytes()
        for one in self._measured:
            if one.metric is MEMORY:
                memory |= one.numbers
            else:
                yield _family(one)
        if memory:
            yield _family(Measured(MEMORY, memory, {}))


def _family(measured: Measured) -> Metric:
    metric = measured.metric
    if isinstance(metric, HistogramOf):
        histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        bounds = [*map(floatToGoString, metric.buckets), "+Inf"]
        for labels, (counts, total) in measured.histograms.items():
            buckets = list(zip(bounds, map(float, accumulate(counts)), strict=True))
            histogram.add_metric(labels, buckets, total)
        return histogram
    family = CounterMetricFamily if isinstance(metric, CounterOf) else GaugeMetricFamily
    found = family(metric.name, metric.help, labels=metric.labels)
    for labels, value in measured.numbers.items():
        found.add_metric(labels, value)
    return found


def _resident_bytes() -> dict[tuple[str, ...], float]:
    """Memory of the process by kind, where the system tells."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return {}
    found: dict[tuple[str, ...], float] = {}
    for line in lines:
        name, _, value = line.partition(":")
        if name in _KINDS:
            found[(_KINDS[name],)] = 1024.0 * int(value.split()[0])
    return found
