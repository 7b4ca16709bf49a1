"""Has the traces that a proxy keeps exported, as its configuration says."""

from __future__ import annotations

from mishards.cluster.membership import MembershipView
from mishards.core.errors import ConfigError
from mishards.observability.config import TracingConfig
from mishards.observability.export.endpoint import parse_headers
from mishards.observability.export.protocol import ExporterSettings
from mishards.observability.export.queue import ExportQueue
from mishards.observability.export.registry import open_exporter
from mishards.observability.instruments import Metrics, Reading
from mishards.observability.metrics import TRACES_DROPPED, TRACES_EXPORTED
from mishards.server.node import Node

_ALL_ROLES = "mishards"
"""The service of a node of several roles, and of one that is not known any more."""


class Services:
    """Names the services that nodes are, by their roles: `mishards-reader`."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._view = MembershipView()
        self._names: dict[str, str] = {}

    def __call__(self, node: str) -> str:
        if self._view is not (view := self._node.members):
            self._names = {str(member.id): _name(member.roles) for member in view.nodes}
            self._view = view
        return self._names.get(node, _ALL_ROLES)


def _name(roles: tuple[str, ...]) -> str:
    return f"mishards-{roles[0]}" if len(roles) == 1 else _ALL_ROLES


def open_exports(config: TracingConfig, node: Node, metrics: Metrics) -> ExportQueue | None:
    """What exports the traces of `node`, and counts them, to be closed; None where nothing is to.

    Raises:
        ConfigError, PluginError: something cannot be used as it is configured.
    """
    if not config.exporter or "proxy" not in node.roles:
        return None
    if node.traces is None or not node.traces.records:
        raise ConfigError("tracing.exporter needs tracing.record = true")
    exporter = open_exporter(
        config.exporter,
        ExporterSettings(
            endpoint=config.endpoint,
            headers=parse_headers(config.headers.reveal()),
            ca=config.ca,
            timeout_s=config.timeout_s,
            service=Services(node),
        ),
    )
    exports = ExportQueue(exporter, size=config.queue, flush_s=config.flush_s)
    node.traces.tell(lambda trace, _: exports.offer(trace))
    name = (config.exporter,)
    metrics.read(
        lambda: (
            Reading(TRACES_EXPORTED, exports.exported, name),
            Reading(TRACES_DROPPED, exports.dropped, name),
        )
    )
    return exports
