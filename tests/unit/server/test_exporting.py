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
from mishards.server.config import Config, hidden_in
from mishards.server.exporting import Services, open_exports


class Node:
    """As much of a node as is looked at."""

    def __init__(self, *roles: str, traced: bool = True) -> None:
        self.roles = roles
        self.traces: Any = self if traced else None
        self.takers: list[Any] = []
        self.members = MembershipView()

    def tell(self, take: Any) -> None:
        self.takers.append(take)


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
    assert open_exports(TracingConfig(), Node("proxy")) is None  # type: ignore[arg-type]
    assert open_exports(zipkin, Node("reader")) is None  # type: ignore[arg-type]
    node = Node("reader", "proxy")
    exports = open_exports(zipkin, node)  # type: ignore[arg-type]
    assert exports is not None
    exports.close()
    assert len(node.takers) == 1


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
        open_exports(config, Node("proxy"))  # type: ignore[arg-type]


def test_exporting_needs_recording() -> None:
    with pytest.raises(ConfigError, match=r"needs tracing\.record"):
        open_exports(
            TracingConfig(exporter="otlp"),
            Node("proxy", traced=False),  # type: ignore[arg-type]
        )


def test_tokens_of_headers_are_hidden_alone_and_with_their_kind() -> None:
    headers = Secret("authorization=Bearer hush-hush,x-scope=one")
    config = Config(tracing=TracingConfig(headers=headers))
    assert hidden_in(config) == (headers.reveal(), "Bearer hush-hush", "hush-hush")
    assert hidden_in(Config(tracing=TracingConfig(headers=Secret("no form")))) == ("no form",)
