"""The slow and failed calls that the proxies of a cluster remember."""

from __future__ import annotations

import asyncio

from mishards.core.errors import MishardsError
from mishards.core.runtime import SystemRuntime
from mishards.discovery.protocol import NodeInfo
from mishards.observability.spans import Trace
from mishards.rpc.messages import SlowTraces, Traces
from mishards.rpc.protocol import Transport
from mishards.server.config import Config
from mishards.server.seams import open_seams

_TIMEOUT_S = 5.0


async def slow_calls(config: Config, most: int) -> list[Trace]:
    """The newest `most` of them, newest first; those of a proxy that does not answer are missing.

    Raises:
        MetadataUnavailable, ConfigError: the cluster's nodes cannot be found.
    """
    config.require_data()
    runtime = SystemRuntime(threads=2)
    try:
        seams = await open_seams(config, runtime)
        try:
            proxies = [node for node in await seams.registry.nodes() if "proxy" in node.roles]
            answers = await asyncio.gather(*(_ask(seams.transport, p, most) for p in proxies))
        finally:
            await seams.close()
    finally:
        await runtime.close()
    found = [trace for answer in answers for trace in answer]
    return sorted(found, key=lambda trace: trace.root.start_ns, reverse=True)[:most]


async def _ask(transport: Transport, node: NodeInfo, most: int) -> tuple[Trace, ...]:
    try:
        channel = transport.channel(node.address)
        answer = await channel.call(SlowTraces(most=most), timeout_s=_TIMEOUT_S)
    except MishardsError:
        return ()
    return answer.traces if isinstance(answer, Traces) else ()
