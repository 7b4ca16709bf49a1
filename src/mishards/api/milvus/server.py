"""Opens the Milvus API of a proxy."""

from __future__ import annotations

import os

from mishards.api.milvus.edge.protocol import Edge, EdgeSettings
from mishards.api.milvus.edge.registry import make_edge
from mishards.api.milvus.servicer import MilvusServicer
from mishards.proxy.calls import ProxyApi
from mishards.proxy.config import ProxyConfig


async def open_edge(proxy: ProxyApi, config: ProxyConfig, *, inline: bool) -> Edge:
    """A started edge that serves `proxy`.

    Args:
        inline: whether searches may be answered in the thread that receives them: worth it where
            the readers are in this process.

    Raises:
        ConfigError: the address, the TLS files or the name of the edge cannot be used.
    """
    settings = EdgeSettings(
        host=config.host,
        port=config.port,
        threads=config.edge_threads or max(1, (os.cpu_count() or 2) // 2),
        tls_certificate=config.tls_certificate,
        tls_key=config.tls_key,
        max_message_bytes=config.max_message_bytes,
        grace_s=config.drain_s,
    )
    edge = make_edge(config.edge, MilvusServicer(proxy, inline=inline), settings)
    await edge.start()
    return edge
