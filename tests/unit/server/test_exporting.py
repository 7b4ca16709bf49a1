"""Where a node sends the traces that it keeps, and under which names."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from mishards.cluster.membership import MembershipView
from mishards.core.errors import ConfigError
from mishards.core.ids import NodeId
from mishards.core.secret import Secret
from mishards.discovery.protocol import NodeInfo
from mishards.observability.config import TracingConfig
from mishards.observability.export.queue import ExportQueue
from mishards.observability.instruments import Metrics
from mishards.observability.spans import Span, Trace
from mishards.server.config import Config, hidden_in
from mishards.server.exporting import Services, open_exports


class Node:
    """As much of a node as is looked at."""

    def __init__(self, *roles: str, traced: bool = True) -> None:
        self.roles = roles
        self.traces: Any = self if traced else None
        self.records = True
        self.takers: list[Any] = []
        self.members = MembershipView()

    def tell(self, take: Any) -> None:
        self.takers.append(take)


def opened(config: TracingConfig, node: Node, metrics: Metrics | None = None) -> ExportQueue | None:
    return open_exports(config, node, metrics or Metrics())  # type: ignore[arg-type]


def info(name: str, *roles: str) -> NodeInfo:
    return NodeInfo(id=NodeId(name), roles=roles, address=f"mem://{name}", ready=True)


def test_services_are_named_by_their_roles() -> None:
    node = Node("proxy")
    named = Services(node)  # type: ignore[arg-type]
    assert named("r1") == "mishards"
    node.members = MembershipView(
        version=1, nodes=(info("r1", "reader"), info("all", "writer", "reader", "proxy"))
    )
    assert [named("r1"), named("all"), named("gone")] == ["mishards-reader", "mishards", "mishards"]


def test_only_a_proxy_with_an_exporter_exports() -> None:
    zipkin = TracingConfig(exporter="zipkin", flush_s=0)
    assert opened(TracingConfig(), Node("proxy")) is None
    assert opened(zipkin, Node("reader")) is None
    node, metrics = Node("reader", "proxy"), Metrics()
    exports = opened(zipkin, node, metrics)
    assert exports is not None
    exports.close()
    (take,) = node.takers
    take(Trace("a" * 32, True, (Span("Search", 1, 0, 0, 1, "n"),)), "slow")
    counted = {one.metric.name: one.numbers for one in metrics.values()}
    assert counted == {
        "mishards_traces_exported_total": {("zipkin",): 0},
        "mishards_traces_dropped_total": {("zipkin",): 1},
    }


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"endpoint": "ftp://c:1"}, r"tracing\.endpoint = 'ftp://c:1' is not allowed"),
        ({"headers": Secret("hush")}, r"tracing\.headers: entry 1 is not allowed"),
        ({"exporter": "jaeger"}, "unknown tracing 'jaeger'"),
    ],
)
def test_what_cannot_be_used_is_named(settings: dict[str, Any], words: str) -> None:
    config = msgspec.structs.replace(TracingConfig(exporter="otlp"), **settings)
    with pytest.raises(ConfigError, match=words):
        opened(config, Node("proxy"))


def test_exporting_needs_recording() -> None:
    with pytest.raises(ConfigError, match=r"needs tracing\.record"):
        opened(TracingConfig(exporter="otlp"), Node("proxy", traced=False))


def test_tokens_of_headers_are_hidden_alone_and_with_their_kind() -> None:
    headers = Secret("authorization=Bearer hush-hush,x-scope=one")
    config = Config(tracing=TracingConfig(headers=headers))
    assert hidden_in(config) == (headers.reveal(), "Bearer hush-hush", "hush-hush")
    assert hidden_in(Config(tracing=TracingConfig(headers=Secret("no form")))) == ("no form",)
