"""The reference page of the metrics, made from their declarations."""

from __future__ import annotations

from itertools import groupby

from mishards.observability.metrics import (
    DECLARED,
    MOST_COLLECTIONS,
    OTHERS,
    CounterOf,
    Declared,
    HistogramOf,
)

_HEAD = f"""# Metrics

Made from the code by `mishards config metrics`; a test keeps it equal.

Every node serves these at `http://HOST:9091/metrics` (`[http]` of [configuration](configuration.md)
has the address, and `metrics = false` turns them off): those of its roles alone, and a metric with
labels once there is something to count. A process with several roles has all of theirs in one page.
What to watch: [operations](operations.md).

No label has a segment, a client or a node. A metric with the labels `database` and `collection` has
at most {MOST_COLLECTIONS} of them; those beyond are counted together as `{OTHERS}`. A histogram's
buckets, in its unit, stand in brackets.
"""
_AREAS = {
    "node": "The node",
    "calls": "Calls of clients (proxies)",
    "search": "Searches (proxies)",
    "reader": "Readers",
    "log": "Logs, and who follows them",
    "writer": "Writers",
    "storage": "Shared storage and disks",
    "metadata": "Metadata",
    "discovery": "Discovery",
    "traces": "Traces",
}
_PROCESS = """## The process

As with all programs that use Prometheus's client library: `process_cpu_seconds_total`,
`process_resident_memory_bytes`, `process_virtual_memory_bytes`, `process_start_time_seconds`,
`process_open_fds`, `process_max_fds`.
"""


def metrics_page() -> str:
    """The page as markdown."""
    parts = [_HEAD]
    for area, metrics in groupby(DECLARED, key=lambda metric: metric.area):
        lines = [f"## {_AREAS[area]}", "", "| metric | kind | labels | what it says |"]
        lines += ["|---|---|---|---|", *map(_row, metrics), ""]
        parts.append("\n".join(lines))
    return "\n".join([*parts, _PROCESS])


def _row(metric: Declared) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    said = metric.help
    kind = "counter" if isinstance(metric, CounterOf) else "gauge"
    if isinstance(metric, HistogramOf):
        kind = "histogram"
        said += f" [{', '.join(f'{bound:g}' for bound in metric.buckets)}]"
    return f"| `{metric.name}` | {kind} | {labels} | {said} |"
