"""Opens the Milvus API of a proxy."""

from __future__ import annotations

import os

from mishards.api.health import Health
from mishards.api.milvus.edge.protocol import Edge, EdgeSettings
from mishards.api.milvus.edge.registry import make_edge
from mishards.api.milvus.servicer import MilvusServicer
from mishards.observability.instruments import Metrics
from mishards.observability.tracing import TraceSink
from mishards.proxy.calls import ProxyApi
from mishards.proxy.config import ProxyConfig

_BATCH = 16
"""Calls that wait while threads work are answered together: searches among them are one."""


async def open_edge(
    proxy: ProxyApi,
    config: ProxyConfig,
    health: Health,
    *,
    local: bool,
    traces: TraceSink | None = None,
    metrics: Metrics | None = None,
) -> Edge:
    """A started edge that serves `proxy`, and says whether the node serves.

    Args:
        traces: takes what calls do; None to record nothing.
        metrics: what calls are measured with; None for nothing.
        local: whether a reader is in this process. Threads then compute, and more of them than
            processors only pass the interpreter's lock around; otherwise they mostly wait for
            readers, and what comes meanwhile gathers into batches.

    Raises:
        ConfigError: the address, the TLS files or the name of the edge cannot be used.
    """
    processors = os.cpu_count() or 2
    carrying = max(1, processors // 2)
    settings = EdgeSettings(
        host=config.host,
        port=config.port,
        threads=config.edge_threads or (carrying if local else max(2, processors)),
        io_threads=carrying,
        batch=_BATCH,
        spin_s=config.spin_us / 1e6,
        tls_certificate=config.tls_certificate,
        tls_key=config.tls_key,
        tls_client_ca=config.tls_client_ca,
        trace_context=traces is not None and traces.records,
        max_message_bytes=config.max_message_bytes,
        grace_s=config.drain_s,
    )
    servicer = MilvusServicer(proxy, health, inline=True, traces=traces, metrics=metrics)
    edge = make_edge(config.edge, servicer, settings)
    await edge.start()
    return edge
