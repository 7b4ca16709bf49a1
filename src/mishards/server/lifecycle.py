"""A node's whole life in one process: seams, lock, roles, edge; and the way back.

Invariant: whatever `open` raises, nothing that it started is left running.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from mishards.api.health import DRAINING, Health
from mishards.api.milvus.edge.protocol import Edge
from mishards.core.ids import NodeId
from mishards.core.runtime import Runtime, SystemRuntime
from mishards.observability.instruments import Metrics
from mishards.server.about import about_node
from mishards.server.config import Config
from mishards.server.drills import check_drills
from mishards.server.exporting import open_exports
from mishards.server.joining import require_trust
from mishards.server.node import Node
from mishards.server.sampling import sample, watched_folders
from mishards.server.scratch import node_scratch
from mishards.server.seams import open_seams
from mishards.server.storage_trial import tested_storage
from mishards.storage.lock import DataLock

if TYPE_CHECKING:
    from mishards.api.http.console.routes import Console
    from mishards.api.http.server import HttpServer

_log = logging.getLogger(__name__)

_FAILED = "failed: it can no longer follow or lead its log"
_CHECKED_WITHIN_S = 60.0
"""Balancers look more often than that."""


class RunningNode:
    """A node that serves, and the address of its Milvus API where it has one."""

    def __init__(self, node: Node, edge: Edge | None, *, secure: bool) -> None:
        """`secure`: whether the edge speaks TLS."""
        self.node = node
        self.edge = edge
        self._secure = secure
        self.hurried = asyncio.Event()
        """Set it to end the time in which a draining node still takes new calls."""

    @property
    def uri(self) -> str:
        """For a client: `http://host:port`, or `https://` where TLS is spoken."""
        assert self.edge is not None
        return f"{'https' if self._secure else 'http'}://{self.edge.address}"


@contextlib.asynccontextmanager
async def running_node(config: Config, roles: Sequence[str]) -> AsyncIterator[RunningNode]:
    """A node from configuration; drained and closed at the end.

    Raises:
        ConfigError, DataInUse, MetadataUnavailable, StorageError: why it cannot start; of the
            first, StorageUnfit where the storage does not do what it has to.
    """
    check_drills(config)
    async with contextlib.AsyncExitStack() as stack:
        runtime = SystemRuntime()
        stack.push_async_callback(runtime.close)
        alone = "writer" in roles and len(roles) > 1 and config.has_data_folder
        if "writer" in roles and config.has_data_folder:
            stack.enter_context(DataLock(config.data_folder, shared=not alone))
            config = _with_scratch(config)
        name = node_id(config, roles)
        health = Health(runtime)
        metrics = Metrics(enabled=config.http.enabled and config.http.metrics)
        metrics.read(lambda: about_node(name, roles, ready=health.serves))
        http, console = await _open_http(config, runtime, health, metrics, name, roles)
        if http is not None:
            stack.push_async_callback(http.close)
        seams = await open_seams(config, runtime, metrics)
        stack.push_async_callback(seams.close)
        await stack.enter_async_context(tested_storage(config, seams, roles, name))
        if config.cluster.tls_certificate:
            await require_trust(seams)
        scratch = stack.enter_context(node_scratch(config.writer.scratch))
        node = Node(seams, config, roles, name, scratch, unrivalled=alone)
        stack.push_async_callback(node.close)
        exports = open_exports(config.tracing, node, metrics)
        if exports is not None:
            stack.push_async_callback(runtime.blocking, exports.close)
        await node.start()
        if console is not None:
            console.proxy = node.proxy
            console.slow = node.slow
        if node.proxy is not None:
            metrics.read(node.proxy.recall_guard.readings)
        if metrics.enabled:
            runtime.spawn(sample(runtime, metrics, watched_folders(config)), f"samples of {name}")
        edge = await _open_edge(node, config, health)
        if edge is not None:
            stack.push_async_callback(edge.close)
        await node.announce(
            "" if edge is None else edge.address, "" if http is None else http.address
        )
        stack.push_async_callback(node.withdraw)
        stack.push_async_callback(node.hand_over)
        health.serve()
        node.failed.add_done_callback(lambda _: _fail(health))
        stack.callback(health.refuse, DRAINING)
        _log.info("%s serves as %s at %s", node.id, ", ".join(node.roles), node.address)
        running = RunningNode(node, edge, secure=bool(config.proxy.tls_certificate))
        yield running
        _log.info("%s drains", node.id)
        health.refuse(DRAINING)
        if edge is not None and health.asked_within(_CHECKED_WITHIN_S):
            with contextlib.suppress(TimeoutError):
                await runtime.timeout(running.hurried.wait(), config.proxy.linger_s)


def _fail(health: Health) -> None:
    """What the node lives by has ended; while it drains, that is as it should be."""
    if health.serves:
        health.refuse(_FAILED)


def _with_scratch(config: Config) -> Config:
    """With a folder for the writer's unfinished files, on the file system of its data."""
    if config.writer.scratch:
        return config
    scratch = config.data_folder / "scratch"
    writer = msgspec.structs.replace(config.writer, scratch=str(scratch))
    return msgspec.structs.replace(config, writer=writer)


async def _open_edge(node: Node, config: Config, health: Health) -> Edge | None:
    """The Milvus API of a node that is a proxy."""
    if node.proxy is None:
        return None
    # Only a proxy needs the client library's messages, and they take long to import.
    from mishards.api.milvus.server import open_edge

    return await open_edge(
        node.proxy,
        config.proxy,
        health,
        local="reader" in node.roles,
        traces=node.traces,
        metrics=node.metrics,
    )


async def _open_http(
    config: Config,
    runtime: Runtime,
    health: Health,
    metrics: Metrics,
    name: NodeId,
    roles: Sequence[str],
) -> tuple[HttpServer | None, Console | None]:
    """The HTTP endpoint, where there is to be one: before what may wait, so that it tells of
    that. A proxy's has a console."""
    if not config.http.enabled:
        return None, None
    # Who has no endpoint is spared the import.
    from mishards.api.http.console.routes import Console
    from mishards.api.http.health import health_routes
    from mishards.api.http.metrics import metrics_routes
    from mishards.api.http.server import HttpServer

    console = Console(runtime, config.http.token) if "proxy" in roles else None
    routes = [
        *health_routes(health, name, roles),
        *metrics_routes(metrics, runtime),
        *([] if console is None else console.routes()),
    ]
    server = HttpServer(config.http, routes, None if console is None else console.access)
    await server.start()
    return server, console


def node_id(config: Config, roles: Sequence[str]) -> NodeId:
    """The configured id, or one that no other process has."""
    if config.node.id:
        return NodeId(config.node.id)
    kind = roles[0] if len(roles) == 1 else "node"
    return NodeId(f"{kind}-{socket.gethostname()}-{os.getpid()}-{os.urandom(2).hex()}")
