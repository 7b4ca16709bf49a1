"""What an exporter of traces is: it takes finished traces to a collector, some at a time.

Invariant: an exporter knows nothing of queues, sampling or the node; who calls it does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from mishards.observability.spans import Trace

Service = Callable[[str], str]
"""The name of the service that a node is, by the node's id. Any thread; never waits."""


class ExporterSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What an exporter is told.

    Attributes:
        endpoint: URL of the collector; empty for the exporter's default.
        headers: to send with every export; may hold tokens.
        ca: PEM file of the authorities that the collector is checked by; empty for the system's.
        timeout_s: for one call of the collector.
        service: names the service that a node is.
    """

    endpoint: str = ""
    headers: Mapping[str, str] = {}
    ca: str = ""
    timeout_s: float = 5.0
    service: Service = lambda node: "mishards"


class TraceExporter(Protocol):
    """A way to a collector."""

    @property
    def name(self) -> str:
        """The collector as messages show it: without what is secret of its URL."""

    def export(self, traces: Sequence[Trace]) -> None:
        """Hand traces to the collector; returns once it has taken them. Blocks, for
        `timeout_s` at most; one thread at a time.

        Raises:
            Unavailable: it did not answer, or asks for another try later.
            MishardsError: it refused them, and would again.
        """

    def close(self) -> None:
        """Close connections. Any thread, once, also while `export` runs, which may then fail."""
