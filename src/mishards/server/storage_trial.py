"""What a node tries of shared storage before it starts, and leaves there while it runs.

Invariants: only writers write there; what they leave is there before the registry names them, and
as long as it does.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Sequence

from mishards.cluster.probes import Probes
from mishards.core.errors import SystemFault
from mishards.core.ids import NodeId
from mishards.discovery.protocol import NodeInfo, Registry
from mishards.server.config import Config
from mishards.server.seams import Seams
from mishards.storage.mounts import check_mount
from mishards.storage.registry import open_store
from mishards.storage.self_test import self_test


@contextlib.asynccontextmanager
async def tested_storage(
    config: Config, seams: Seams, roles: Sequence[str], node_id: NodeId
) -> AsyncIterator[None]:
    """Storage that was found fit; around a node's whole life.

    Raises:
        StorageUnfit: it is not; names it and the reason.
        StorageError: it cannot be reached.
    """
    runtime, host = seams.runtime, socket.gethostname()
    where = _named(config)
    probes = Probes(seams.store, runtime, where)
    if config.has_data_folder:
        await runtime.blocking(check_mount, config.data_folder)
    if "writer" in roles and config.has_data_folder:
        again = open_store(config.cluster.data, runtime)
        try:
            await self_test(seams.store, again, runtime, where)
        finally:
            await again.close()
    elif "writer" in roles:
        await self_test(seams.store, seams.store, runtime, where)
    await probes.check(await _known_nodes(seams.registry), host)
    if "writer" not in roles:
        yield
        return
    await probes.leave(node_id, host)
    renewing = runtime.spawn(probes.renew(node_id, host), "probe on storage")
    try:
        yield
    finally:
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)
        await probes.remove(node_id)


def _named(config: Config) -> str:
    if config.has_data_folder:
        return f"folder {str(config.data_folder)!r}"
    scheme, _, rest = config.cluster.data.partition("://")
    return f"storage {scheme}://{rest.rpartition('@')[2].partition('?')[0]}"


async def _known_nodes(registry: Registry) -> tuple[NodeInfo, ...]:
    """Nobody where the registry cannot be read: then nothing can be compared."""
    try:
        return await registry.nodes()
    except SystemFault:
        return ()
